"""One file brought here: resumed, whole or not at all, checked. Uses the network and writes files."""

import http.client
import json
import re
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fetching.errors import FetchError, Stopped
from fetching.http import Session, length_of, reason_of
from fetching.plan import Remote
from fetching.verify import problem

__all__ = ["fetch", "is_here"]

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_HTTP_RANGE_IS_WRONG = 416
_PAGES = frozenset({"text/html", "application/xhtml+xml"})


class _BrokeOffError(OSError):
    """An answer ended early."""

    def __init__(self, message: str, *, came_further: bool) -> None:
        super().__init__(message)
        self.came_further = came_further


@dataclass(slots=True)
class _Begun:
    """A file that is not finished: `.<name>.part`, and what it is a part of in `.<name>.part.json`."""

    part: Path
    note: Path

    @classmethod
    def of(cls, target: Path) -> "_Begun":
        part = target.with_name(f".{target.name}.part")
        return cls(part, part.with_name(f"{part.name}.json"))

    def offset(self, url: str) -> tuple[int, str]:
        """Bytes that can be kept, and the mark by which the server tells whether its file is still the same."""
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
            size = self.part.stat().st_size
        except (OSError, ValueError):
            return 0, ""
        mark = noted.get("mark", "") if isinstance(noted, dict) and noted.get("url") == url else ""
        return (size, mark) if mark else (0, "")

    def remember(self, url: str, mark: str) -> None:
        self.note.write_text(json.dumps({"url": url, "mark": mark}), encoding="utf-8")

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def is_here(remote: Remote, folder: Path, *, noted_size: int | None = None) -> bool:
    """Whether a file has been fetched: it is there, and as announced. It appears only whole, under its own name.

    A file of the same place that is of another size or digest is not the one that was announced; `fetch` replaces it.

    Args:
        remote: What.
        folder: Below which its path is.
        noted_size: Bytes that it had when it came, where that was noted; counts where none are announced.
    """
    path = folder / remote.path
    size = noted_size if remote.size is None else remote.size
    return path.is_file() and problem(path, size, remote.digest) is None


def fetch(
    remote: Remote,
    folder: Path,
    session: Session,
    *,
    got: Callable[[int], None] = lambda _: None,
) -> Path:
    """Bring one file to its place.

    What arrives is kept in a hidden file beside its place and goes on from there after a break, a kill or a restart,
    where the server can do so and says that its file is still the same (`Range` with `If-Range`). At the end size and
    digest are checked, and the file is renamed.

    Args:
        remote: What.
        folder: Below which its path is.
        session: How.
        got: Told of bytes as they arrive; less than 0 where some are thrown away.

    Raises:
        NotThereError: If there is nothing at the address.
        FetchError: If the server does not give it, or what it gives is not what was announced, twice.
        Stopped: If the session was stopped.
    """
    target = folder / remote.path
    target.parent.mkdir(parents=True, exist_ok=True)
    begun = _Begun.of(target)
    transfer = _Transfer(remote, begun, session, got)
    for last in (False, True):
        session.patiently(remote.url, transfer.once)
        wrong = problem(begun.part, transfer.total if remote.size is None else remote.size, remote.digest)
        if wrong is None:
            begun.part.replace(target)
            begun.note.unlink(missing_ok=True)
            return target
        transfer.forget()
        if last:
            message = f"{remote.url}: {wrong}"
            raise FetchError(message)
        session.tell(f"{remote.url}: {wrong}; fetched once more")
    raise AssertionError


class _Transfer:
    """Tries of one file."""

    def __init__(self, remote: Remote, begun: _Begun, session: Session, got: Callable[[int], None]) -> None:
        self.remote, self.begun, self.session, self.got = remote, begun, session, got
        self.furthest = 0
        self.counted = 0  # bytes told of
        self.total: int | None = None  # bytes of the whole, as the last answer has it

    def once(self, _failures: int) -> None:
        """Go on from where the part ends, or begin.

        Raises:
            OSError, http.client.HTTPException: If it broke off; what arrived is kept.
        """
        url = self.remote.url
        offset, mark = self.begun.offset(url)
        if offset and offset == self.remote.size:  # stopped after the last byte, before the check
            self._told(offset - self.counted)
            return
        # identity: a server that packs what it sends would make lengths and offsets those of the pack
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": mark}
        try:
            with self.session.ask(url, headers=headers) as answer:
                self._receive(answer, offset, mark)
        except urllib.error.HTTPError as error:
            if error.code != _HTTP_RANGE_IS_WRONG or not offset:
                raise
            if error.headers.get("Content-Range") == f"bytes */{offset}":  # it was whole already
                self.total = offset
                self._told(offset - self.counted)
                return
            self.forget()
            raise _BrokeOffError("what was kept is longer than the file", came_further=False) from error

    def forget(self) -> None:
        """Throw away what has arrived."""
        self._told(-self.counted)
        self.begun.forget()
        self.furthest = 0

    def _receive(self, answer: Any, offset: int, mark: str) -> None:
        offset, total = _extent(answer, offset, self.remote.url)
        self.total = total
        if answer.headers.get_content_type() in _PAGES and not self.remote.path.endswith((".html", ".htm")):
            message = f"{self.remote.url}: answered with a web page in place of the file"
            raise FetchError(message)
        if offset and not _same(answer.headers, mark):  # a server may know ranges and not `If-Range`
            self.forget()
            raise _BrokeOffError("the file has changed since it was begun", came_further=False)
        if self.remote.size is not None and total is not None and total != self.remote.size:
            message = f"{self.remote.url}: has {total} bytes, {self.remote.size} were announced"
            raise FetchError(message)
        try:
            self._write(answer, offset, total)
        except (urllib.error.URLError, _BrokeOffError):
            raise
        except OSError as error:  # trying again would not make room on a disk
            message = f"{self.begun.part}: {error.strerror or error}"
            raise FetchError(message) from error

    def _write(self, answer: Any, offset: int, total: int | None) -> None:
        if offset == 0:
            self.begun.forget()
            if mark := _mark(answer.headers):
                self.begun.remember(self.remote.url, mark)
        self._told(offset - self.counted)
        size = offset
        with self.begun.part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.truncate()
            while chunk := self._read(answer, size):
                file.write(chunk)
                size += len(chunk)
                self._told(len(chunk))
                if self.session.stopped.is_set():
                    raise Stopped
        if total is not None and size < total:
            raise self._broke_off("the answer broke off", size)

    def _read(self, answer: Any, size: int) -> bytes:
        try:
            chunk: bytes = answer.read1(_CHUNK)  # as it comes: read() would throw away what came before a silence
        except (OSError, http.client.HTTPException) as error:
            raise self._broke_off(reason_of(error), size) from error
        return chunk

    def _broke_off(self, reason: str, size: int) -> _BrokeOffError:
        further = size > self.furthest
        self.furthest = max(self.furthest, size)
        return _BrokeOffError(reason, came_further=further)

    def _told(self, n_bytes: int) -> None:
        self.counted += n_bytes
        if n_bytes:
            self.got(n_bytes)


def _extent(answer: Any, asked: int, url: str) -> tuple[int, int | None]:
    """Where an answer begins, and how long the whole file is.

    Raises:
        FetchError: If it is neither the whole nor the part that was asked for.
    """
    length = length_of(answer.headers)
    if answer.status == http.client.OK:  # the server knows no parts, or its file has changed
        return 0, length
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status != http.client.PARTIAL_CONTENT or match is None or int(match[1]) != asked:
        message = (
            f"{url}: answered {answer.status} with {answer.headers.get('Content-Range')!r} to a range from {asked}"
        )
        raise FetchError(message)
    if match[3] != "*":
        return asked, int(match[3])
    return asked, asked + length if length is not None else None


def _mark(headers: Any) -> str:
    """By what the server tells later that its file is still the same: a strong entity tag, else the date."""
    tag = headers.get("ETag") or ""
    return tag if tag.startswith('"') else headers.get("Last-Modified") or ""


def _same(headers: Any, mark: str) -> bool:
    """Whether a part is of the file with this mark; a part need not repeat the date (RFC 9110, section 15.3.7)."""
    told = headers.get("ETag" if mark.startswith('"') else "Last-Modified")
    return told is None or told.removeprefix("W/") == mark

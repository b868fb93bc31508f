"""Lines of the journal of digests, each of which carries a seal of its own. Pure."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FORMAT",
    "Attested",
    "Journal",
    "canonical",
    "file_line",
    "journal_bytes",
    "parse",
    "removal_line",
    "seal",
    "sealed",
    "unsealed",
]

FORMAT = "locatlas digests 1"


@dataclass(frozen=True, slots=True)
class Attested:
    """A file whose digest was taken.

    Attributes:
        path: Below the atlas folder, with forward slashes.
        size: Bytes.
        digest: blake2b-128 of the bytes, hex.
        at: When it was taken, ISO 8601 in UTC.
        late: Whether it was found by a later writer: the one who wrote it died before.
    """

    path: str
    size: int
    digest: str
    at: str
    late: bool = False


@dataclass(slots=True)
class Journal:
    """What the lines of a journal say.

    Attributes:
        generation: Raised whenever the journal is written anew; 0 if the first line cannot be read.
        since: When digests were begun, ISO 8601 in UTC; "" if the first line cannot be read.
        begun_again: Whether a journal before this one was lost.
        files: By path; the last line of a path counts.
        removing: Paths, or folders with a slash at their end, whose deletion was begun.
        made_anew: Paths that were written again after that: a table that comes back has the same names.
        bad: Numbers (from 1) of lines that are not what was written.
        torn: Whether the last line is the beginning of one: a process died, or the machine did, while it was written.
        whole: Bytes up to the end of the last line that is not torn.
        lines: How many lines these are.
    """

    generation: int = 0
    since: str = ""
    begun_again: bool = False
    files: dict[str, Attested] = field(default_factory=dict)
    removing: set[str] = field(default_factory=set)
    made_anew: set[str] = field(default_factory=set)
    bad: list[int] = field(default_factory=list)
    torn: bool = False
    whole: int = 0
    lines: int = 0

    def is_removing(self, path: str) -> bool:
        """Whether the deletion of this file was begun, and it was not written again since."""
        if path in self.made_anew:
            return False
        folders = (path[: at + 1] for at, letter in enumerate(path) if letter == "/")
        return path in self.removing or any(folder in self.removing for folder in folders)


def canonical(fields: dict[str, Any]) -> str:
    """The one JSON text of some fields."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def seal(fields: dict[str, Any]) -> str:
    """blake2b-64 of the canonical JSON, hex: a record that carries it shows every change of itself."""
    return hashlib.blake2b(canonical(fields).encode(), digest_size=8).hexdigest()


def sealed(fields: dict[str, Any]) -> bytes:
    """A line with its seal."""
    return (canonical({**fields, "seal": seal(fields)}) + "\n").encode()


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The fields of a line, with its end; None if it is not byte for byte what `sealed` made."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            return None
        fields.pop("seal", None)
        return fields if sealed(fields) == line else None
    except (ValueError, RecursionError):
        return None


def first_line(generation: int, since: str, *, begun_again: bool) -> bytes:
    """The line at the top."""
    fields = {"format": FORMAT, "generation": generation, "since": since}
    return sealed({**fields, "begun_again": True} if begun_again else fields)


def file_line(file: Attested) -> bytes:
    """The line of a file."""
    fields = {"at": file.at, "blake2b": file.digest, "bytes": file.size, "path": file.path}
    return sealed({**fields, "late": True} if file.late else fields)


def removal_line(path: str, at: str) -> bytes:
    """The line that says that a file, or all below a folder (with a slash at its end), is about to be deleted."""
    return sealed({"at": at, "removing": path})


def parse(data: bytes, into: Journal | None = None) -> Journal:
    """Read lines.

    Args:
        data: From the beginning of the journal, or from `whole` of what was read before.
        into: What was read before.

    Returns:
        What they say. Whatever is damaged is named and left out; nothing is raised.
    """
    journal = Journal() if into is None else into
    lines = data.split(b"\n")
    journal.torn = False
    if tail := lines.pop():
        journal.torn = not _is_whole(tail)
        if not journal.torn:
            journal.bad.append(journal.lines + len(lines) + 1)
    for number, line in enumerate(lines, journal.lines + 1):
        fields = unsealed(line + b"\n")
        if fields is None or not _take(fields, journal, is_first=into is None and number == 1):
            journal.bad.append(number)
    journal.lines += len(lines)
    journal.whole += len(data) - len(tail)
    return journal


def _is_whole(tail: bytes) -> bool:
    """Whether an end without a newline is a whole line and more: not cut off, but changed."""
    return b"}" in tail and unsealed(tail[: tail.rindex(b"}") + 1] + b"\n") is not None


def _take(fields: dict[str, Any], journal: Journal, *, is_first: bool) -> bool:
    if is_first != ("format" in fields):
        return False
    if is_first:
        journal.generation, journal.since = fields["generation"], fields["since"]
        journal.begun_again = fields.get("begun_again", False)
        return fields["format"] == FORMAT
    if "removing" in fields:
        gone = fields["removing"]
        journal.removing.add(gone)
        # of most deletions nothing was made anew, so this is a look at an empty set
        journal.made_anew -= {p for p in journal.made_anew if p == gone or (gone.endswith("/") and p.startswith(gone))}
        return True
    path = fields["path"]
    if journal.is_removing(path):
        journal.made_anew.add(path)
    journal.files[path] = Attested(path, fields["bytes"], fields["blake2b"], fields["at"], fields.get("late", False))
    return True


def journal_bytes(generation: int, since: str, files: Iterable[Attested], *, begun_again: bool = False) -> bytes:
    """A whole journal."""
    return first_line(generation, since, begun_again=begun_again) + b"".join(map(file_line, files))

"""Publish what a working copy has committed: what the store lacks, then the record, if nobody else put one. Network."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from locatlas.errors import AtlasLockedError, LocatlasError
from locatlas.indexer.backup.copying import Copying
from locatlas.indexer.backup.pin import MovedError
from locatlas.indexer.published.clean import keep
from locatlas.indexer.published.lease import Lease
from locatlas.indexer.published.objects import Objects, OvertakenError
from locatlas.indexer.published.publish import RECORD, name_of
from locatlas.indexer.published.working import WorkingCopy
from locatlas.indexer.store.file_digest import bytes_digest, file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["Sent", "Uploads"]

logger = logging.getLogger(__name__)

UPLOAD_EVERY_S = 600.0
"""Seconds after which what was committed meanwhile is published while a command goes on."""

AT_ONCE_BYTES = 32 << 20
"""Files up to this size are read once, for their digest and to be sent."""

_TRIES = 20


@dataclass(slots=True)
class Sent:
    """What was sent to an address.

    Attributes:
        objects: Files that were not there before.
        bytes: Of these.
        states: Records that were put.
    """

    objects: int = 0
    bytes: int = 0
    states: int = 0


class _Remote:
    """The objects of an address as a holder of files: those of the state before, and what a look at the store tells."""

    def __init__(self, objects: Objects, known: dict[str, int]) -> None:
        self._objects, self._there = objects, dict(known)
        self._is_listed = False
        self.sent = Sent()

    def has(self, digest: str, size: int) -> bool:
        return self._there.get(digest) == size

    def put(self, source: Path | bytes) -> tuple[int, str, bool]:
        data = source.read_bytes() if isinstance(source, Path) and source.stat().st_size <= AT_ONCE_BYTES else source
        if isinstance(data, Path):
            size, digest = file_digest(data)
        else:
            size, digest = len(data), bytes_digest(data)
        if not self._is_there(digest, size):
            if isinstance(data, Path):
                with data.open("rb") as stream:
                    self._objects.write(name_of(digest), stream)
            else:
                self._objects.write(name_of(digest), data)
            self._there[digest] = size
            self.sent.objects += 1
            self.sent.bytes += size
        return size, digest, False

    def make_room(self, n_bytes: int) -> None:
        pass  # a bucket has no end

    def _is_there(self, digest: str, size: int) -> bool:
        if not self.has(digest, size) and not self._is_listed:
            # what a run that was killed had sent is not sent again
            self._is_listed = True
            listed = self._objects.listed("files")
            self._there |= {name.rsplit("/", 1)[-1]: one.size for name, one in listed.items()}
        return self.has(digest, size)


class Uploads:
    """Publishes a copy at the end, and now and then while it is written.

    Attributes:
        sent: What was sent so far.
    """

    def __init__(self, objects: Objects, copy: WorkingCopy, lease: Lease) -> None:
        self._objects, self._copy, self._lease = objects, copy, lease
        known = {} if copy.base is None else {file.digest: file.size for file in copy.base.files}
        self._remote = _Remote(objects, known)
        self._stop = threading.Event()

    @property
    def sent(self) -> Sent:
        """What was sent so far."""
        return self._remote.sent

    @contextmanager
    def now_and_then(self) -> Iterator[None]:
        """Publish what is committed every `UPLOAD_EVERY_S` for the length of a block."""
        thread = threading.Thread(target=self._again, name="locatlas uploads", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def publish(self) -> None:
        """Publish what is committed, if it is more than what is published.

        Raises:
            AtlasLockedError: If somebody else wrote meanwhile: what is there is theirs, and the copy is kept.
            StoreDamagedError: If a file of the copy is not what was written; nothing of it is published.
            InputError: If the store cannot be reached.
        """
        try:
            self._publish()
        except OvertakenError:
            # the answer to an earlier put may have been lost: then it is our own record that is there
            if not self._copy.settle_own(self._objects):
                raise
            self._publish()

    def _publish(self) -> None:
        folder, base = AtlasFolder(self._copy.path), self._copy.base
        if not folder.info_path.is_file():
            return
        known = {} if base is None else {file.path: file for file in base.files}
        copying = Copying(folder, self._remote, with_indices=True, before=base, known=known)
        number = 1 if base is None else base.number + 1
        for _ in range(_TRIES):
            try:
                record = copying.record(number)
                break
            except MovedError:
                continue
        else:
            message = f"{folder.path}: what was to be published was cleaned up meanwhile, {_TRIES} times"
            raise AtlasLockedError(message)
        if self._copy.is_published(record):
            return
        data = record.to_json().encode()
        keep(self._objects, record)
        self._lease.ensure()
        self._copy.about_to_publish(data)
        self._copy.tag = self._objects.replace(RECORD, data, tag=self._copy.tag)
        self._copy.settle(data)
        self.sent.states += 1
        self.sent.bytes += len(data)

    def publish_last(self) -> None:
        """Publish what is committed at the end of a command.

        Raises:
            AtlasLockedError: As `publish`; says where the copy is.
        """
        try:
            self.publish()
        except OvertakenError as error:
            kept = self._copy.set_aside()
            message = (
                f"{self._copy.uri}: somebody else wrote there meanwhile, and nothing of theirs was touched; what this "
                f"command made is kept in {kept}, and the same command begins anew from what is there now"
            )
            raise AtlasLockedError(message) from error
        except AtlasLockedError as error:
            if self._lease.lost is None:
                raise
            message = (
                f"{error}; nothing was published. What this command made is kept in {self._copy.path}, and the next "
                "one here goes on with it if nobody else published"
            )
            raise AtlasLockedError(message) from error

    def _again(self) -> None:
        while not self._stop.wait(UPLOAD_EVERY_S):
            try:
                self.publish()
            except (LocatlasError, OSError) as error:
                logger.warning("%s; nothing was published now", error)
                if self._lease.lost is not None or isinstance(error, OvertakenError):
                    return

"""Publish a backup in an object store: what is not there yet, then the record, if nobody else wrote one. I/O."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.files import open_regular
from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.published.lease import Lease
from locatlas.indexer.published.objects import Objects, uri_of
from locatlas.indexer.store.file_digest import bytes_digest, file_digest

__all__ = ["RECORD", "PublishSummary", "name_of", "publish", "record_of"]

logger = logging.getLogger(__name__)

RECORD = "backup.json"
"""Object that says which state is published."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSummary:
    """What `publish` did.

    Attributes:
        uri: Where it is published.
        state: Name of the state.
        new: Whether it was not published before.
        files: In the state.
        bytes: Of these.
        sent_files: That were not there before.
        sent_bytes: Of these.
    """

    uri: str
    state: str
    new: bool
    files: int
    bytes: int
    sent_files: int
    sent_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `publish`."""
        return asdict(self)


def name_of(digest: str) -> str:
    """Object that holds the bytes of a digest."""
    return f"files/{digest[:2]}/{digest}"


def record_of(uri: str, data: bytes) -> BackupRecord:
    """What the object `RECORD` of an address says.

    Raises:
        InputError: If that is no record, or one of a newer locatlas.
    """
    return BackupRecord.from_json(data.decode(errors="replace"), where=f"{uri}/{RECORD}")


def publish(backup: str | Path, *, to: str, progress: Progress | None = None) -> PublishSummary:
    """Make the newest state of a backup readable at an address.

    Objects are named by the digest of their bytes, and are there before the record that names them: who reads sees the
    state before or this one. Nothing is deleted, since somebody may read the state before.

    Args:
        backup: Folder of the backup.
        to: Address, e.g. "s3://bucket/prefix".
        progress: Told of bytes.

    Raises:
        InputError: If it is no backup or no address, another atlas, a newer state or one that the backup never had is
            published there, or the store refuses.
        StoreDamagedError: If a file of the backup is not what was copied.
        AtlasLockedError: If another writes there, or published there meanwhile; what is there is theirs.
    """
    folder = BackupFolder(Path(backup))
    record = folder.state(None)
    uri = uri_of(to)
    if uri is None:
        message = f"{to}: s3://BUCKET/PREFIX, gs://... or az://... needed"
        raise InputError(message)
    objects = Objects.at(uri)
    with Lease.taken(objects, f"publish {backup}", token=secrets.token_hex(8)):
        return _publish(folder, record, objects, progress)


def _publish(folder: BackupFolder, record: BackupRecord, objects: Objects, progress: Progress | None) -> PublishSummary:
    uri, found = objects.uri, objects.read(RECORD)
    if found is not None:
        before = record_of(uri, found.data)
        if before.is_same_state(record):
            return _summary(uri, before, new=False, sent=[])
        _check_same_atlas(uri, before, record)
        _check_own(uri, before, folder)
    there = objects.listed("files")
    sizes = {file.digest: file.size for file in record.files}
    todo = sorted(d for d, size in sizes.items() if (at := there.get(name_of(d))) is None or at.size != size)
    total, done = sum(sizes[digest] for digest in todo), 0
    for digest in todo:
        path = folder.held.path(digest)
        try:
            if file_digest(path) != (sizes[digest], digest):
                message = f"{path}: other bytes than were copied; `locatlas restore {folder.path} --check` finds all"
                raise StoreDamagedError(message)
            with open_regular(path) as source:
                objects.write(name_of(digest), source)
        except FileNotFoundError as error:
            message = f"{path}: missing; `locatlas restore {folder.path} --check` finds all that is bad"
            raise StoreDamagedError(message) from error
        done += sizes[digest]
        if progress:
            progress("publishing", done, total)
    try:
        folder.note_published(_digest_of(record))
    except OSError as error:
        message = (
            "%s: cannot be written (%s), so that it forgets what was published from it with the state itself; a later "
            "one is refused then"
        )
        logger.warning(message, folder.path, error.strerror or error)
    objects.replace(RECORD, record.to_json().encode(), tag=None if found is None else found.tag)
    return _summary(uri, record, new=True, sent=[sizes[digest] for digest in todo])


def _check_same_atlas(uri: str, before: BackupRecord, record: BackupRecord) -> None:
    # their names are never used again, while the bytes of two atlases of the same images may be the same
    data = [{file.path for file in one.files if "/data/" in file.path} for one in (before, record)]
    strange = bool(data[0]) and not data[0] & data[1]
    if strange and before.atlas != record.atlas:
        message = f"{uri}: holds another atlas, {before.atlas}; publish elsewhere"
        raise InputError(message)
    if before.number < record.number:
        return
    if strange:
        message = (
            f"{uri}: holds state {before.name} of an atlas at {before.atlas} that has no file of a table in common "
            "with this one: another that stood in its place, or itself before all was rewritten; publish elsewhere"
        )
    else:
        message = f"{uri}: holds state {before.name}, which is not older than {record.name}; publish elsewhere"
    raise InputError(message)


def _check_own(uri: str, before: BackupRecord, folder: BackupFolder) -> None:
    """Refuse a state that came about elsewhere: its commits are in no state of the backup, however high the number."""
    own = {_digest_of(record) for record in folder.states().records}
    if _digest_of(before) not in own | folder.published():
        message = (
            f"{uri}: what is published there is no state of {folder.path}: somebody wrote at the address since (or the "
            "backup knows it no more), and that would be lost; go on writing at the address, or publish elsewhere"
        )
        raise InputError(message)


def _digest_of(record: BackupRecord) -> str:
    return bytes_digest(record.to_json().encode())


def _summary(uri: str, record: BackupRecord, *, new: bool, sent: list[int]) -> PublishSummary:
    return PublishSummary(
        uri=uri,
        state=record.name,
        new=new,
        files=len(record.files),
        bytes=record.bytes,
        sent_files=len(sent),
        sent_bytes=sum(sent),
    )

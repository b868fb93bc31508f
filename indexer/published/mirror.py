"""A published atlas on this machine: what is new of it is fetched, every digest compared. Reaches the network, writes.

Queries load all vectors of a level anyway, and files of tables never change, so a copy costs one download and is then
read like any atlas. It is kept in `LOCATLAS_HOME/mirrors`, and can be deleted at any time.
"""

import hashlib
import logging
import os
import shutil
from pathlib import Path

from filelock import FileLock

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.restore import settle_digests, try_out
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import RECORD, name_of
from locatlas.indexer.store.disk import SPARE_BYTES, require_space
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import PUBLISHED, AtlasFolder
from locatlas.models.home import home

__all__ = ["mirrored"]

logger = logging.getLogger(__name__)

KEPT = 2
"""States on this machine: whoever reads the one before goes on."""


def mirrored(uri: str) -> Path:
    """The folder with the state that is published now.

    Args:
        uri: From `objects.uri_of`.

    Raises:
        InputError: If nothing is published there, the store cannot be reached, or the disk is full.
        StoreDamagedError: If an object is missing or not what was published.
    """
    objects = Objects.at(uri)
    found = objects.read(RECORD)
    if found is None:
        message = f"{uri}: no atlas is published there (no {RECORD}); `locatlas publish BACKUP --to {uri}` makes one"
        raise InputError(message)
    record = BackupRecord.from_json(found[0].decode(errors="replace"), where=f"{uri}/{RECORD}")
    base = home() / "mirrors" / hashlib.blake2b(uri.encode(), digest_size=12).hexdigest()
    target = base / f"{record.name}-{hashlib.blake2b(found[0], digest_size=6).hexdigest()}"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / ".lock"):
        if not target.is_dir():
            _fetch(objects, record, base, target)
    return target


def _fetch(objects: Objects, record: BackupRecord, base: Path, target: Path) -> None:
    earlier = sorted((path for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")), key=_time)
    staging = base / f".{target.name}"
    shutil.rmtree(staging, ignore_errors=True)  # of one that was killed; we hold the lock
    (base / PUBLISHED).write_text(f'{{"uri": "{objects.uri}"}}\n', encoding="utf-8")
    todo = [file for file in record.files if not _linked(file, staging, earlier)]
    size = sum(file.size for file in todo)
    require_space(base, size, spare=SPARE_BYTES)
    logger.info("%s: fetching %.1f MB", objects.uri, size / 1e6)
    for file in todo:
        _download(objects, file, staging / file.path)
    settle_digests(AtlasFolder(staging), before_upgrade=False)
    try_out(staging / "db", {name: table.version for name, table in record.tables.items()}, record)
    staging.rename(target)
    for path in earlier[: max(0, len(earlier) + 1 - KEPT)]:
        shutil.rmtree(path, ignore_errors=True)


def _linked(file: BackedFile, staging: Path, earlier: list[Path]) -> bool:
    """Whether an earlier state has the file.

    Those of tables never change and their names are never used again, but for manifests, which are named by their
    version: a repair may set one aside, and the next commit writes another of the same name.
    """
    if not file.path.startswith("db/"):
        return False
    path = staging / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in reversed(earlier):
        try:
            same = (folder / file.path).stat().st_size == file.size
            if same and "/_versions/" in file.path:
                same = file_digest(folder / file.path)[1] == file.digest
            if same:
                os.link(folder / file.path, path)
                return True
        except OSError:
            continue
    return False


def _download(objects: Objects, file: BackedFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.blake2b(digest_size=16), 0
    try:
        with path.open("xb") as target:
            for block in objects.blocks(name_of(file.digest)):
                digest.update(block)
                size += len(block)
                target.write(block)
    except FileNotFoundError as error:
        message = f"{objects.uri}/{name_of(file.digest)}: missing, though {file.path} of the atlas needs it"
        raise StoreDamagedError(f"{message}; publish it again elsewhere") from error
    if (size, digest.hexdigest()) != (file.size, file.digest):
        message = f"{objects.uri}/{name_of(file.digest)}: other bytes than were published as {file.path}"
        raise StoreDamagedError(message)


def _time(path: Path) -> float:
    return path.stat().st_mtime

"""Put a published state together in a folder: what is here already is linked, the rest fetched. Network, writes.

Every digest is compared before the folder counts as an atlas.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from locatlas.errors import StoreDamagedError
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.restore import settle_digests, try_out
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import name_of
from locatlas.indexer.store.disk import SPARE_BYTES, require_space
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["download", "fetch"]

logger = logging.getLogger(__name__)


def fetch(objects: Objects, record: BackupRecord, staging: Path, *, here: Sequence[Path]) -> None:
    """Make an atlas of a state.

    Args:
        objects: Where it is published.
        record: The state.
        staging: Folder to be made; what a killed run left of it is removed.
        here: Atlases of this machine that may have files of it, those that are looked at first last.

    Raises:
        InputError: If the store cannot be reached, or the disk is full.
        StoreDamagedError: If an object is missing or not what was published.
    """
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    todo = [file for file in record.files if not _is_here(file, staging, here)]
    size = sum(file.size for file in todo)
    require_space(staging, size, spare=SPARE_BYTES)
    logger.info("%s: fetching %.1f MB", objects.uri, size / 1e6)
    for file in todo:
        download(objects, file, staging / file.path)
    settle_digests(AtlasFolder(staging), before_upgrade=False)
    try_out(staging / "db", {name: table.version for name, table in record.tables.items()}, record)


def _is_here(file: BackedFile, staging: Path, here: Sequence[Path]) -> bool:
    """Whether an atlas of this machine has the file, which is taken from there.

    Those of tables are linked: they never change and their names are never used again, but for manifests, which are
    named by their version: a repair may set one aside, and the next commit writes another of the same name. Others,
    which may be written meanwhile, are copied. What is there then is compared with the digest.
    """
    path = staging / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in reversed(here):
        try:
            if (folder / file.path).stat().st_size == file.size:
                (os.link if file.path.startswith("db/") else shutil.copyfile)(folder / file.path, path)
                if file_digest(path) == (file.size, file.digest):
                    return True
                path.unlink()
        except OSError:
            path.unlink(missing_ok=True)
    return False


def download(objects: Objects, file: BackedFile, path: Path) -> None:
    """Fetch a file of a state to a path that is free.

    Raises:
        InputError: If the store cannot be reached.
        StoreDamagedError: If its object is missing or not what was published.
    """
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
        raise StoreDamagedError(f"{message}; `locatlas verify --atlas {objects.uri}` finds all that is bad") from error
    if (size, digest.hexdigest()) != (file.size, file.digest):
        message = f"{objects.uri}/{name_of(file.digest)}: other bytes than were published as {file.path}"
        raise StoreDamagedError(f"{message}; `locatlas verify --atlas {objects.uri}` finds all that is bad")

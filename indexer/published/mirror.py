"""A published atlas on this machine: what is new of it is fetched, every digest compared. Reaches the network, writes.

Queries load all vectors of a level anyway, and files of tables never change, so a copy costs one download and is then
read like any atlas. It is kept in `LOCATLAS_HOME/mirrors`, and can be deleted at any time when nobody reads it. Once
later states are here it is removed, but not before the last of its readers is done.
"""

import hashlib
import shutil
from pathlib import Path

from filelock import FileLock

from locatlas.errors import InputError
from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.published.fetch import fetch
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.places import mirrors_of, states_in, working_folder
from locatlas.indexer.published.publish import RECORD, record_of
from locatlas.indexer.published.reading import hold, is_held, lock_of
from locatlas.indexer.store.atomic import remove
from locatlas.indexer.store.folder_locks import PUBLISHED
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["mirrored"]

KEPT = 2
"""States that stay on this machine though nobody reads them."""


def mirrored(uri: str, *, anew: bool = False) -> AtlasFolder:
    """A copy of the state that is published now, which stays while what is given back is referred to.

    Args:
        uri: From `objects.uri_of`.
        anew: Fetch all of it again.

    Raises:
        InputError: If nothing is published there, the store cannot be reached, or the disk is full.
        StoreDamagedError: If an object is missing or not what was published.
    """
    objects = Objects.at(uri)
    found = objects.read(RECORD)
    if found is None:
        message = f"{uri}: no atlas is there (no {RECORD}); `locatlas index SOURCE --atlas {uri}` makes one"
        raise InputError(message)
    record = record_of(uri, found.data)
    base = mirrors_of(uri)
    target = base / f"{record.name}-{hashlib.blake2b(found.data, digest_size=6).hexdigest()}"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / ".lock"):
        if anew or not target.is_dir():
            _fetch(objects, record, base, target, anew=anew)
        folder = AtlasFolder(target.resolve())
        hold(target, folder)
    return folder


def _fetch(objects: Objects, record: BackupRecord, base: Path, target: Path, *, anew: bool) -> None:
    """Put a copy together beside the others, and remove those that nobody reads; the caller holds the lock of all."""
    remove(path for path in base.glob(".*") if path.is_dir())  # of runs that were killed
    (base / PUBLISHED).write_text(f'{{"uri": "{objects.uri}"}}\n', encoding="utf-8")
    staging, before = base / f".{target.name}", base / f".{target.name}.before"
    here = [] if anew else [*states_in(base), working_folder(objects.uri) / "atlas"]
    fetch(objects, record, staging, here=here)
    if target.is_dir():
        target.rename(before)  # the same names are there again at once, for whoever reads it
    staging.rename(target)
    shutil.rmtree(before, ignore_errors=True)
    for path in [path for path in states_in(base) if path != target][: -(KEPT - 1)]:
        if not is_held(path):
            shutil.rmtree(path, ignore_errors=True)
            lock_of(path).unlink(missing_ok=True)

"""A published atlas on this machine: what is new of it is fetched, every digest compared. Reaches the network, writes.

Queries load all vectors of a level anyway, and files of tables never change, so a copy costs one download and is then
read like any atlas. It is kept in `LOCATLAS_HOME/mirrors`, and can be deleted at any time.
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
from locatlas.indexer.published.publish import RECORD
from locatlas.indexer.store.layout import PUBLISHED

__all__ = ["mirrored"]

KEPT = 2
"""States on this machine: whoever reads the one before goes on."""


def mirrored(uri: str, *, anew: bool = False) -> Path:
    """The folder with the state that is published now.

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
    record = BackupRecord.from_json(found[0].decode(errors="replace"), where=f"{uri}/{RECORD}")
    base = mirrors_of(uri)
    target = base / f"{record.name}-{hashlib.blake2b(found[0], digest_size=6).hexdigest()}"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / ".lock"):
        if anew:
            shutil.rmtree(target, ignore_errors=True)
        if not target.is_dir():
            _fetch(objects, record, base, target, anew=anew)
    return target


def _fetch(objects: Objects, record: BackupRecord, base: Path, target: Path, *, anew: bool) -> None:
    earlier = states_in(base)
    (base / PUBLISHED).write_text(f'{{"uri": "{objects.uri}"}}\n', encoding="utf-8")
    staging = base / f".{target.name}"
    fetch(objects, record, staging, here=[] if anew else [*earlier, working_folder(objects.uri) / "atlas"])
    staging.rename(target)
    for path in earlier[: max(0, len(earlier) + 1 - KEPT)]:
        shutil.rmtree(path, ignore_errors=True)

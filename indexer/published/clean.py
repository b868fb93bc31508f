"""Remove objects that no state needs any more, once nobody can be reading them. Network.

What is not needed by the state that is published is noted, and removed by a later run, `UNNEEDED_S` after it was noted
first: whoever began to fetch the state before has so long. So are objects that a run which was killed had sent. An
object that was put again since begins anew. Who cleans holds the lease, and renews it before each request that deletes.
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any

from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.published.lease import Lease
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import name_of

__all__ = ["UNNEEDED_S", "Cleaned", "clean", "keep"]

NOTED = "unneeded.json"
"""Object that says since when which objects are not needed."""

UNNEEDED_S = 86_400.0
"""Seconds for which an object stays after it was seen not to be needed."""

_AT_ONCE = 1000
"""Objects that one request deletes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What `clean` did.

    Attributes:
        removed: Objects that were deleted.
        removed_bytes: Of these.
        unneeded: Objects that are not needed and stay for now.
        unneeded_bytes: Of these.
    """

    removed: int = 0
    removed_bytes: int = 0
    unneeded: int = 0
    unneeded_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Its part of the JSON document of `maintain`."""
        return asdict(self)


def clean(objects: Objects, record: BackupRecord, lease: Lease) -> Cleaned:
    """Delete what was noted long enough ago, and note what is not needed now.

    Args:
        objects: Where.
        record: The state that is published.
        lease: Held by the caller.

    Raises:
        AtlasLockedError: If somebody took the lease; nothing is deleted any more.
        InputError: If the store cannot be reached.
    """
    now, needed = lease.time(), {name_of(file.digest) for file in record.files}
    noted = _noted(objects)
    stays: dict[str, tuple[str, str]] = {}
    goes: list[str] = []
    listed = objects.listed("files")
    for name, one in listed.items():
        if name in needed:
            continue
        put, since = noted.get(name, ("", ""))
        if put != one.at.isoformat():
            since = now.isoformat()
        if (now - dt.datetime.fromisoformat(since)).total_seconds() >= UNNEEDED_S:
            goes.append(name)
        else:
            stays[name] = (one.at.isoformat(), since)
    for low in range(0, len(goes), _AT_ONCE):
        lease.ensure()
        objects.remove(goes[low : low + _AT_ONCE])
    if stays != noted:
        objects.write(NOTED, _written(stays))
    return Cleaned(
        removed=len(goes),
        removed_bytes=sum(listed[name].size for name in goes),
        unneeded=len(stays),
        unneeded_bytes=sum(listed[name].size for name in stays),
    )


def keep(objects: Objects, record: BackupRecord) -> None:
    """Let what a state needs count as needed from now on, before it is published.

    Raises:
        InputError: If the store cannot be reached.
    """
    noted, needed = _noted(objects), {name_of(file.digest) for file in record.files}
    stays = {name: said for name, said in noted.items() if name not in needed}
    if stays != noted:
        objects.write(NOTED, _written(stays))


def _written(noted: dict[str, tuple[str, str]]) -> bytes:
    return json.dumps(noted, indent=1, sort_keys=True).encode()


def _noted(objects: Objects) -> dict[str, tuple[str, str]]:
    """When each was put, and since when it is not needed; what cannot be read counts for nothing."""
    found = objects.read(NOTED)
    try:
        said = {} if found is None else json.loads(found.data)
        return {name: (put, dt.datetime.fromisoformat(since).isoformat()) for name, (put, since) in said.items()}
    except (ValueError, TypeError, AttributeError):
        return {}

"""What repairs took out of tables and that is not there again, by id, in `digests/taken-out.json`. I/O.

Without it an atlas that a repair left with fewer rows would look whole: a field without a vector may be one that was
only searched for cells, and nothing else knows of an annotation. It is written before anything is taken out, carries a
seal, and `atlas.json` says that it must be there.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from locatlas.errors import StoreDamagedError
from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.digest_lines import sealed, unsealed
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.finding import Finding, Severity, finding
from locatlas.indexer.verify.relations import images_of

__all__ = ["Loss", "accept", "add", "look_at_losses", "missing", "read", "settle"]

_FLAG = "rows_taken_out"


@dataclass(frozen=True, slots=True)
class Loss:
    """What was taken out of one table.

    Attributes:
        parts: Rows by the file that they were in, so that a repair that was stopped and runs again counts none twice;
            None where a version gave way to the one before, and nobody knows.
        before: Rows that the table had; None likewise.
        ids: Sorted; of vectors all images that had none left, of images those that vectors or cells still name.
        at: When, ISO 8601 in UTC.
    """

    parts: Mapping[str, int | None]
    before: int | None
    ids: tuple[str, ...]
    at: str

    @property
    def lost(self) -> int | None:
        """Rows that were taken out, if that is known."""
        known = [n for n in self.parts.values() if n is not None]
        return sum(known) if len(known) == len(self.parts) else None


def read(folder: AtlasFolder) -> dict[str, Loss] | None:
    """By table; None if it is damaged, or is missing though there was one."""
    try:
        fields = unsealed(_path(folder).read_bytes())
    except FileNotFoundError:
        return None if _FLAG in _info(folder) else {}
    if fields is None:
        return None
    return {table: Loss(**{**loss, "ids": tuple(loss["ids"])}) for table, loss in fields["tables"].items()}


def add(
    folder: AtlasFolder, table: str, parts: Mapping[str, int | None], *, before: int | None, ids: Iterable[str]
) -> None:
    """Say what is about to be taken out; what was said earlier stays. The writer lock is held."""
    noted = read(folder) or {}
    if (earlier := noted.get(table)) is not None:
        ids, before, parts = {*ids, *earlier.ids}, earlier.before, {**earlier.parts, **parts}
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    _write(folder, {**noted, table: Loss(parts, before, tuple(sorted(ids)), now)})


def settle(store: Store) -> None:
    """Forget what is there again. The writer lock is held."""
    noted = read(store.folder)
    if noted and (left := {table: loss for table, loss in noted.items() if missing(store, table, loss)}) != noted:
        _write(store.folder, left)


def accept(folder: AtlasFolder) -> list[str]:
    """Forget all of it, because a person said so; the tables. The writer lock is held."""
    noted = read(folder)
    tables = ["what cannot be read"] if noted is None else sorted(noted)
    _write(folder, {})
    return tables


def missing(store: Store, table: str, loss: Loss) -> int:
    """Rows that are not there again; where nobody knows how many there were, at least one."""
    there = set(store.read(table, ["id"])["id"].to_pylist()) if store.has(table) else set()
    absent = [i for i in loss.ids if i not in there]
    never = 0
    if table.startswith("emb_"):
        images = _images(store, table)
        # images that are gone, or that never had a vector, are not waited for
        absent = [i for i in absent if i in images]
        never = 0 if loss.lost is None else max(0, len(loss.ids) - loss.lost)
    elif loss.lost is None:
        return len(absent) if loss.ids else 1
    unnamed = 0 if loss.lost is None or loss.before is None else max(0, loss.lost - len(loss.ids))
    if unnamed:
        assert loss.before is not None
        unnamed = min(unnamed, max(0, loss.before - len(there) - len(absent)))
    return max(0, len(absent) - never) + unnamed


def _images(store: Store, table: str) -> set[str]:
    """Images that may have a vector in this table: cells, or fields that have files."""
    if images_of(table) == "cells":
        return set(store.read("cells", ["id"])["id"].to_pylist())
    rows = store.read("fovs", ["id", "sources"])
    return set(rows["id"].filter(pc.greater(pc.list_value_length(rows["sources"]), 0)).to_pylist())


def look_at_losses(folder: AtlasFolder, readable: Collection[str]) -> list[Finding]:
    """A warning for each table that misses rows since a repair, and damage where it is not known any more which.

    Args:
        folder: The atlas.
        readable: Tables that are there and not damaged; others are told elsewhere.
    """
    where = _path(folder).relative_to(folder.path).as_posix()
    if (noted := read(folder)) is None:
        means = "which rows earlier repairs took out, and whether they are back, is not known any more"
        do = "compare with a backup; `locatlas verify --accept-losses` begins anew"
        return [finding("damage", "losses damaged", where, means, do)]
    findings, store = [], Store(folder, as_is=True)
    for table, loss in sorted(noted.items()):
        needs = {table, images_of(table)} if table.startswith("emb_") else {table}
        if not needs <= set(readable) or not (n := missing(store, table, loss)):
            continue
        if loss.lost is None and not table.startswith("emb_"):
            means = f"its newest version was damaged and gave way to the one before on {loss.at[:10]}"
            do = "run again what was run last before that"
        else:
            means = f"{n} rows that a repair took out on {loss.at[:10]} are not there again"
            do = _AGAIN.get(table, _VECTORS)
        accepted = f"{do}; `locatlas verify --accept-losses` if they are not wanted any more"
        severity: Severity = "note" if table in _NO_IMAGES else "warning"
        findings.append(finding(severity, "rows taken out", table, means, accepted, of=loss.ids))
    return findings


_VECTORS = (
    "--repair makes them where weights and images are at hand, and says what to run else; vectors that were imported "
    "come back with `locatlas import-embeddings`"
)
_INDEX = "run the same `locatlas index` again"
_NO_IMAGES = frozenset({"runs", "quarantine", "benchmarks", "maps"})
"""Tables that hold nothing of an image, and of which commands make the rows that matter again."""

_AGAIN = {
    "fovs": _INDEX,
    "cells": _INDEX,
    "annotations": "restore --table annotations from a backup, or `locatlas annotate import` the sheets again",
    "benchmarks": "run `locatlas benchmark` again",
    "maps": "run `locatlas map` again",
    "runs": "nothing gives them back; no image or vector is lost with them",
    "quarantine": "the next `locatlas index` tries those sources again",
}


def _path(folder: AtlasFolder) -> Path:
    return folder.path / "digests" / "taken-out.json"


def _write(folder: AtlasFolder, noted: Mapping[str, Loss]) -> None:
    if noted:
        write_atomically(_path(folder), sealed({"tables": {table: asdict(loss) for table, loss in noted.items()}}))
        _flag(folder, there=True)
    else:
        _flag(folder, there=False)
        _path(folder).unlink(missing_ok=True)


def _flag(folder: AtlasFolder, *, there: bool) -> None:
    """Let `atlas.json` say that there is something to be read, so that it is missed if it is gone."""
    info = _info(folder)
    if info and there != (_FLAG in info):
        folder.write_info({**info, _FLAG: True} if there else {k: v for k, v in info.items() if k != _FLAG})


def _info(folder: AtlasFolder) -> dict[str, Any]:
    """What `atlas.json` says; nothing where it is missing or damaged, which is told elsewhere."""
    try:
        return folder.info()
    except (FileNotFoundError, StoreDamagedError):
        return {}

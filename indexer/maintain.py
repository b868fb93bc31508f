"""Keep an atlas tidy: merge fragments, remove what kills left, old versions and superseded vectors. I/O."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from locatlas.errors import AtlasLockedError, StoreDamagedError
from locatlas.indexer.backup.kept import give_up
from locatlas.indexer.declared_roots import declare_roots
from locatlas.indexer.indices.files import unnamed_files
from locatlas.indexer.pixel_cache.keeping import remove_stale
from locatlas.indexer.published.writing import writes
from locatlas.indexer.store.atomic import remove
from locatlas.indexer.store.cache_entries import abandoned_caches, cached_tables, drop_cache
from locatlas.indexer.store.encoders import StoredEncoder, stored_encoders
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.maps import drop_maps, maps_of
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import old_versions, remove_versions
from locatlas.indexer.store.tidy_limits import DROPPED
from locatlas.interrupts import unbroken

__all__ = ["MaintainSummary", "SupersededVectors", "drop_vectors", "maintain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupersededVectors:
    """The vectors of an encoder that is not in use any more.

    Attributes:
        level: "fov" or "cell".
        name: Of the encoder.
        fingerprint: Of the encoder.
        vectors: How many.
        bytes: On disk, with their FAISS index.
        imported: Whether they were made elsewhere, so that no image could give them back.
    """

    level: str
    name: str
    fingerprint: str
    vectors: int
    bytes: int
    imported: bool


@dataclass(slots=True)
class MaintainSummary:
    """What `maintain` did.

    Attributes:
        dropped: Vectors that were deleted.
        kept: Superseded vectors that are still there.
        freed_bytes: Of what was deleted.
        compacted: Tables whose fragments were merged.
        roots: Folders of images that were declared anew, by name.
        old_versions: Versions of tables that were removed, superseded for a while (`tidy_limits.SUPERSEDED_FOR_S`).
        dropped_maps: Maps that were deleted, of encoders whose vectors are.
        given_up: States from before an upgrade, as folders below the atlas, that needed one of these and were deleted.
    """

    dropped: list[SupersededVectors] = field(default_factory=list)
    kept: list[SupersededVectors] = field(default_factory=list)
    freed_bytes: int = 0
    compacted: list[str] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)
    old_versions: int = 0
    dropped_maps: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `maintain`."""
        return asdict(self)


@writes("maintain", cleaning=True)
def maintain(
    *, atlas: str | Path, drop_superseded: bool = False, roots: Mapping[str, Path] | None = None
) -> MaintainSummary:
    """Merge small fragments, remove old versions and what killed runs left; on request, delete superseded vectors.

    A version of a table is old when it has been superseded for ten minutes: whoever reads it has so long to end.

    What was kept before an upgrade of the atlas (`before-upgrade/`) is deleted with the first version that it needs.

    The encoders themselves stay in the atlas, with their parents and what they were trained on. Vectors that were
    imported are kept: no image could give them back. A query that began with an encoder just before its vectors were
    deleted may fail.

    Args:
        atlas: Atlas folder.
        drop_superseded: Delete vectors and indices of encoders that were superseded.
        roots: Where the images of declared roots lie now, by name of root.

    Raises:
        InputError: If there is no atlas, it cannot be written, or a folder holds none of the images of its root.
        UnknownNameError: If no root has such a name.
        AtlasLockedError: If another process writes, or the atlas is being re-embedded and vectors are to be deleted:
            a re-embedding may be about to use them again.
    """
    store = Store.open(Path(atlas))
    command = "maintain --drop-superseded" if drop_superseded else "maintain"
    with ExitStack() as held:
        if drop_superseded:
            held.enter_context(store.folder.reembedding(command))
        held.enter_context(store.folder.writer(command))
        run = held.enter_context(Run.record(store, "maintain"))
        summary = MaintainSummary(roots=declare_roots(store, roots or {}))
        if drop_superseded:
            # before the vectors: a run that is stopped between the two still finds these
            summary.dropped_maps = _drop_maps(store, run)
        for encoder in stored_encoders(store):
            if encoder.state != "superseded" or not store.has(encoder.table):
                continue
            vectors = _described(store, encoder)
            if drop_superseded and not encoder.is_imported:
                run.touched()
                summary.given_up += _give_up(store, encoder.table, None)
                drop_vectors(store, encoder)
                run.counts["dropped vectors"] += vectors.vectors
                summary.freed_bytes += vectors.bytes
                summary.dropped.append(vectors)
            else:
                summary.kept.append(vectors)
        summary.freed_bytes += _remove_remains(store)
        if store.folder.decoded.is_dir():
            # who packs removes what is stale as well
            with suppress(AtlasLockedError), store.folder.packing(command):
                summary.freed_bytes += remove_stale(store)
        for table in store.tables():
            before = store.version(table)
            store.compact(table)
            summary.compacted += [table] if store.version(table) != before else []
            old = old_versions(store, table)
            summary.given_up += _give_up(store, table, old)
            removed, freed = remove_versions(store, table, old)
            summary.old_versions += removed
            summary.freed_bytes += freed
        return summary


def _drop_maps(store: Store, run: Run) -> list[str]:
    superseded = {(e.level, e.fingerprint) for e in stored_encoders(store) if e.state == "superseded"}
    imported = {(e.level, e.fingerprint) for e in stored_encoders(store) if e.is_imported}
    if not maps_of(store, superseded - imported):
        return []
    run.touched()
    dropped = drop_maps(store, superseded - imported)
    run.counts["dropped maps"] += len(dropped)
    return dropped


def _give_up(store: Store, table: str, versions: list[int] | None) -> list[str]:
    try:
        return give_up(store.folder, table, versions)
    except OSError as error:
        message = f"{error.filename or store.folder.path}: cannot be deleted ({error.strerror or error})"
        raise StoreDamagedError(message) from error


def _described(store: Store, encoder: StoredEncoder) -> SupersededVectors:
    return SupersededVectors(
        level=encoder.level,
        name=encoder.spec.name,
        fingerprint=encoder.fingerprint,
        vectors=store.count(encoder.table),
        bytes=sum(_size(path) for path in [_folder(store, encoder.table), *_index_files(store, encoder.table)]),
        imported=encoder.is_imported,
    )


def _folder(store: Store, table: str) -> Path:
    return store.folder.db / f"{table}.lance"


def _index_files(store: Store, table: str) -> Iterator[Path]:
    return store.folder.indices.glob(f"{table}.*")


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def drop_vectors(store: Store, encoder: StoredEncoder) -> None:
    """Delete a table at once for readers, then its files; a kill between leaves what the next run removes.

    The writer lock is held.

    Raises:
        StoreDamagedError: If a file cannot be deleted.
    """
    folder = _folder(store, encoder.table)
    away = folder.with_name(f"{DROPPED}{encoder.table}")
    try:
        with unbroken():
            if away.exists():
                shutil.rmtree(away)
            with store.digests.removing([folder.relative_to(store.folder.path).as_posix() + "/"]):
                folder.rename(away)
            shutil.rmtree(away)
            remove(_index_files(store, encoder.table))
            drop_cache(store.folder, encoder.table)
    except OSError as error:
        message = f"{folder}: cannot be deleted ({error.strerror or error}); run maintain again"
        raise StoreDamagedError(message) from error


def _remove_remains(store: Store) -> int:
    """Tables and caches whose deletion was killed, and superseded indices and those without a table; their bytes."""
    remains = list(store.folder.db.glob(f"{DROPPED}*"))
    remains += [path for path in store.folder.indices.glob("emb_*") if not store.has(path.name.partition(".")[0])]
    remains += [path for table in store.tables() for path in unnamed_files(store.folder, table)]
    remains += [store.folder.path / "cache" / table for table in cached_tables(store.folder) if not store.has(table)]
    remains += abandoned_caches(store.folder)
    freed = sum(map(_size, remains))
    try:
        remove(remains)
    except OSError as error:
        message = f"{error.filename or store.folder.path}: cannot be deleted ({error.strerror or error})"
        raise StoreDamagedError(message) from error
    return freed

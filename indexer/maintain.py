"""Keep an atlas tidy: merge fragments, remove what kills left, old versions and vectors that nobody wants. I/O."""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from locatlas.indexer.store.encoders import StoredEncoder, forget, stored_encoders
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.maps import drop_maps, maps_of
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import old_versions, remove_versions
from locatlas.indexer.store.tidy_limits import DROPPED
from locatlas.indexer.unwanted import named_encoders
from locatlas.interrupts import unbroken

__all__ = ["MaintainSummary", "UnusedVectors", "drop_vectors", "maintain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedVectors:
    """The vectors of an encoder that is not current.

    Attributes:
        level: "fov" or "cell".
        name: Of the encoder.
        fingerprint: Of the encoder.
        vectors: How many.
        bytes: On disk, with their FAISS index.
        imported: Whether they were made elsewhere, so that only their file could give them back.
        state: "superseded", "beside" or "building".
    """

    level: str
    name: str
    fingerprint: str
    vectors: int
    bytes: int
    imported: bool
    state: str


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
        forgotten: Encoders that were deleted with their vectors, "<level>/<fingerprint>": named, and never current.
        given_up: States from before an upgrade, as folders below the atlas, that needed one of these and were deleted.
    """

    dropped: list[UnusedVectors] = field(default_factory=list)
    kept: list[UnusedVectors] = field(default_factory=list)
    freed_bytes: int = 0
    compacted: list[str] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)
    old_versions: int = 0
    dropped_maps: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `maintain`."""
        return asdict(self)


@writes("maintain", cleaning=True)
def maintain(
    *,
    atlas: str | Path,
    drop_superseded: bool = False,
    drop_encoders: Sequence[str] = (),
    roots: Mapping[str, Path] | None = None,
) -> MaintainSummary:
    """Merge small fragments, remove old versions and what killed runs left; on request, delete vectors of encoders.

    A version of a table is old when it has been superseded for ten minutes: whoever reads it has so long to end.

    What was kept before an upgrade of the atlas (`before-upgrade/`) is deleted with the first version that it needs.

    Encoders that were current once stay in the atlas, with their parents and what they were trained on. Vectors that
    were imported are kept unless their encoder is named: only their file could give them back. A query that began with
    an encoder just before its vectors were deleted may fail.

    Args:
        atlas: Atlas folder.
        drop_superseded: Delete vectors and indices of encoders that were superseded.
        drop_encoders: Delete those of these encoders, too, by name or fingerprint (at least six digits); one that never
            was current is forgotten. What is in quarantine because of it stays until another encoder takes it. The
            current one is refused.
        roots: Where the images of declared roots lie now, by name of root.

    Raises:
        InputError: If there is no atlas, it cannot be written, or a folder holds none of the images of its root.
        UnknownNameError: If no root or encoder has such a name.
        AtlasLockedError: If another process writes, or the atlas is being re-embedded and vectors are to be deleted:
            a re-embedding may be about to use them again.
    """
    store = Store.open(Path(atlas))
    drops = drop_superseded or bool(drop_encoders)
    options = (("--drop-superseded", drop_superseded), ("--drop-encoder", drop_encoders))
    command = " ".join(["maintain", *(name for name, given in options if given)])
    with ExitStack() as held:
        if drops:
            held.enter_context(store.folder.reembedding(command))
        held.enter_context(store.folder.writer(command))
        run = held.enter_context(Run.record(store, "maintain"))
        unwanted = named_encoders(store, drop_encoders)
        summary = MaintainSummary(roots=declare_roots(store, roots or {}))
        known = stored_encoders(store)
        superseded = [e for e in known if e.state == "superseded"]
        if drop_superseded:
            unwanted += [e for e in superseded if not e.is_imported and e not in unwanted]
        # before the vectors: a run that is stopped between the two still finds these
        summary.dropped_maps = _drop_maps(store, unwanted, run)
        for encoder in unwanted:
            _drop(store, encoder, summary, run, forgotten=encoder.state != "superseded")
        summary.kept += [_described(store, e) for e in superseded if e not in unwanted and store.has(e.table)]
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


def _drop(store: Store, encoder: StoredEncoder, summary: MaintainSummary, run: Run, *, forgotten: bool) -> None:
    if store.has(encoder.table):
        vectors = _described(store, encoder)
        run.touched()
        summary.given_up += _give_up(store, encoder.table, None)
        drop_vectors(store, encoder)
        run.counts["dropped vectors"] += vectors.vectors
        summary.freed_bytes += vectors.bytes
        summary.dropped.append(vectors)
    if forgotten:
        # last: a run that is stopped before finds it by its name
        run.touched()
        forget(store, encoder)
        run.counts["forgotten encoders"] += 1
        summary.forgotten.append(f"{encoder.level}/{encoder.fingerprint}")


def _drop_maps(store: Store, unwanted: Collection[StoredEncoder], run: Run) -> list[str]:
    of = {(e.level, e.fingerprint) for e in unwanted}
    if not maps_of(store, of):
        return []
    run.touched()
    dropped = drop_maps(store, of)
    run.counts["dropped maps"] += len(dropped)
    return dropped


def _give_up(store: Store, table: str, versions: list[int] | None) -> list[str]:
    try:
        return give_up(store.folder, table, versions)
    except OSError as error:
        message = f"{error.filename or store.folder.path}: cannot be deleted ({error.strerror or error})"
        raise StoreDamagedError(message) from error


def _described(store: Store, encoder: StoredEncoder) -> UnusedVectors:
    return UnusedVectors(
        level=encoder.level,
        name=encoder.spec.name,
        fingerprint=encoder.fingerprint,
        vectors=store.count(encoder.table),
        bytes=sum(_size(path) for path in [_folder(store, encoder.table), *_index_files(store, encoder.table)]),
        imported=encoder.is_imported,
        state=encoder.state,
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

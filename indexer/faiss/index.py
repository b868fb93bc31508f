"""FAISS files of an embedding table: build, check against the table, search. I/O.

A FAISS file is a cache. Beside it stand a sidecar, which says of which table, version, fingerprint and vectors it was
made, and the ids of its rows. A file that does not match its sidecar, or a sidecar that does not match the table, is
never used; rows that came later are searched exactly and merged.
"""

import mmap
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.faiss.kinds import (
    AUTO_LATER_SHARE,
    Kind,
    choose_kind,
    find_candidates,
    new_index,
    read_faiss,
    train_and_add,
    unit_vectors,
)
from locatlas.indexer.faiss.recall import measure_recall, truth_of, tuned
from locatlas.indexer.faiss.sidecar import SIDECAR_VERSION, Sidecar, blake2b, id_lines, rows_digest
from locatlas.indexer.store.aligned import one_array, rows_in
from locatlas.indexer.store.disk import require_space
from locatlas.indexer.store.encoders import StoredEncoder, current
from locatlas.indexer.store.file_digest import FileState, file_state
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.layout import write_atomically
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.table_reads import TableVectors
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import mapped_vectors

__all__ = ["FaissIndex", "IndexCheck", "build", "kind_of", "open_index", "refresh"]


def _paths(store: Store, table: str) -> tuple[Path, Path, Path]:
    base = store.folder.indices / table
    return base.with_suffix(".faiss"), base.with_suffix(".json"), base.with_suffix(".ids")


def kind_of(store: Store, table: str) -> str | None:
    """The type of index that a table has, by its sidecar, whether it can be used or not; None if nothing says it."""
    try:
        kind = Sidecar.from_json(_paths(store, table)[1].read_text(encoding="utf-8")).kind
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if kind in get_args(Kind) else None


def build(store: Store, encoder: StoredEncoder, kind: Kind, *, seed: int = 0) -> Sidecar:
    """Build the FAISS file of an encoder's table and write it, its ids and its sidecar under temporary names first.

    The sidecar is written last, so that a kill leaves an index without a valid sidecar, which is not used.

    Args:
        store: The atlas.
        encoder: Whose vectors.
        kind: Index type.
        seed: Of the sample on which recall is measured, and search made as thorough as it must be.

    Raises:
        InputError: If the kind is unknown, the table is empty or the disk has no room for the file.
    """
    import faiss

    if kind not in get_args(Kind):
        message = f"unknown FAISS index {kind!r}; known: {', '.join(get_args(Kind))}"
        raise InputError(message)
    held = mapped_vectors(store, encoder.table).held
    n, d = held.vectors.shape
    if n == 0:
        message = f"{store.folder.path}: table {encoder.table} has no vectors to index"
        raise InputError(message)
    index, params = new_index(kind, n, d)
    train_and_add(index, held.vectors, kind)
    proteins = _proteins(store, encoder.level, held)
    params = tuned(index, kind, params, held.vectors, truth_of(held.vectors, proteins, seed=seed))
    recall = measure_recall(index, kind, params, held.vectors, truth_of(held.vectors, proteins, seed=seed + 1))
    faiss_path, json_path, ids_path = _paths(store, encoder.table)
    data, lines = faiss.serialize_index(index).data, id_lines(held.ids)
    sidecar = Sidecar(
        sidecar_version=SIDECAR_VERSION,
        table=encoder.table,
        version=held.version,
        fingerprint=encoder.fingerprint,
        metric="cosine",
        kind=kind,
        params=params,
        count=n,
        dim=d,
        vectors_digest=rows_digest(held.ids, held.vectors),
        file_digest=blake2b(data),
        faiss=faiss.__version__,
        recall_at_10=recall,
        recall_among="other proteins",
        ids_digest=blake2b(lines),
        manifest=manifest_digest(store.folder, encoder.table, held.version) or "",
    )
    store.folder.indices.mkdir(exist_ok=True)
    require_space(store.folder.indices, len(data) + len(lines))
    json_path.unlink(missing_ok=True)
    write_atomically(faiss_path, data)
    write_atomically(ids_path, lines)
    write_atomically(json_path, sidecar.to_json().encode())
    return sidecar


def _proteins(store: Store, level: str, held: TableVectors) -> NDArray[np.int64]:
    """Code of each vector's protein, which a question leaves out; -1 where it is not known."""
    images = store.read(image_table(level), ["id", "protein"])
    place = rows_in(held.names, images["id"])
    names = one_array(images["protein"]).take(pa.array(place, mask=place < 0))
    codes: Any = pc.fill_null(names.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(codes, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class FaissIndex:
    """An index that was checked against its table.

    Attributes:
        sidecar: What it was made from.
        index: The FAISS index.
        rows: (count,) row in the table's current vectors (sorted by id) of each row of the file, -1 where it is left
            out of them; None where they are the same.
        later: Rows of the table that the file does not hold; they are always candidates.
    """

    sidecar: Sidecar
    index: Any
    rows: NDArray[np.int64] | None
    later: NDArray[np.int64]

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Rows of the table among which the k nearest to one query are sought; the caller ranks them exactly.

        Args:
            query: (d,) float32, any length.
            k: Wanted neighbors.
            allowed: (n,) rows of the table that may be answers, or None for all.

        Returns:
            Distinct rows, ascending; all rows later than the index are among them, and at least k where so many are
            allowed.
        """
        unit = unit_vectors(query[None].astype(np.float32))
        mask = self._mask(allowed)
        found = find_candidates(self.index, self.sidecar.kind, self.sidecar.params, unit, k, mask)[0]
        found = found[found >= 0]
        if len(found) < k:  # perhaps the lists or paths that were searched hold too few: then rank them all
            there = np.arange(self.index.ntotal) if mask is None else np.flatnonzero(mask)
            found = there if len(found) < min(k, len(there)) else found
        if self.rows is not None:
            found = self.rows[found]
        if not len(self.later):
            return np.sort(found)
        later = self.later if allowed is None else self.later[allowed[self.later]]
        return np.union1d(found, later)

    def _mask(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Which rows of the file may be found; None for all."""
        if self.rows is None:
            return allowed
        mask: NDArray[np.bool_] = self.rows >= 0
        return mask if allowed is None else mask & allowed[self.rows]


class IndexCheck:
    """Takes the digests of an index's files, in a thread of its own: FAISS itself is loaded meanwhile."""

    def __init__(self, store: Store, encoder: StoredEncoder) -> None:
        self._paths = _paths(store, encoder.table)
        self._found: tuple[Sidecar, FileState, bytes] | str = "no index"
        self._thread = threading.Thread(target=self._look, name="index-check", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        faiss_path, json_path, ids_path = self._paths
        if not json_path.is_file():
            return
        try:
            sidecar = Sidecar.from_json(json_path.read_text(encoding="utf-8"))
            state, lines = file_state(faiss_path), ids_path.read_bytes()
            # in one call, which keeps no interpreter lock: between blocks it would wait for whoever has it
            with faiss_path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                digests = (blake2b(data), blake2b(lines))
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._found = f"index unreadable ({error})"
            return
        whole = digests == (sidecar.file_digest, sidecar.ids_digest)
        self._found = (sidecar, state, lines) if whole else "index file damaged"

    def result(self) -> "tuple[Sidecar, FileState, bytes] | str":
        """Sidecar, state of the FAISS file and its ids, if all are what was written; else a word about them."""
        self._thread.join()
        return self._found


def open_index(
    store: Store, encoder: StoredEncoder, held: TableVectors, check: IndexCheck | None = None
) -> tuple[FaissIndex | None, str]:
    """The index of an encoder's table if it can be trusted, and a word about it.

    Args:
        store: The atlas.
        encoder: Whose vectors.
        held: The table's vectors now.
        check: Of the index's files, if it was begun already.

    Returns:
        The index, or None with the reason: absent, damaged, foreign or stale.
    """
    faiss_path, json_path, _ = _paths(store, encoder.table)
    if not json_path.is_file():
        return None, "no index"
    check = check or IndexCheck(store, encoder)
    import faiss  # while the thread reads

    found = check.result()
    if isinstance(found, str):
        return None, found
    sidecar, checked, lines = found
    made_of = (sidecar.table, sidecar.fingerprint, sidecar.dim, sidecar.metric)
    if made_of != (encoder.table, encoder.fingerprint, encoder.spec.dim, "cosine"):
        return None, "index of another table or encoder"
    rows: NDArray[np.int64] | None = None
    # of the very manifest that is there now: then its ids and vectors are, too, but for those that are left out here
    same = sidecar.manifest and sidecar.manifest == manifest_digest(store.folder, encoder.table, held.version)
    if not (same and len(held) == sidecar.count):
        ids = lines.decode().split("\n")
        rows = rows_in(pa.array(ids, pa.string()), held.names)
        if not same and ((rows < 0).any() or rows_digest(ids, held.vectors[rows]) != sidecar.vectors_digest):
            return None, "index stale: rows it holds were changed or removed"
    try:
        index = read_faiss(faiss_path)
    except RuntimeError as error:  # our own bytes, so it is another FAISS
        return None, f"index of FAISS {sidecar.faiss}, which {faiss.__version__} does not read ({error})"
    if file_state(faiss_path) != checked:  # replaced by a newer one meanwhile, which has another sidecar
        return open_index(store, encoder, held)
    if rows is None:
        return FaissIndex(sidecar, index, None, np.empty(0, dtype=np.int64)), "up to date"
    in_file = np.zeros(len(held), dtype=np.bool_)
    in_file[rows[rows >= 0]] = True
    later = np.flatnonzero(~in_file)
    return FaissIndex(sidecar, index, rows, later), f"{len(later)} rows later" if len(later) else "up to date"


def refresh(atlas: Path, kind: str, *, levels: Sequence[str]) -> dict[str, str]:
    """Build the index of the current encoder at each level, if asked for or if the size calls for one.

    Args:
        atlas: Atlas folder.
        kind: "auto", "none" or an index type. "auto" leaves a valid index of whatever type alone.
        levels: Image levels.

    Returns:
        By level, what look-ups will use, in words.

    Raises:
        AtlasLockedError: If another process writes and a type was asked for; "auto" says so and builds none.
    """
    store = Store.open(atlas)
    said = {}
    for level in levels:
        encoder = current(store, level)
        if encoder is None:
            said[level] = "no index: encoder not complete"
            continue
        n = store.count(encoder.table)
        wanted = choose_kind(n, encoder.spec.embedding_dim) if kind == "auto" else (None if kind == "none" else kind)
        index, state = None, "no index"
        if _paths(store, encoder.table)[1].is_file():
            index, state = open_index(store, encoder, mapped_vectors(store, encoder.table).held)
        if wanted is not None and _is_due(index, kind):
            try:
                with store.folder.writer(f"FAISS {wanted}"):
                    sidecar, later = build(store, encoder, wanted), 0  # type: ignore[arg-type]
            except AtlasLockedError as error:
                if kind != "auto":
                    raise
                # what was embedded is done and can be searched: no reason to fail, or to wait for hours
                said[level] = f"exact search ({n} vectors; FAISS {wanted} is not built: {error})"
                continue
        elif index is not None:
            sidecar, later = index.sidecar, len(index.later)
        else:
            said[level] = f"exact search ({n} vectors" + (")" if state == "no index" else f"; {state})")
            continue
        params = "".join(f", {key} {value}" for key, value in sidecar.params.items())
        more = f", {later} later ones searched exactly" if later else ""
        said[level] = (
            f"FAISS {sidecar.kind} over {sidecar.count} vectors{more}{params}, recall@10 {sidecar.recall_at_10:.3f} "
            f"among {sidecar.recall_among or 'all, the own protein too'}"
        )
    return said


def _is_due(index: FaissIndex | None, kind: str) -> bool:
    """Whether an index is to be built: "auto" lets one stand that is nearly complete, a named kind is made exactly."""
    if index is None:
        return True
    if kind == "auto":
        return len(index.later) > AUTO_LATER_SHARE * index.sidecar.count
    return bool(len(index.later)) or index.sidecar.kind != kind

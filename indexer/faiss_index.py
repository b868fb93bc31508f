"""FAISS files of an embedding table: build, check against the table, search. I/O.

A FAISS file is a cache. Beside it stand a sidecar, which says of which table, version, fingerprint and vectors it was
made, and the ids of its rows. A file that does not match its sidecar, or a sidecar that does not match the table, is
never used; rows that came later are searched exactly and merged.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.encoders import StoredEncoder, current
from locatlas.indexer.layout import write_atomically
from locatlas.indexer.store import Store, TableVectors

__all__ = ["AUTO_EXACT_BELOW", "FaissIndex", "Kind", "Sidecar", "build", "choose_kind", "open_index", "refresh"]

Kind = Literal["flat", "ivf", "hnsw", "ivfpq"]

AUTO_EXACT_BELOW = 50_000
"""Below this many vectors an exact scan takes some 5 ms and no index is built."""

AUTO_PQ_ABOVE = 1_000_000
SIDECAR_VERSION = 1
REFINE = 10
"""Candidates per wanted neighbor that a coarse code hands to the exact re-ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What a FAISS file was made from.

    Attributes:
        sidecar_version: Layout of this record.
        table: Embedding table.
        version: Lance version of the table at that time.
        fingerprint: Of the encoder.
        metric: Always "cosine": inner product of unit vectors.
        kind: Index type.
        params: Its build and search parameters.
        count: Vectors in the file.
        dim: Their length.
        vectors_digest: blake2b-128 over ids and float32 vectors, in file order.
        file_digest: blake2b-128 of the FAISS file.
        faiss: FAISS version.
        recall_at_10: Share of the exact ten nearest found, over sampled rows of the table themselves.
    """

    sidecar_version: int
    table: str
    version: int
    fingerprint: str
    metric: str
    kind: str
    params: dict[str, int]
    count: int
    dim: int
    vectors_digest: str
    file_digest: str
    faiss: str
    recall_at_10: float


def choose_kind(n: int) -> Kind | None:
    """Index type for n vectors by size alone; None means that exact search needs none."""
    if n < AUTO_EXACT_BELOW:
        return None
    return "ivf" if n < AUTO_PQ_ABOVE else "ivfpq"


def _paths(store: Store, table: str) -> tuple[Path, Path, Path]:
    base = store.folder.indices / table
    return base.with_suffix(".faiss"), base.with_suffix(".json"), base.with_suffix(".ids")


def _digest(ids: list[str], vectors: NDArray[np.float32]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\n".join(ids).encode())
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def _largest_divisor(d: int, at_most: int) -> int:
    return max(m for m in range(1, max(1, at_most) + 1) if d % m == 0)


def _new_index(kind: Kind, n: int, d: int) -> tuple[Any, dict[str, int]]:
    """An untrained index and its parameters."""
    import faiss

    inner = faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        return faiss.IndexFlatIP(d), {}
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, 32, inner)
        index.hnsw.efConstruction = 100
        return index, {"m": 32, "ef_construction": 100, "ef_search": 128}
    n_list = max(1, min(round(4 * math.sqrt(n)), n // 39))  # FAISS wants 39 training vectors a list
    params = {"n_list": n_list, "n_probe": max(1, min(n_list, max(8, n_list // 16)))}
    if kind == "ivf":
        return faiss.index_factory(d, f"IVF{n_list},Flat", inner), params
    m = _largest_divisor(d, d // 4)
    bits = 8 if n >= 39 * 256 else 4
    return faiss.index_factory(d, f"IVF{n_list},PQ{m}x{bits}", inner), {**params, "m": m, "bits": bits}


def build(store: Store, encoder: StoredEncoder, kind: Kind, *, seed: int = 0) -> Sidecar:
    """Build the FAISS file of an encoder's table and write it, its ids and its sidecar under temporary names first.

    The sidecar is written last, so that a kill leaves an index without a valid sidecar, which is not used.

    Args:
        store: The atlas.
        encoder: Whose vectors.
        kind: Index type.
        seed: Of the sample on which recall is measured.

    Raises:
        InputError: If the kind is unknown or the table is empty.
    """
    import faiss

    if kind not in get_args(Kind):
        message = f"unknown FAISS index {kind!r}; known: {', '.join(get_args(Kind))}"
        raise InputError(message)
    held = store.read_vectors(encoder.table)
    n, d = held.vectors.shape
    if n == 0:
        message = f"{store.folder.path}: table {encoder.table} has no vectors to index"
        raise InputError(message)
    index, params = _new_index(kind, n, d)
    unit = _unit(held.vectors)
    index = _train_and_add(index, unit, kind)
    faiss_path, json_path, ids_path = _paths(store, encoder.table)
    json_path.unlink(missing_ok=True)
    write_atomically(faiss_path, faiss.serialize_index(index).tobytes())
    write_atomically(ids_path, "\n".join(held.ids).encode())
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
        vectors_digest=_digest(held.ids, held.vectors),
        file_digest=_file_digest(faiss_path),
        faiss=faiss.__version__,
        recall_at_10=_recall(index, kind, params, unit, seed=seed),
    )
    write_atomically(json_path, (json.dumps(asdict(sidecar), indent=2, sort_keys=True) + "\n").encode())
    return sidecar


def _train_and_add(index: Any, unit: NDArray[np.float32], kind: Kind) -> Any:
    import faiss

    on_gpu = kind in ("ivf", "ivfpq") and faiss.get_num_gpus() > 0
    if on_gpu:
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.train(unit)
    index.add(unit)
    return faiss.index_gpu_to_cpu(index) if on_gpu else index


def _recall(index: Any, kind: Kind, params: dict[str, int], unit: NDArray[np.float32], *, seed: int) -> float:
    import faiss

    n = len(unit)
    sample = np.random.default_rng(seed).choice(n, min(n, 200), replace=False)
    k = min(10, n)
    exact, _ = faiss.knn(unit[sample], unit, k, metric=faiss.METRIC_INNER_PRODUCT)
    found = _candidates(index, kind, params, unit[sample], k, None)
    # by similarity, not by id: equal vectors must not lower recall
    sims = np.where(found >= 0, np.einsum("qd,qkd->qk", unit[sample], unit[np.maximum(found, 0)]), -2.0)
    best = -np.sort(-sims, axis=1)[:, :k]
    return float((best >= exact[:, -1:] - 1e-6).mean())


def _candidates(
    index: Any,
    kind: str,
    params: dict[str, int],
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Row numbers in the file, (n_queries, some); -1 where there is none."""
    import faiss

    selector = None
    if allowed is not None:
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
    wanted = min(index.ntotal, k * REFINE if kind == "ivfpq" else k)
    if kind == "hnsw":
        search = faiss.SearchParametersHNSW(efSearch=max(params["ef_search"], 2 * wanted), sel=selector)
    elif kind in ("ivf", "ivfpq"):
        # a filter thins every list: double the probes, so that recall is not lost silently
        n_probe = min(params["n_list"], params["n_probe"] * (2 if selector is not None else 1))
        make = faiss.SearchParametersIVF if kind == "ivf" else faiss.IVFPQSearchParameters
        search = make(nprobe=n_probe, sel=selector)
    else:
        search = faiss.SearchParameters(sel=selector) if selector is not None else None
    _, found = index.search(queries, wanted, params=search)
    return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class FaissIndex:
    """An index that was checked against its table.

    Attributes:
        sidecar: What it was made from.
        index: The FAISS index.
        rows: (count,) row in the table's current vectors (sorted by id) of each row of the file.
        later: Rows of the table that the file does not hold; they are always candidates.
    """

    sidecar: Sidecar
    index: Any
    rows: NDArray[np.int64]
    later: NDArray[np.int64]

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Rows of the table among which the k nearest to one query are sought; the caller ranks them exactly.

        Args:
            query: (d,) float32, any length.
            k: Wanted neighbors.
            allowed: (n,) rows of the table that may be answers, or None for all.

        Returns:
            Distinct rows, ascending; all rows later than the index are among them.
        """
        unit = _unit(query[None].astype(np.float32))
        mask = None if allowed is None else allowed[self.rows]
        found = _candidates(self.index, self.sidecar.kind, self.sidecar.params, unit, k, mask)[0]
        later = self.later if allowed is None else self.later[allowed[self.later]]
        return np.union1d(self.rows[found[found >= 0]], later)


def open_index(store: Store, encoder: StoredEncoder, held: TableVectors) -> tuple[FaissIndex | None, str]:
    """The index of an encoder's table if it can be trusted, and a word about it.

    Args:
        store: The atlas.
        encoder: Whose vectors.
        held: The table's vectors now.

    Returns:
        The index, or None with the reason: absent, damaged, foreign or stale.
    """
    import faiss

    faiss_path, json_path, ids_path = _paths(store, encoder.table)
    if not json_path.is_file():
        return None, "no index"
    try:
        raw = json.loads(json_path.read_text())
        sidecar = Sidecar(**{f.name: raw[f.name] for f in fields(Sidecar)})
        ids = ids_path.read_text().split("\n")
        file_digest = _file_digest(faiss_path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"index unreadable ({error})"
    if (sidecar.sidecar_version, sidecar.metric) != (SIDECAR_VERSION, "cosine"):
        return None, "index of another format"
    if (sidecar.table, sidecar.fingerprint, sidecar.dim) != (encoder.table, encoder.fingerprint, encoder.spec.dim):
        return None, "index of another table or encoder"
    if file_digest != sidecar.file_digest or len(ids) != sidecar.count:
        return None, "index file damaged"
    place = {i: row for row, i in enumerate(held.ids)}
    rows = np.array([place.get(i, -1) for i in ids], dtype=np.int64)
    if (rows < 0).any() or _digest(ids, held.vectors[rows]) != sidecar.vectors_digest:
        return None, "index stale: rows it holds were changed or removed"
    index = faiss.deserialize_index(np.fromfile(faiss_path, dtype=np.uint8))
    later = np.setdiff1d(np.arange(len(held.ids), dtype=np.int64), rows)
    return FaissIndex(sidecar, index, rows, later), f"{len(later)} rows later" if len(later) else "up to date"


def refresh(atlas: Path, kind: str, *, levels: Sequence[str]) -> dict[str, str]:
    """Build the index of the current encoder at each level, if asked for or if the size calls for one.

    Args:
        atlas: Atlas folder.
        kind: "auto", "none" or an index type. "auto" leaves a valid index of whatever type alone.
        levels: Image levels.

    Returns:
        By level, what look-ups will use, in words.
    """
    store = Store.open(atlas)
    said = {}
    for level in levels:
        encoder = current(store, level)
        if encoder is None:
            said[level] = "no index: encoder not complete"
            continue
        n = store.count(encoder.table)
        wanted = choose_kind(n) if kind == "auto" else (None if kind == "none" else kind)
        if wanted is None:
            said[level] = f"exact search ({n} vectors)"
            continue
        index, state = open_index(store, encoder, store.read_vectors(encoder.table))
        if index is None or state != "up to date" or (kind != "auto" and index.sidecar.kind != kind):
            with store.folder.writer(f"FAISS {wanted}"):
                sidecar = build(store, encoder, wanted)  # type: ignore[arg-type]
        else:
            sidecar = index.sidecar
        params = ", ".join(f"{key} {value}" for key, value in sidecar.params.items())
        said[level] = f"FAISS {sidecar.kind} over {n} vectors ({params}), recall@10 {sidecar.recall_at_10:.3f}"
    return said

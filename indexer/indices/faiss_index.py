"""What FAISS does of an index: made by its kind, trained and filled, read from its file, searched. Needs no store."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.indices.kinds import FaissKind, scan_parts
from locatlas.indexer.indices.unit import unit_vectors

__all__ = ["new_index", "read_faiss", "search", "train_and_add"]

_POINTS_A_CENTROID = 39
"""Training vectors that FAISS wants for each centroid."""

_ONE_THREAD = 4
"""Up to so many queries are searched by one thread: a second waits for a core longer than it helps."""

_SCAN_TRAINED_ON = 20_000
"""Vectors that sixteen centroids of two numbers each are learned from."""

_LISTS_TRAINED_ON = 64
"""Vectors a list that the centres of lists are learned from."""

_ROWS_AT_ONCE = 1 << 14
"""Vectors normalised at a time, so that no second copy of all is held."""


def new_index(kind: FaissKind, n: int, d: int) -> tuple[Any, dict[str, int]]:
    """An untrained index and its parameters."""
    import faiss

    inner = faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        return faiss.IndexFlatIP(d), {}
    if kind == "pqfs":
        # among unit vectors the nearest are the most similar; distances, unlike products, are coded alike well wherever
        # the vectors' mean lies
        m = scan_parts(d)
        return faiss.index_factory(d, f"PQ{m}x4fs", faiss.METRIC_L2), {"m": m, "bits": 4, "refine": 20}
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, 32, inner)
        index.hnsw.efConstruction = 100
        return index, {"m": 32, "ef_construction": 100, "ef_search": 128}
    if kind == "ivf":
        n_list = max(1, min(round(4 * math.sqrt(n)), n // _POINTS_A_CENTROID))
        params = {"n_list": n_list, "n_probe": min(n_list, max(8, n_list // 16))}
        return faiss.index_factory(d, f"IVF{n_list},Flat", inner), params
    n_list = max(1, min(round(2 * math.sqrt(n)), n // _POINTS_A_CENTROID))
    m = scan_parts(d)
    params = {"n_list": n_list, "n_probe": min(n_list, max(8, n_list // 16)), "m": m, "bits": 4, "refine": 20}
    return faiss.index_factory(d, f"IVF{n_list},PQ{m}x4fs", faiss.METRIC_L2), params


def train_and_add(index: Any, vectors: NDArray[np.float32], kind: FaissKind) -> None:
    """Train a new index and fill it with unit vectors, with k-means on the GPU where there is one.

    Args:
        index: Of `new_index`.
        vectors: (n, d) of any length, n >= 1; normalised here, some at a time.
        kind: Of the index.
    """
    import faiss

    ivf = faiss.extract_index_ivf(index) if kind in ("ivf", "ivfpq") else None
    if not index.is_trained:
        n_shown = _SCAN_TRAINED_ON if ivf is None else max(_SCAN_TRAINED_ON, _LISTS_TRAINED_ON * ivf.nlist)
        rows = np.random.default_rng(0).permutation(len(vectors))[:n_shown]
        some = unit_vectors(vectors[np.sort(rows)])
        # a quantizer refuses fewer vectors than centroids, so few are shown to it several times
        at_least = _POINTS_A_CENTROID * 16 if kind in ("ivfpq", "pqfs") else 1
        some = np.tile(some, (-(-at_least // len(some)), 1)) if len(some) < at_least else some
        if ivf is not None:
            _centre_lists(ivf, some)
        # thousands of rounds over a few numbers each, at whose ends threads would wait for each other
        _on_one_thread(index.train, some)
    for low in range(0, len(vectors), _ROWS_AT_ONCE):
        index.add(unit_vectors(vectors[low : low + _ROWS_AT_ONCE]))


def _centre_lists(ivf: Any, some: NDArray[np.float32]) -> None:
    """k-means for the centres of lists, on the GPU where there is one: of training, what takes long."""
    import faiss

    if faiss.get_num_gpus() > 0:
        flat = faiss.IndexFlat(some.shape[1], ivf.metric_type)
        # the index itself stays on the CPU, where it is searched
        on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat)
        clustering = faiss.Clustering(some.shape[1], ivf.nlist, ivf.cp)
        clustering.train(some, on_gpu)
        ivf.quantizer.add(faiss.vector_to_array(clustering.centroids).reshape(ivf.nlist, -1))
    else:
        faiss.Clustering(some.shape[1], ivf.nlist, ivf.cp).train(some, ivf.quantizer)


def _on_one_thread(do: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What FAISS does, by this thread alone."""
    import faiss

    threads = faiss.omp_get_max_threads()  # of this thread
    faiss.omp_set_num_threads(1)
    try:
        return do(*args, **options)
    finally:
        faiss.omp_set_num_threads(threads)


def read_faiss(path: Path) -> Any:
    """The index in a file, which is mapped: whole vectors are not copied, codes in blocks (`ivfpq`) are, from the map.

    Raises:
        RuntimeError: If FAISS does not read it.
    """
    import faiss

    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def search(
    index: Any,
    kind: str,
    params: Mapping[str, int],
    queries: NDArray[np.float32],
    wanted: int,
    allowed: NDArray[np.bool_] | None,
    share: float,
) -> NDArray[np.int64]:
    """Rows of an index, nearest by what it holds of them first.

    Args:
        index: Trained and filled.
        kind: Of the index.
        params: As `new_index` gave them.
        queries: (n_queries, d) float32 unit vectors.
        wanted: Rows for each query, >= 1.
        allowed: (count,) rows of the index that may be found, or None for all.
        share: Of its rows that are allowed, in (0, 1].

    Returns:
        Row numbers in the index, (n_queries, some); -1 where there is none.
    """
    import faiss

    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    # a filter thins every list and every path: search as many more, so that recall is not lost silently
    if kind == "hnsw":
        ef = min(index.ntotal, math.ceil(max(params["ef_search"], 2 * wanted) / share))
        how = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
    elif kind in ("ivf", "ivfpq"):
        n_probe = min(params["n_list"], math.ceil(params["n_probe"] / share))
        wide_codes = kind == "ivfpq" and params["bits"] == 8  # as they were made before
        make = faiss.IVFPQSearchParameters if wide_codes else faiss.SearchParametersIVF
        how = make(nprobe=n_probe, sel=selector)
    elif kind == "pqfs":
        return _scan(index, queries, wanted, allowed)
    else:
        how = faiss.SearchParameters(sel=selector) if selector is not None else None
    return _search(index, queries, wanted, how)


def _search(index: Any, queries: NDArray[np.float32], wanted: int, params: Any = None) -> NDArray[np.int64]:
    """Rows in the index, nearest by its codes first, (n_queries, wanted); -1 where there is none."""
    if len(queries) <= _ONE_THREAD:
        _, found = _on_one_thread(index.search, queries, wanted, params=params)
    else:
        _, found = index.search(queries, wanted, params=params)
    return np.asarray(found, dtype=np.int64)


def _scan(
    index: Any, queries: NDArray[np.float32], wanted: int, allowed: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """As `_search`, of the allowed rows only, which a scan of codes cannot select itself.

    What a query may not meet are often the very nearest (its own protein), so more are asked for until as many as
    wanted remain.
    """
    if allowed is None:
        return _search(index, queries, wanted)
    n_allowed = int(np.count_nonzero(allowed))
    enough = min(wanted, n_allowed)
    fetched = min(index.ntotal, math.ceil(wanted * max(1.0, 1.1 * len(allowed) / max(1, n_allowed))))
    while True:
        found = _search(index, queries, fetched)
        kept = (found >= 0) & allowed[np.maximum(found, 0)]
        if fetched == index.ntotal or int(kept.sum(axis=1).min()) >= enough:
            return np.where(kept, found, -1)
        fetched = min(index.ntotal, 4 * fetched)

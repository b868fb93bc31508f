"""The kinds of index: choice by size, and of those of FAISS parameters, training, search. Needs no store."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AUTO_EXACT_BELOW",
    "AUTO_LATER_SHARE",
    "DISK",
    "DISK_ABOVE_SHARE",
    "FaissKind",
    "Kind",
    "choose_kind",
    "find_candidates",
    "in_words",
    "ladder",
    "new_index",
    "read_faiss",
    "train_and_add",
    "unit_vectors",
]

FaissKind = Literal["flat", "pqfs", "ivf", "hnsw", "ivfpq"]
"""Those that a FAISS file holds."""

Kind = Literal["flat", "pqfs", "ivf", "hnsw", "ivfpq", "lance-ivfrq"]

DISK: Literal["lance-ivfrq"] = "lance-ivfrq"
"""The one that stays on disk (`indexer.indices.disk`)."""

DISK_ABOVE_SHARE = 0.5
"""Share of the memory above which vectors are searched from disk: they are mapped, and beside all else the system then
keeps too few of their pages for building or ranking to find them in memory."""

AUTO_EXACT_BELOW = 50_000
"""Below this many vectors an exact look-up takes some 15 ms and no index is built (scripts/bench/lookup.py)."""

AUTO_LATER_SHARE = 0.05
"""Share of rows later than the index from which "auto" builds it anew; below, they are searched exactly."""

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

SPARE = 16
REFINE = {"pqfs": 40, "ivfpq": 10, DISK: 10}
"""Candidates per wanted neighbor that coarse codes hand to the exact re-ranking, where the file does not say it."""


def choose_kind(n: int, d: int, memory: int | None) -> Kind | None:
    """Index type for n vectors of d numbers; None means that exact search needs none.

    Codes of four bits for every two numbers are compared in registers (André et al. 2017, "fast scan") and take a
    sixteenth of the vectors' bytes, of which a query reads those of a few lists. They are held in memory. Vectors of
    more than `DISK_ABOVE_SHARE` of it get codes that stay on disk, if their length is one that these exist for.

    Args:
        n: Vectors.
        d: Numbers of each, four bytes.
        memory: Bytes of memory that a process may use; None where it is not known.
    """
    if n < AUTO_EXACT_BELOW:
        return None
    if memory is not None and 4 * n * d > DISK_ABOVE_SHARE * memory and d % 8 == 0:
        return DISK
    return "ivfpq" if scan_parts(d) >= d / 4 else "ivf"


def in_words(kind: str) -> str:
    """What an index is called where what look-ups use is told."""
    return f"{kind} on disk" if kind == DISK else f"FAISS {kind}"


def scan_parts(d: int) -> int:
    """Parts of equal length, two numbers or more, with a code of four bits each; few where d hardly divides."""
    return _largest_divisor(d, -(-d // 2))


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (n, d) vectors at length 1; zero vectors stay zero."""
    # in float64, where no square of a float32 under- or overflows
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def _largest_divisor(d: int, at_most: int) -> int:
    return max(m for m in range(1, max(1, at_most) + 1) if d % m == 0)


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


def ladder(kind: Kind, params: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Parameters of search, from the quickest to the most thorough; those of building stay.

    Args:
        kind: Of the index.
        params: As `new_index` gave them.
    """
    steps: dict[str, tuple[dict[str, int], ...]] = {
        "ivf": ({}, {"n_probe": 2}, {"n_probe": 4}, {"n_probe": 8}),
        "ivfpq": (
            {},
            {"refine": 2},
            {"refine": 2, "n_probe": 2},
            {"refine": 4, "n_probe": 2},
            {"refine": 4, "n_probe": 4},
            {"refine": 8, "n_probe": 8},
        ),
        "pqfs": ({}, {"refine": 2}, {"refine": 4}, {"refine": 8}),
        "hnsw": ({}, {"ef_search": 2}, {"ef_search": 4}),
        DISK: (
            {},
            {"n_probe": 2},
            {"n_probe": 2, "refine": 2},
            {"n_probe": 4, "refine": 2},
            {"n_probe": 8, "refine": 4},
            {"n_probe": 16, "refine": 8},
        ),
    }
    for times in steps.get(kind, ({},)):
        found = {name: value * times.get(name, 1) for name, value in params.items()}
        if "n_probe" in found:
            found["n_probe"] = min(found["n_probe"], found["n_list"])
        yield found


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


def find_candidates(
    index: Any,
    kind: str,
    params: dict[str, int],
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Rows among which the nearest are sought.

    Args:
        index: Trained and filled; of `DISK`, a `DiskCodes`.
        kind: Of the index.
        params: As `new_index` gave them.
        queries: (n_queries, d) float32 unit vectors.
        k: Wanted neighbors, >= 1.
        allowed: (count,) rows of the index that may be answers, or None for all.

    Returns:
        Row numbers in the index, (n_queries, some); -1 where there is none.
    """
    # a few more than wanted, because float32 may order near-equal rows otherwise than the exact ranking that follows
    # and as many for one as for the ten that recall is told of
    wanted = min(index.ntotal, max(k, 10) * params.get("refine", REFINE[kind]) if kind in REFINE else k + SPARE)
    share = 1.0 if allowed is None else max(float(allowed.mean()), 1 / len(allowed))
    if kind == DISK:
        n_probe = min(params["n_list"], math.ceil(params["n_probe"] / share))
        return np.asarray(index.search(queries, wanted, n_probe, allowed), dtype=np.int64)
    import faiss

    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    # a filter thins every list and every path: search as many more, so that recall is not lost silently
    if kind == "hnsw":
        ef = min(index.ntotal, math.ceil(max(params["ef_search"], 2 * wanted) / share))
        search = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
    elif kind in ("ivf", "ivfpq"):
        n_probe = min(params["n_list"], math.ceil(params["n_probe"] / share))
        wide_codes = kind == "ivfpq" and params["bits"] == 8  # as they were made before
        make = faiss.IVFPQSearchParameters if wide_codes else faiss.SearchParametersIVF
        search = make(nprobe=n_probe, sel=selector)
    elif kind == "pqfs":
        return _scan(index, queries, wanted, allowed)
    else:
        search = faiss.SearchParameters(sel=selector) if selector is not None else None
    return _search(index, queries, wanted, search)


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

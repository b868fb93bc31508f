"""The kinds of FAISS index: choice by size, parameters, training, search, recall. Needs no store."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AUTO_EXACT_BELOW",
    "AUTO_LATER_SHARE",
    "Kind",
    "choose_kind",
    "find_candidates",
    "measure_recall",
    "new_index",
    "train_and_add",
    "unit_vectors",
]

Kind = Literal["flat", "rabitq", "ivf", "hnsw", "ivfpq"]

AUTO_EXACT_BELOW = 50_000
"""Below this many vectors an exact look-up takes some 15 ms and no index is built (scripts/bench/lookup.py)."""

AUTO_PQ_ABOVE = 1_000_000
AUTO_LATER_SHARE = 0.05
"""Share of rows later than the index from which "auto" builds it anew; below, they are searched exactly."""

_POINTS_A_CENTROID = 39
"""Training vectors that FAISS wants for each centroid."""

SPARE = 16
REFINE = {"rabitq": 20, "ivfpq": 10}
"""Candidates per wanted neighbor that coarse codes hand to the exact re-ranking."""


def choose_kind(n: int) -> Kind | None:
    """Index type for n vectors by size alone; None means that exact search needs none.

    One-bit codes (RaBitQ, Gao and Long 2024) are all looked at: there are no lists that a filter could empty, and at
    a million vectors 56 MB are read a query. Above, only some lists of an inverted file are.
    """
    if n < AUTO_EXACT_BELOW:
        return None
    return "rabitq" if n < AUTO_PQ_ABOVE else "ivfpq"


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (n, d) vectors at length 1; zero vectors stay zero."""
    # in float64, where no square of a float32 under- or overflows
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def _largest_divisor(d: int, at_most: int) -> int:
    return max(m for m in range(1, max(1, at_most) + 1) if d % m == 0)


def new_index(kind: Kind, n: int, d: int) -> tuple[Any, dict[str, int]]:
    """An untrained index and its parameters."""
    import faiss

    inner = faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        return faiss.IndexFlatIP(d), {}
    if kind == "rabitq":
        return faiss.index_factory(d, "RaBitQ", inner), {"bits": 1}
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, 32, inner)
        index.hnsw.efConstruction = 100
        return index, {"m": 32, "ef_construction": 100, "ef_search": 128}
    n_list = max(1, min(round(4 * math.sqrt(n)), n // _POINTS_A_CENTROID))
    params = {"n_list": n_list, "n_probe": max(1, min(n_list, max(8, n_list // 16)))}
    if kind == "ivf":
        return faiss.index_factory(d, f"IVF{n_list},Flat", inner), params
    m = _largest_divisor(d, d // 4)
    bits = 8 if n >= _POINTS_A_CENTROID * 256 else 4
    return faiss.index_factory(d, f"IVF{n_list},PQ{m}x{bits}", inner), {**params, "m": m, "bits": bits}


def train_and_add(index: Any, unit: NDArray[np.float32], kind: Kind) -> None:
    """Train a new index and fill it with (n, d) unit vectors, n >= 1, with k-means on the GPU where there is one."""
    import faiss

    ivf = faiss.extract_index_ivf(index) if kind in ("ivf", "ivfpq") else None
    on_gpu = None
    if ivf is not None and faiss.get_num_gpus() > 0:
        # k-means is what takes long; the index itself stays on the CPU, where it is searched
        flat = faiss.IndexFlat(unit.shape[1], faiss.METRIC_INNER_PRODUCT)
        on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat)
        ivf.clustering_index = on_gpu
    # a quantizer refuses fewer vectors than centroids, so few are shown to it several times
    at_least = _POINTS_A_CENTROID * 16 if kind == "ivfpq" else 1
    index.train(np.tile(unit, (-(-at_least // len(unit)), 1)) if len(unit) < at_least else unit)
    if ivf is not None and on_gpu is not None:
        ivf.clustering_index = None  # FAISS does not own it
    index.add(unit)


def measure_recall(index: Any, kind: Kind, params: dict[str, int], unit: NDArray[np.float32], *, seed: int) -> float:
    """Share of the exact ten nearest that a search finds, in [0, 1], for up to 200 sampled rows, themselves left out.

    A row that is in the index finds itself too easily to count. 1 where there is but one row.
    """
    import faiss

    n = len(unit)
    k = min(10, n - 1)
    if not k:
        return 1.0
    sample = np.random.default_rng(seed).choice(n, min(n, 200), replace=False)
    exact, nearest = faiss.knn(unit[sample], unit, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    exact = np.where(nearest == sample[:, None], -np.inf, exact)
    kth = -np.sort(-exact, axis=1)[:, k - 1 : k]
    found = find_candidates(index, kind, params, unit[sample], k + 1, None)
    # by similarity, not by id: equal vectors must not lower recall
    sims = np.einsum("qd,qkd->qk", unit[sample], unit[np.maximum(found, 0)])
    best = -np.sort(-np.where((found < 0) | (found == sample[:, None]), -np.inf, sims), axis=1)[:, :k]
    return float((best >= kth - 1e-6).mean())


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
        index: Trained and filled.
        kind: Of the index.
        params: As `new_index` gave them.
        queries: (n_queries, d) float32 unit vectors.
        k: Wanted neighbors, >= 1.
        allowed: (count,) rows of the index that may be answers, or None for all.

    Returns:
        Row numbers in the index, (n_queries, some); -1 where there is none.
    """
    import faiss

    share, selector = 1.0, None
    if allowed is not None:
        share = max(float(allowed.mean()), 1 / len(allowed))
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
    # a few more than wanted, because float32 may order near-equal rows otherwise than the exact ranking that follows
    wanted = min(index.ntotal, k * REFINE[kind] if kind in REFINE else k + SPARE)
    # a filter thins every list and every path: search as many more, so that recall is not lost silently
    if kind == "hnsw":
        ef = min(index.ntotal, math.ceil(max(params["ef_search"], 2 * wanted) / share))
        search = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
    elif kind in ("ivf", "ivfpq"):
        n_probe = min(params["n_list"], math.ceil(params["n_probe"] / share))
        make = faiss.SearchParametersIVF if kind == "ivf" else faiss.IVFPQSearchParameters
        search = make(nprobe=n_probe, sel=selector)
    elif kind == "rabitq":
        search = faiss.RaBitQSearchParameters()
        search.qb, search.sel = index.qb, selector
    else:
        search = faiss.SearchParameters(sel=selector) if selector is not None else None
    _, found = index.search(queries, wanted, params=search)
    return np.asarray(found, dtype=np.int64)

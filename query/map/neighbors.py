"""UMAP and t-SNE of unit vectors, from exact nearest neighbors that locatlas finds itself. Pure.

Both libraries look for approximate neighbors by default; here they get the exact ones by cosine, so that a map shows
the very neighborhoods that answers come from. Both run on one core: with several, their sums, and so the maps, differ
from run to run.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.search.unit import Prepared
from locatlas.query.search.within import search_within

__all__ = ["FEWEST", "tsne", "umap"]

FEWEST = 10
"""Points below which neither method says anything."""


def umap(
    vectors: Prepared, start: NDArray[np.float32], *, n_neighbors: int, min_dist: float, seed: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """UMAP by umap-learn.

    Args:
        vectors: (n, d), normalised here; n >= `FEWEST`, none of them zero.
        start: Where each point begins, (n, 2).
        n_neighbors: As umap-learn counts them, each point its own first; fewer where there are fewer points.
        min_dist: Smallest distance of points in the map, 0 to 1.
        seed: Of the layout, 0 <= seed < 2^32.

    Returns:
        (n, 2) float32, and what was used.

    Raises:
        InputError: If umap-learn is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # that TensorFlow is not there for ParametricUMAP
            from umap import UMAP
    except ImportError as error:  # also where another package of that name is there
        message = "method umap needs umap-learn: pip install 'locatlas[umap]'"
        raise InputError(message) from error
    used = min(n_neighbors, len(vectors) - 1)
    indices, distances = _neighbors(vectors, used - 1)
    own = np.arange(len(vectors))[:, None]
    known = np.hstack([own, indices]), np.hstack([np.zeros_like(own, dtype=np.float32), distances.astype(np.float32)])
    model = UMAP(
        n_neighbors=used,
        min_dist=min_dist,
        metric="cosine",
        init=start,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=known,
    )
    with warnings.catch_warnings():
        # without a search index its own transform is not to be had, which it says each time; it is not used
        warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
        return model.fit_transform(vectors.unit(slice(None))).astype(np.float32), {"n_neighbors": used, "init": "pca"}


def tsne(
    vectors: Prepared, start: NDArray[np.float32], *, perplexity: float, seed: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """t-SNE by openTSNE.

    Args:
        vectors: (n, d), normalised here; n >= `FEWEST`, none of them zero.
        start: Where each point begins, (n, 2); brought to the small scale that openTSNE wants.
        perplexity: At most (n - 1) / 3 is used: each point needs three times as many neighbors.
        seed: 0 <= seed < 2^32.

    Returns:
        (n, 2) float32, and what was used.

    Raises:
        InputError: If openTSNE is not installed.
    """
    try:
        from openTSNE import TSNE
        from openTSNE.affinity import PerplexityBasedNN
        from openTSNE.initialization import rescale
        from openTSNE.nearest_neighbors import PrecomputedNeighbors
    except ImportError as error:
        message = "method tsne needs openTSNE: pip install 'locatlas[tsne]'"
        raise InputError(message) from error
    used = min(perplexity, (len(vectors) - 1) / 3)
    indices, distances = _neighbors(vectors, int(3 * used))
    known = PrecomputedNeighbors(indices, distances)
    affinities = PerplexityBasedNN(knn_index=known, perplexity=used, n_jobs=1, random_state=seed)
    begun = rescale(start.astype(np.float64))
    # metric and perplexity are told of the affinities that it is given
    found = TSNE(n_jobs=1, random_state=seed).fit(affinities=affinities, initialization=begun)
    return np.asarray(found, dtype=np.float32), {"perplexity": round(used, 6), "init": "pca"}


def _neighbors(vectors: Prepared, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k exact nearest others of each row, and 1 - cosine similarity, float64 (n, k)."""
    found = search_within(vectors, k=k, exclude=[np.arange(len(vectors))])
    return found.indices, np.maximum(1.0 - found.similarities.astype(np.float64), 0.0)

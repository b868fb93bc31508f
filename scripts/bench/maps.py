"""CPU seconds of drawing a map, and how far it keeps neighborhoods, on made vectors in clusters.

    python -P scripts/bench/maps.py --rows 10000

-P, since numba would take coverage.py beside this file for the package of that name.

Trustworthiness (scikit-learn, 10 neighbors, cosine, of 2,000 rows) is 1 where neighbors on the map are neighbors by
cosine, and some 0.5 where they have nothing to do with each other.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.manifold import trustworthiness

from locatlas.query.map.neighbors import tsne, umap
from locatlas.query.map.projection import fit_pca
from locatlas.query.search.unit import normalize, prepare

CLUSTERS = 40


def timed(draw: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its CPU seconds."""
    start = time.process_time()
    return draw(), time.process_time() - start


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=384)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, asked.dim))
    noise = 1.2 * rng.normal(size=(asked.rows, asked.dim))
    unit = normalize(centres[rng.integers(0, CLUSTERS, asked.rows)] + noise)
    vectors = prepare(unit)
    start, seconds = timed(lambda: fit_pca(vectors)[0].project(vectors))
    found = {"pca": (start, seconds)}
    for name in ("umap, with compiling", "umap"):
        (xy, _), seconds = timed(lambda: umap(vectors, start, n_neighbors=15, min_dist=0.1, seed=0))
        found[name] = (xy, seconds)
    (xy, _), seconds = timed(lambda: tsne(vectors, start, perplexity=30.0, seed=0))
    found["tsne"] = (xy, seconds)
    rows = rng.choice(asked.rows, min(2000, asked.rows), replace=False)
    for name, (xy, seconds) in found.items():
        kept = trustworthiness(unit[rows], xy[rows], n_neighbors=10, metric="cosine")
        print(f"{name}: {seconds:.1f} s, trustworthiness {kept:.3f}")


if __name__ == "__main__":
    main()

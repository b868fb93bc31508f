"""One look-up and a batch of look-ups: exact as the atlas does it, FAISS flat, and the atlas' own IVF index.

Run as `python scripts/bench/lookup.py --n 200000`. Made clustered vectors; the ways take turns, round by round; medians
in milliseconds. FAISS flat is asked on one thread, which is its faster way for one query, and on all for the batch.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import locatlas
from locatlas.indexer.faiss_index import refresh
from locatlas.query import lookup
from locatlas.query.exact import normalize
from locatlas.query.lookup import Queries, look_up
from locatlas.query.shelf import Shelf


def write_atlas(folder: Path, n: int, d: int) -> None:
    """An atlas of imported vectors: n cells of n / 40 proteins."""
    rng = np.random.default_rng(0)
    protein = rng.integers(0, max(1, n // 40), n)
    centres = rng.normal(size=(max(1, n // 40), d)).astype(np.float32)
    vectors = centres[protein] + 0.7 * rng.normal(size=(n, d)).astype(np.float32)
    ids = [f"{i:07d}" for i in range(n)]
    np.savez(folder / "v.npz", ids=ids, vectors=vectors, protein=[f"P{p}" for p in protein])
    locatlas.import_embeddings(folder / "v.npz", atlas=folder / "atlas", name="made", level="cell")


def main() -> None:
    """Measure and print; with --json also write."""
    lookup.EXACT_FROM_QUERIES = sys.maxsize  # ask the index also where the atlas would not
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=60_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_atlas(folder, given.n, given.d)
        said = refresh(folder / "atlas", "ivf", levels=("cell",))
        loaded = Shelf(locatlas.open(folder / "atlas").store).load("cell", None)
    view, index = loaded.view, loaded.index
    assert index is not None
    flat = faiss.IndexFlatIP(given.d)
    flat.add(normalize(view.vectors))
    rows = np.random.default_rng(1).choice(given.n, given.batch, replace=False)
    one, many = (Queries.from_rows(view, rows[:count]) for count in (1, given.batch))
    threads = faiss.omp_get_max_threads()

    def by_faiss(queries: Queries, n_threads: int) -> None:
        faiss.omp_set_num_threads(n_threads)
        flat.search(normalize(queries.vectors), 10)
        faiss.omp_set_num_threads(threads)

    ways: dict[str, Callable[[], Any]] = {
        "one, exact": lambda: look_up(one, view, k=10, exclude="protein"),
        "one, FAISS flat, nothing excluded": lambda: by_faiss(one, 1),
        "one, IVF and exact ranking": lambda: look_up(one, view, k=10, exclude="protein", index=index),
        f"{given.batch}, exact": lambda: look_up(many, view, k=10, exclude="protein"),
        f"{given.batch}, FAISS flat, nothing excluded": lambda: by_faiss(many, threads),
        f"{given.batch}, IVF and exact ranking": lambda: look_up(many, view, k=10, exclude="protein", index=index),
    }
    for way in ways.values():
        way()  # first touches
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            spent[name].append(1000 * (time.perf_counter() - start))
    found = {
        "n": given.n,
        "d": given.d,
        "cores": os.cpu_count(),
        "index": said["cell"],
        "median_ms": {name: round(statistics.median(ms), 2) for name, ms in spent.items()},
    }
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

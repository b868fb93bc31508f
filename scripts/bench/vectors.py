"""All vectors of a table as one array: LanceDB to pandas and stacked, and as the atlas gives them, first and again.

Run as `python scripts/bench/vectors.py --n 200000`. Made vectors in a store; the ways take turns, round by round. Each
is timed until every page was touched, by a sum over the array, since mapping alone reads nothing. Prints medians and
ratios; fails if the arrays differ.
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

import lancedb
import numpy as np
from numpy.typing import NDArray

import locatlas
from locatlas.indexer.store.cache_entries import drop_cache
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import mapped_vectors


def write_atlas(folder: Path, n: int, d: int) -> str:
    """An atlas of imported vectors; the name of their table."""
    rng = np.random.default_rng(0)
    ids = [f"{i:07d}" for i in rng.permutation(n)]
    np.savez(folder / "v.npz", ids=ids, vectors=rng.normal(size=(n, d)).astype("f4"))
    locatlas.import_embeddings(folder / "v.npz", atlas=folder / "atlas", name="made", level="cell")
    return next(name for name in Store.open(folder / "atlas").tables() if name.startswith("emb_"))


def main() -> int:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = write_atlas(Path(name), given.n, given.d)
        store = Store.open(Path(name) / "atlas")

        def by_pandas() -> NDArray[np.float32]:
            frame = lancedb.connect(Path(name) / "atlas" / "db").open_table(table).to_pandas()
            return np.stack(frame.sort_values("id")["vector"].to_numpy())

        def first() -> NDArray[np.float32]:
            return store.read_vectors(table).vectors

        def again() -> NDArray[np.float32]:
            return mapped_vectors(store, table).held.vectors

        ways: dict[str, Callable[[], NDArray[np.float32]]] = {
            "LanceDB to pandas, stacked": by_pandas,
            "locatlas, read from the table": first,
            "locatlas, from its cache": again,
        }
        arrays = {way: read() for way, read in ways.items()}  # the cache is written here
        same = all(np.array_equal(arrays["LanceDB to pandas, stacked"], array) for array in arrays.values())
        arrays.clear()
        spent: dict[str, list[float]] = {way: [] for way in ways}
        opened: list[float] = []
        for _ in range(given.rounds):
            for way, read in ways.items():
                start = time.perf_counter()
                array = read()
                if way == "locatlas, from its cache":
                    opened.append(time.perf_counter() - start)
                float(array.sum())
                spent[way].append(time.perf_counter() - start)
                del array
        size = sum(path.stat().st_size for path in (Path(name) / "atlas" / "cache").rglob("*") if path.is_file())
        drop_cache(store.folder, table)
    middle = {way: statistics.median(s) for way, s in spent.items()}
    rival = middle["LanceDB to pandas, stacked"]
    print(f"{given.n} x {given.d}, {given.rounds} rounds, {os.cpu_count()} cores; cache {size / 1e6:.0f} MB")
    for way, seconds in middle.items():
        print(f"{way:32s} {1000 * seconds:9.1f} ms   x {rival / seconds:6.1f}")
    print(f"{'of it, until it is mapped':32s} {1000 * statistics.median(opened):9.1f} ms")
    if given.json:
        found = {"n": given.n, "d": given.d, "seconds": spent, "mapped_s": opened, "cache_bytes": size}
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    if not same:
        print("the arrays differ", file=sys.stderr)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

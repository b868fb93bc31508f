"""One look-up and a batch, plain and among 1 %: the atlas' exact and indexed ways, FAISS flat, LanceDB and its index.

Run as `python scripts/bench/lookup.py --n 200000`. Made clustered vectors in an atlas; queries are vectors of the same
kind that are not in it, nothing is excluded. The ways take turns, round by round, each time with another query; medians
in milliseconds, recall@10 against float64 brute force. FAISS flat is asked on one thread, which is its faster way for
one query, and on all for the batch.
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
import lancedb
import numpy as np
from lancedb.index import IvfRq
from numpy.typing import NDArray

import locatlas
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.store.tables import Store
from locatlas.query.asking import lookup
from locatlas.query.asking.lookup import Queries, look_up
from locatlas.query.asking.shelf import Loaded, Shelf
from locatlas.query.search.exact import normalize

sys.path.insert(0, str(Path(__file__).parent))
from sweep import clustered

K = 10
FEW = 0.01


def write_atlas(folder: Path, vectors: NDArray[np.float32], protein: NDArray[np.int64]) -> None:
    """An atlas of imported vectors, in the order of their ids."""
    ids = [f"{i:07d}" for i in range(len(vectors))]
    np.savez(folder / "v.npz", ids=ids, vectors=vectors, protein=[f"P{p}" for p in protein])
    locatlas.import_embeddings(folder / "v.npz", atlas=folder / "atlas", name="made", level="cell")


def with_index(folder: Path, kind: str) -> tuple[Loaded, float, str]:
    """What questions look at with an index of this kind, seconds to build it, and what is said of it."""
    start = time.perf_counter()
    said = refresh(folder / "atlas", kind, levels=("cell",))["cell"]
    seconds = time.perf_counter() - start
    return Shelf(locatlas.open(folder / "atlas").store).load("cell", None), seconds, said


def brute_force(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], allowed: NDArray[np.bool_]
) -> list[set[int]]:
    """The ten nearest of each query, in float64."""
    rows = np.flatnonzero(allowed)
    unit = vectors[rows].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return [set(rows[np.argpartition(-(unit @ query), K)[:K]].tolist()) for query in queries.astype(np.float64)]


def main() -> None:
    """Measure and print; with --json also write."""
    lookup.EXACT_FROM_QUERIES = sys.maxsize  # ask the index also where the atlas would not
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=60_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--without-lancedb", action="store_true", help="its index takes minutes to build")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    n_queries = max(given.rounds + 2, given.batch)
    made, protein, _ = clustered(given.n + n_queries, given.d, max(20, given.n // 40), 0)
    order = np.random.default_rng(2).permutation(len(made))
    made, protein = made[order], protein[order]
    vectors, asked = made[: given.n], made[given.n :]
    allowed = np.random.default_rng(1).random(given.n) < FEW
    everything = np.ones(given.n, dtype=np.bool_)
    threads = faiss.omp_get_max_threads()
    flat = faiss.IndexFlatIP(given.d)
    flat.add(normalize(vectors))
    bits = np.packbits(allowed, bitorder="little")
    selected = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))

    def query(rows: slice) -> Queries:
        part = asked[rows]
        return Queries([f"q{i}" for i in range(len(part))], part, [frozenset()] * len(part))

    def by_faiss(rows: slice, n_threads: int, params: Any = None) -> NDArray[np.int64]:
        faiss.omp_set_num_threads(n_threads)
        found = flat.search(normalize(asked[rows]), K, params=params)[1]
        faiss.omp_set_num_threads(threads)
        return np.asarray(found)

    built: dict[str, dict[str, Any]] = {}
    one: dict[str, Callable[[slice], NDArray[np.int64]]] = {}
    few: dict[str, Callable[[slice], NDArray[np.int64]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_atlas(folder, vectors, protein[: given.n])
        loaded = {}
        for kind in ("ivfpq", "pqfs"):
            loaded[kind], seconds, said = with_index(folder, kind)
            built[kind] = {"seconds": round(seconds, 1), "said": said}
        view = loaded["ivfpq"].view

        def ask(rows: slice, kind: str | None, may: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
            index = None if kind is None else loaded[kind].index
            return look_up(query(rows), view, k=K, exclude="none", allowed=may, index=index)[0].indices

        one["locatlas, exact"] = lambda rows: ask(rows, None)
        one["locatlas, codes in lists, ranked exactly"] = lambda rows: ask(rows, "ivfpq")
        one["locatlas, all codes, ranked exactly"] = lambda rows: ask(rows, "pqfs")
        one["FAISS flat"] = lambda rows: by_faiss(rows, 1 if rows.stop - rows.start == 1 else threads)
        few["locatlas (exact)"] = lambda rows: ask(rows, "ivfpq", allowed)
        few["FAISS flat with a selector"] = lambda rows: by_faiss(rows, 1, selected)
        if not given.without_lancedb:
            table_name = next(t for t in Store.open(folder / "atlas").tables() if t.startswith("emb_"))
            held = lancedb.connect(folder / "atlas" / "db").open_table(table_name).to_arrow().select(["id", "vector"])
            # the rows of a table are in no order: each is known by its id
            numbers = np.array([int(name.rpartition("/")[2]) for name in held["id"].to_pylist()])
            # a copy: an atlas' own table is not to be written by others
            copy = lancedb.connect(folder / "lancedb").create_table(
                "copy",
                held.append_column("number", [numbers]).append_column("few", [allowed[numbers]]),
            )
            start = time.perf_counter()
            # of its types the one that reaches a recall of 0.99 and is built in minutes
            config = IvfRq(distance_type="cosine", num_partitions=max(1, round(given.n**0.5)))
            copy.create_index("vector", config=config)
            copy.create_scalar_index("few", index_type="BITMAP")
            built["LanceDB IVF_RQ"] = {"seconds": round(time.perf_counter() - start, 1)}

            def by_lance(rows: slice, where: str | None = None) -> NDArray[np.int64]:
                found = []
                for vector in asked[rows]:
                    search = copy.search(vector).distance_type("cosine").nprobes(given.n_probes)
                    search = search.refine_factor(given.refine).select(["number", "_distance"]).limit(K)
                    answer = (search.where(where, prefilter=True) if where else search).to_arrow()
                    found.append(np.resize(answer["number"].to_numpy(), K))
                return np.array(found)

            # its recall must be comparable: as many lists and candidates as give 0.99
            for given.n_probes, given.refine in ((8, 5), (16, 10), (32, 10), (64, 10), (128, 20), (256, 40)):
                numbers = by_lance(slice(0, n_queries))
                truth = brute_force(asked[:n_queries], vectors, everything)
                if np.mean([len(t & set(f)) / K for t, f in zip(truth, numbers.tolist(), strict=True)]) >= 0.99:
                    break
            built["LanceDB IVF_RQ"] |= {"nprobes": given.n_probes, "refine_factor": given.refine}
            one["LanceDB IVF_RQ, refined"] = by_lance
            few["LanceDB IVF_RQ, prefilter"] = lambda rows: by_lance(rows, "few")
        measured = {
            "one": timed(one, given.rounds, 1, asked, vectors, everything),
            f"{given.batch} queries": timed(one, max(3, given.rounds // 4), given.batch, asked, vectors, everything),
            "one, among 1 %": timed(few, given.rounds, 1, asked, vectors, allowed),
        }
    print(f"{given.n} x {given.d}, {os.cpu_count()} cores")
    for kind, facts in built.items():
        print(f"built {kind}: {facts}")
    for title, ways in measured.items():
        print(f"\n{title:44s} {'ms':>8s}  recall@10")
        for way, (ms, recall) in ways.items():
            print(f"  {way:42s} {ms:8.2f}  {recall:.4f}")
    if given.json:
        given.json.write_text(json.dumps({"n": given.n, "d": given.d, "built": built, "ms": measured}, indent=2) + "\n")


def timed(
    ways: dict[str, Callable[[slice], NDArray[np.int64]]],
    rounds: int,
    size: int,
    asked: NDArray[np.float32],
    vectors: NDArray[np.float32],
    allowed: NDArray[np.bool_],
) -> dict[str, tuple[float, float]]:
    """Median milliseconds and recall@10 of each way."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    hits: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(slice(0, size))  # first touches
    for number in range(rounds):
        low = number if size == 1 else 0
        rows = slice(low, low + size)
        truth = brute_force(asked[rows], vectors, allowed)
        for name, way in ways.items():
            start = time.perf_counter()
            found = way(rows)
            spent[name].append(1000 * (time.perf_counter() - start))
            hits[name] += [len(t & set(f)) / K for t, f in zip(truth, found.tolist(), strict=True)]
    return {name: (round(statistics.median(spent[name]), 2), round(float(np.mean(hits[name])), 4)) for name in ways}


if __name__ == "__main__":
    main()

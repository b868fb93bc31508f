"""Bytes of a vector in its table and in several indices, with the time to build and the recall, to plan large atlases.

    python scripts/bench/scale.py --n 20000

Made clustered vectors of 384 numbers; 20,000 take some 40 core seconds, most of them k-means. What a commit takes is
told beside the first rows, half of them and all, by rows that are near no query; bytes are those of all rows. Lance's
indices are those of its types with its own search; `lance-ivfrq` of locatlas, which is an `IVF_RQ`, is measured by
disk_index.py.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("LANCE_LOG", "error")

import faiss
import lance
import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.indices.faiss_index import new_index, train_and_add
from locatlas.indexer.indices.recall import measure_recall, truth_of, tuned
from locatlas.indexer.pipeline import COMMIT_ROWS
from locatlas.indexer.store.tables import Store

DIM = 384
QUERIES = 100
K = 10
WRITTEN_AT_ONCE = 20_000


def made(n: int) -> NDArray[np.float32]:
    """Unit vectors around one centre for every hundred."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((n // 100, DIM), dtype=np.float32)
    vectors = centres[rng.integers(0, len(centres), n)] + 0.8 * rng.standard_normal((n, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bytes_below(folder: Path) -> int:
    """Of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def commit(store: Store, number: int) -> float:
    """Seconds of a commit of new vectors, of no cluster."""
    vectors = np.random.default_rng(number).standard_normal((COMMIT_ROWS, DIM), dtype=np.float32)
    ids = [f"more/{number}/{-1 - i}" for i in range(len(vectors))]
    start = time.perf_counter()
    store.put_embeddings("cell", "0" * 64, ids, ["0" * 32] * len(ids), vectors)
    return time.perf_counter() - start


def main() -> None:
    """Print one line an index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    n = parser.parse_args().n
    faiss.omp_set_num_threads(1)  # beside other work, threads that wait for each other take most of the time
    vectors = made(n)
    queries = vectors[:: n // QUERIES][:QUERIES]
    exact = [set(np.argpartition(-(vectors @ query), K)[:K].tolist()) for query in queries]

    def tell(what: str, n_bytes: int, seconds: float, found: list[set[int]], ms: list[float]) -> None:
        recall = statistics.mean(len(a & b) / K for a, b in zip(exact, found, strict=True))
        print(
            f"{what:34} {n_bytes / rows:7.1f} bytes a vector, built in {seconds:6.1f} s, recall@{K} {recall:.3f}, "
            f"median {statistics.median(ms):.1f} ms",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as target:
        store = Store.create(Path(target) / "atlas")
        ids = [f"made/{i:09d}" for i in range(n)]
        start = time.perf_counter()
        with store.folder.writer("bench"):
            starts = range(0, n, WRITTEN_AT_ONCE)
            for at in starts:
                part = slice(at, at + WRITTEN_AT_ONCE)
                store.put_embeddings("cell", "0" * 64, ids[part], ["0" * 32] * len(ids[part]), vectors[part])
                if at in (starts[0], starts[len(starts) // 2], starts[-1]):
                    there = store.count(store.tables()[0])
                    commits = [commit(store, at + m) for m in range(5)]
                    print(f"{COMMIT_ROWS} rows more beside {there}: median {statistics.median(commits):.3f} s")
        table = store.tables()[0]
        rows = store.count(table)
        path = store.folder.db / f"{table}.lance"
        print(
            f"{'table of vectors':34} {bytes_below(path) / rows:7.1f} bytes a vector, written in "
            f"{time.perf_counter() - start:.1f} s with digests"
        )
        start = time.perf_counter()
        index, params = new_index("ivfpq", n, DIM)
        train_and_add(index, vectors, "ivfpq")
        seconds = time.perf_counter() - start
        file = Path(target) / "index"
        faiss.write_index(index, str(file))
        params = tuned(index, "ivfpq", params, vectors, truth_of(vectors, None, seed=0))
        recall = measure_recall(index, "ivfpq", params, vectors, truth_of(vectors, None, seed=1))
        print(
            f"{'FAISS ivfpq of locatlas, ' + str(params['m']) + ' x ' + str(params['bits']) + ' bits':34} "
            f"{file.stat().st_size / n:7.1f} bytes a vector, built in {seconds:6.1f} s, recall@10 {recall:.3f}",
            flush=True,
        )
        dataset = lance.dataset(str(path))
        for kind, options in (("IVF_PQ", {"num_sub_vectors": 48}), ("IVF_RQ", {"num_bits": 1})):
            start = time.perf_counter()
            dataset.create_index(
                "vector", kind, metric="cosine", num_partitions=max(16, n // 4096), replace=True, **options
            )
            seconds = time.perf_counter() - start
            newest = max((path / "_indices").iterdir(), key=lambda folder: folder.stat().st_mtime)
            found, ms = [], []
            for query in queries:
                start = time.perf_counter()
                asked = {"column": "vector", "q": query, "k": K, "nprobes": 32, "refine_factor": 10}
                hits = dataset.to_table(columns=["id"], nearest=asked)["id"].to_pylist()
                ms.append(1000 * (time.perf_counter() - start))
                found.append({int(hit.rpartition("/")[2]) for hit in hits})  # others than the made ones are negative
            tell(f"Lance {kind} on disk, refined", bytes_below(newest), seconds, found, ms)


if __name__ == "__main__":
    main()

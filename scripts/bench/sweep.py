"""How much faster is one sweep than scikit-learn asked once per k and fold? Same folds, same predictions.

    python scripts/bench/sweep.py                        # N = 20,000, d = 384: minutes
    python scripts/bench/sweep.py --n 4000 --rounds 3    # seconds
    python scripts/bench/sweep.py --n 100000 --without-scikit-learn
    python scripts/bench/sweep.py --n 100000 --without-scikit-learn --device cuda

Made data: 17 localizations -> proteins -> cells in a latent space of 24 dimensions, through tanh and sin to d, with a
common mean. The rivals run in turn, round by round, the fast ones before and after the slow one, so that a busy
machine slows all of them; the ratio is that of the medians. Predictions must agree, or the script fails; where they
differ, it looks in float64 whether the k-th neighbor is a tie that float32 cannot settle, and tells.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.scores.protocols import grouped_folds
from locatlas.query.sweep.every_k import sweep

KS = (1, 3, 5, 10, 20, 50, 100, 200)
N_CLASSES = 17


def clustered(
    n: int, d: int, n_proteins: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Vectors (n, d), protein and localization of each row."""
    rng = np.random.default_rng(seed)
    latent = 24
    localization_of = rng.permutation(np.arange(n_proteins) % N_CLASSES)
    centre = 0.6 * rng.normal(size=(N_CLASSES, latent))
    proteins = centre[localization_of] + 0.8 * rng.normal(size=(n_proteins, latent))
    protein = np.concatenate([np.arange(n_proteins), rng.integers(0, n_proteins, n - n_proteins)])
    cells = proteins[protein] + 0.4 * rng.normal(size=(n, latent))
    first, second = (rng.normal(size=(latent, d)) / np.sqrt(latent) for _ in range(2))
    vectors = np.empty((n, d), dtype=np.float32)
    for low in range(0, n, 1 << 16):
        part = cells[low : low + (1 << 16)]
        vectors[low : low + len(part)] = np.tanh(part @ first) + 0.5 * np.sin(part @ second) + 0.2
    return vectors, protein, localization_of[protein]


def by_scikit_learn(
    vectors: NDArray[np.float32], targets: NDArray[np.int64], fold: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Predictions (n_ks, n): a classifier for each k and fold, as its documentation shows."""
    from sklearn.neighbors import KNeighborsClassifier

    predicted = np.empty((len(KS), len(vectors)), dtype=np.int64)
    for step, k in enumerate(KS):
        for part in np.unique(fold):
            own = fold == part
            classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
            predicted[step, own] = classifier.fit(vectors[~own], targets[~own]).predict(vectors[own])
    return predicted


def by_faiss_once(
    vectors: NDArray[np.float32], targets: NDArray[np.int64], fold: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Predictions (n_ks, n): what an expert writes by hand, a flat FAISS index per fold at the largest k."""
    import faiss

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    predicted = np.empty((len(KS), len(vectors)), dtype=np.int64)
    for part in np.unique(fold):
        own = fold == part
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(unit[~own])
        near = targets[~own][index.search(unit[own], max(KS))[1]]
        n_own = np.arange(len(near))[:, None] * N_CLASSES
        for step, k in enumerate(KS):
            counts = np.bincount((n_own + near[:, :k]).ravel(), minlength=len(near) * N_CLASSES)
            predicted[step, own] = counts.reshape(-1, N_CLASSES).argmax(axis=1)
    return predicted


def unsettled(vectors: NDArray[np.float32], fold: NDArray[np.int64], rows: NDArray[np.int64], k: int) -> list[float]:
    """Gap in float64 similarity between the k-th neighbor of each row and the next."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    gaps = []
    for row in rows:
        scores = np.sort((unit @ unit[row])[fold != fold[row]])[::-1]
        gaps.append(float(scores[k - 1] - scores[k]))
    return gaps


def timed(work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Seconds on the clock and of all cores together, and the result."""
    start, cores = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - start, time.process_time() - cores), result


def main() -> int:
    """Run the rivals and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--proteins", type=int, default=1300)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=0, help="replicates for intervals, which the rivals lack")
    parser.add_argument("--device", default="cpu", help="where the products of locatlas run; the rivals use the CPU")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--alone", action="store_true", help="locatlas only, for a profiler (shares.py)")
    parser.add_argument("--without-scikit-learn", action="store_true", help="it takes hours above 100,000 vectors")
    asked = parser.parse_args()
    vectors, protein, localization = clustered(asked.n, asked.d, min(asked.proteins, asked.n // 4), asked.seed)
    labels = [(f"class{c:02d}",) for c in localization]
    groups, ids = [f"protein{p}" for p in protein], [f"row{i}" for i in range(asked.n)]
    fold = grouped_folds(
        groups, folds=asked.folds, seed=asked.seed, table=localization[:, None] == np.arange(N_CLASSES)
    )

    products: dict[str, int] = {}

    def ours() -> NDArray[np.int64]:
        found = sweep(
            vectors,
            labels,
            groups,
            ids,
            ks=KS,
            protocol="kfold",
            folds=asked.folds,
            seed=asked.seed,
            ties="first",
            n_bootstrap=asked.bootstrap,
            keep_predictions=True,
            device=asked.device,
        )
        products.update(found.products)
        place = {name: i for i, name in enumerate(found.ids)}
        order = [place[name] for name in ids]
        return np.stack([one.predicted[order] for one in found.results])

    rivals: dict[str, Callable[[], NDArray[np.int64]]] = {
        "locatlas sweep": ours,
        "FAISS flat, once per fold": lambda: by_faiss_once(vectors, localization, fold),
        "scikit-learn, per k and fold": lambda: by_scikit_learn(vectors, localization, fold),
    }
    if asked.without_scikit_learn or asked.alone:
        del rivals["scikit-learn, per k and fold"]
    if asked.alone:
        del rivals["FAISS flat, once per fold"]
    small = np.random.default_rng(1).normal(size=(600, 8)).astype(np.float32)  # imports and first calls, untimed
    by_faiss_once(small, np.zeros(600, np.int64), np.arange(600) % 2)
    by_scikit_learn(small, np.zeros(600, np.int64), np.arange(600) % 2)
    if asked.device != "cpu":  # its start, untimed
        sweep(
            small, [("a",)] * 600, [f"g{i}" for i in range(600)], ids[:600], ks=[1], n_bootstrap=0, device=asked.device
        )
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    predicted: dict[str, NDArray[np.int64]] = {}
    slow = [name for name in rivals if name.startswith("scikit")]
    fast = [name for name in rivals if name not in slow]
    for number in range(asked.rounds):
        for name in (*fast, *fast, *slow, *fast) if slow else fast:
            spent, predicted[name] = timed(rivals[name])
            seconds[name].append(spent)
            print(f"round {number + 1}: {name}: {spent[0]:.2f} s, {spent[1]:.2f} core s", file=sys.stderr)
    print(f"queries of locatlas by the products that answered them: {products}")
    return report(asked, seconds, predicted, vectors, fold, localization)


def report(
    asked: argparse.Namespace,
    seconds: dict[str, list[tuple[float, float]]],
    predicted: dict[str, NDArray[np.int64]],
    vectors: NDArray[np.float32],
    fold: NDArray[np.int64],
    localization: NDArray[np.int64],
) -> int:
    """Print and write the figures; 1 if predictions differ by more than float32 ties."""
    mine = predicted["locatlas sweep"]
    table, failed = {}, False
    print(f"N = {asked.n}, d = {asked.d}, {asked.folds} folds, k = {', '.join(map(str, KS))}; {os.cpu_count()} cores")
    print(f"accuracy by k: {', '.join(f'{np.mean(one == localization):.3f}' for one in mine)}")
    middle = {name: [statistics.median(part) for part in zip(*spent, strict=True)] for name, spent in seconds.items()}
    for name, spent in seconds.items():
        clock, cores = middle[name]
        ratio, core_ratio = (theirs / own for theirs, own in zip(middle[name], middle["locatlas sweep"], strict=True))
        differing = int((predicted[name] != mine).sum())
        gaps = [
            gap
            for step, k in enumerate(KS)
            for gap in unsettled(vectors, fold, np.flatnonzero(predicted[name][step] != mine[step])[:50], k)
        ]
        failed |= any(gap > 1e-6 for gap in gaps)
        table[name] = {
            "seconds": [one for one, _ in spent],
            "core_seconds": [one for _, one in spent],
            "median_s": clock,
            "median_core_s": cores,
            "times_locatlas": ratio,
            "core_times_locatlas": core_ratio,
            "predictions": int(mine.size),
            "differing": differing,
            "largest_gap_at_k_of_differing": max(gaps, default=None),
        }
        note = f", {differing} of {mine.size} predictions differ (float64 gap at k <= {max(gaps):.1e})" if gaps else ""
        print(
            f"{name:30s} {clock:7.2f} s  x {ratio:5.1f}   {cores:7.2f} core s  x {core_ratio:5.1f}"
            f"{note or ', predictions identical'}"
        )
    if asked.json:
        document = {
            "benchmark": "sweep",
            "settings": {name: value for name, value in vars(asked).items() if name != "json"},
            "ks": KS,
            "machine": {
                "cores": os.cpu_count(),
                "processor": platform.processor(),
                "python": platform.python_version(),
            },
            "numpy": np.__version__,
            "rivals": table,
        }
        asked.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

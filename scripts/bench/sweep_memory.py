"""How much memory a sweep takes beside its vectors.

    python scripts/bench/sweep_memory.py                # N = 100,000, d = 384: a minute or two
    python scripts/bench/sweep_memory.py --n 20000
    python scripts/bench/sweep_memory.py --n 1000000 --queries 10000

A process makes the vectors of `sweep.py`, imports what a sweep needs, multiplies once in bfloat16, and notes its
resident memory, vectors, labels, groups and ids included; then it sweeps and asks the kernel for the most it ever had.
The ratio is that of the vectors' bytes and of what came on top, together, to the vectors' bytes. Linux only.
"""

import argparse
import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from sweep import KS, clustered


def resident(name: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most since it was reset."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(said[name].split()[0]) * 1024


def measure(asked: argparse.Namespace, tell: Connection) -> None:
    """One sweep, in a process of its own."""
    import torch

    from locatlas.query.sweep.every_k import sweep

    vectors, protein, localization = clustered(asked.n, asked.d, min(asked.proteins, asked.n // 4), asked.seed)
    labels = [(f"class{c:02d}",) for c in localization]
    groups, ids = [f"protein{p}" for p in protein], [f"row{i}" for i in range(asked.n)]
    chosen = None
    if asked.queries:
        chosen = np.zeros(asked.n, dtype=np.bool_)
        chosen[np.random.default_rng(1).choice(asked.n, asked.queries, replace=False)] = True
    small = slice(0, 600)
    sweep(vectors[small], labels[small], groups[small], ids[small], ks=[1], n_bootstrap=0)
    some = torch.ones((512, asked.d), dtype=torch.bfloat16)
    torch.mm(some, some.T)
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    before, began = resident("VmRSS"), time.perf_counter()
    found = sweep(
        vectors,
        labels,
        groups,
        ids,
        ks=KS,
        protocol="kfold" if asked.folds else "leave-group-out",
        folds=asked.folds or 5,
        n_bootstrap=asked.bootstrap,
        queries=chosen,
    )
    seconds = time.perf_counter() - began
    extra = resident("VmHWM") - before
    tell.send(
        {
            "vectors_mb": vectors.nbytes / 2**20,
            "extra_mb": extra / 2**20,
            "ratio": (vectors.nbytes + extra) / vectors.nbytes,
            "seconds": seconds,
            "macro_f1": [one.macro_f1 for one in found.results],
            "products": found.products,
        }
    )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--proteins", type=int, default=1300)
    parser.add_argument("--folds", type=int, default=5, help="0: leave one protein out")
    parser.add_argument("--queries", type=int, default=0, help="rows that ask, a random sample; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=1000, help="replicates for intervals")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(asked, tell))
    process.start()
    tell.close()
    figures: dict[str, Any] = told.recv()
    process.join()
    print(
        f"N = {asked.n}, d = {asked.d}: vectors {figures['vectors_mb']:.0f} MiB, at most {figures['extra_mb']:.0f} MiB "
        f"on top: {figures['ratio']:.2f} x the vectors; {figures['seconds']:.1f} s; {figures['products']}; "
        f"macro F1 {np.round(figures['macro_f1'], 4).tolist()}"
    )
    if asked.json:
        asked.json.write_text(json.dumps({"benchmark": "sweep memory", "n": asked.n, "d": asked.d} | figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

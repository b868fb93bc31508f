"""An atlas of a million cells on this machine: time, memory and disk of every step, each in a process of its own.

Run as `python scripts/bench/million.py --n 1000000 FOLDER`; the folder takes some 10 GB and is kept, so that steps
that are done are not done again (`--again STEP` does, `--until STEP` ends there). Made clustered vectors of 384 numbers
with proteins and localizations. Every step is what a user would type or call; peak memory is the resident size of its
process or of the largest that it starts, pages of mapped files included. With `--bound 2.5` it ends with 1 where a step
of locatlas needs more than so many times the vectors.

A sweep of all million takes a quarter of an hour: `--full-sweep` does it. `--sweep-sizes 2500,5000` asks so
many as well, and `--extrapolate` prints what the line through all sizes says of a sweep of all, which is an estimate.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

MAKE = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
sys.path.insert(0, {here!r})
from sweep import clustered
n, d, proteins = {n}, 384, max(20, {n} // 200)
names = ["Nucleoplasm", "Cytosol", "Nucleoli", "Mitochondria", "Golgi apparatus", "Vesicles", "Plasma membrane",
         "Nuclear membrane", "Microtubules", "Actin filaments", "Centrosome", "Endoplasmic reticulum",
         "Nuclear speckles", "Nuclear bodies", "Intermediate filaments", "Cell Junctions", "Peroxisomes"]
writer, done = None, 0
vectors, protein, where = clustered(n, d, proteins, 0)
for low in range(0, n, 50_000):
    part = slice(low, min(low + 50_000, n))
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors[part].ravel()), d)
    table = pa.table({{"id": [f"c{{i:08d}}" for i in range(part.start, part.stop)], "vector": flat,
                      "protein": [f"P{{p:05d}}" for p in protein[part]],
                      "localizations": [[names[c]] for c in where[part]]}})
    writer = writer or pq.ParquetWriter({file!r}, table.schema)
    writer.write_table(table)
writer.close()
"""

RIVAL = """
import faiss, numpy as np, pyarrow.parquet as pq
index, first = faiss.index_factory(384, "IVF1024,Flat", faiss.METRIC_INNER_PRODUCT), True
for batch in pq.ParquetFile({file!r}).iter_batches(65_536, columns=["vector"]):
    part = batch.column(0).flatten().to_numpy().reshape(-1, 384).copy()
    faiss.normalize_L2(part)
    if first:
        index.train(part)
        np.save({index!r} + ".npy", part[5:6])
    index.add(part)
    first = False
faiss.write_index(index, {index!r})
"""

ASK_RIVAL = """
import faiss, numpy as np
index = faiss.read_index({index!r})
index.nprobe = 64
print(index.search(np.load({index!r} + ".npy"), 11)[1])
"""

IN_PYTHON = "import locatlas, time; atlas = locatlas.open({atlas!r}); "
ASK = "start = time.perf_counter(); atlas.neighbors(id='imported/c{i:08d}', k=10{more}); " + (
    "print('seconds', time.perf_counter() - start); "
)


SWEEP = "sweep, asked: "

OTHERS = (
    "make vectors",
    "make FAISS IVF file",
    "FAISS IVF, a fresh process, first",
    "FAISS IVF, a fresh process, again",
)
"""Steps that are no work of locatlas."""


def steps(folder: Path, n: int, sweep_sizes: Sequence[int], *, full_sweep: bool) -> dict[str, list[str]]:
    """The commands, by name."""
    atlas, file = str(folder / "atlas"), str(folder / "vectors.parquet")
    python, locatlas = [sys.executable, "-c"], [sys.executable, "-m", "locatlas"]
    asked = IN_PYTHON.format(atlas=atlas)
    for number in range(6):
        asked += ASK.format(i=number * (n // 7), more="")
    exactly = IN_PYTHON.format(atlas=atlas)
    for number in range(4):
        exactly += ASK.format(i=number * (n // 7), more=", exact=True")
    return {
        "make vectors": [*python, MAKE.format(here=str(Path(__file__).parent), n=n, file=file)],
        "import": [*locatlas, "import-embeddings", file, "--atlas", atlas, "--name", "made", "--level", "cell"],
        "look-up, a fresh process, first": [*locatlas, "neighbors", "--atlas", atlas, "--id", "imported/c00000005"],
        "look-up, a fresh process, again": [*locatlas, "neighbors", "--atlas", atlas, "--id", "imported/c00000005"],
        "look-ups in a process": [*python, asked],
        "exact look-ups in a process": [*python, exactly],
        **{
            f"{SWEEP}{size}": [*locatlas, "sweep", "--atlas", atlas, "--sample", str(size)]
            for size in sorted({*sweep_sizes, min(10_000, n)})
        },
        **({"sweep of all": [*locatlas, "sweep", "--atlas", atlas]} if full_sweep else {}),
        "map (PCA)": [*locatlas, "map", "--atlas", atlas, "--method", "pca", "--refit"],
        "map again, unchanged": [*locatlas, "map", "--atlas", atlas, "--method", "pca"],
        "serve": [sys.executable, str(Path(__file__).with_name("million_serve.py")), atlas, str(n)],
        "verify --quick": [*locatlas, "verify", "--atlas", atlas, "--quick"],
        "verify": [*locatlas, "verify", "--atlas", atlas],
        "make FAISS IVF file": [*python, RIVAL.format(file=file, index=str(folder / "rival.faiss"))],
        "FAISS IVF, a fresh process, first": [*python, ASK_RIVAL.format(index=str(folder / "rival.faiss"))],
        "FAISS IVF, a fresh process, again": [*python, ASK_RIVAL.format(index=str(folder / "rival.faiss"))],
        "status": [*locatlas, "status", "--atlas", atlas],
    }


def main() -> int:
    """Run the steps that are not done and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--again", action="append", default=[], help="a step that is done anew")
    parser.add_argument("--until", help="the last step that is done")
    parser.add_argument("--only", action="append", default=[], help="of all steps, these; what they need must be done")
    parser.add_argument("--full-sweep", action="store_true", help="every cell asks: time grows with the square")
    parser.add_argument("--sweep-sizes", default="", metavar="N,N", help="further sizes of a sweep's sample")
    parser.add_argument("--extrapolate", action="store_true", help="estimate the sweep of all from the sizes")
    parser.add_argument("--bound", type=float, help="end with 1 where a step needs more times the vectors' memory")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    notes = asked.folder / "measured.json"
    measured = json.loads(notes.read_text()) if notes.is_file() else {}
    sizes = [int(size) for size in asked.sweep_sizes.split(",") if size]
    commands = steps(asked.folder, asked.n, sizes, full_sweep=asked.full_sweep)
    named = [name for name in (*asked.again, *asked.only, asked.until) if name is not None]
    if unknown := [name for name in named if name not in commands]:
        parser.error(f"no step {unknown[0]!r}; there are: {', '.join(commands)}")
    for name, command in commands.items():
        if (name in measured and name not in asked.again) or (asked.only and name not in asked.only):
            if name == asked.until:
                break
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        # a child of a child: the largest size of finished children is that of this step's alone
        script = (
            f"import subprocess, sys, resource; r = subprocess.run({command!r}, stdout=subprocess.PIPE, text=True); "
        )
        script += "print(r.stdout); u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        script += "print('peak', u.ru_maxrss, u.ru_utime + u.ru_stime); sys.exit(r.returncode)"
        ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - start
        if ran.returncode:
            print(f"{name} ended with {ran.returncode}", file=sys.stderr)
            return 1
        peak, core = ran.stdout.rstrip().splitlines()[-1].split()[1:]
        own = [float(line.split()[1]) for line in ran.stdout.splitlines() if line.startswith("seconds ")]
        measured[name] = {
            "seconds": seconds,
            "core_seconds": float(core),
            "peak_mb": int(peak) * 1024 / 1e6,
            "atlas_mb": megabytes(asked.folder / "atlas"),
            "calls_ms": [1000 * one for one in own],
            "said": dict(line[5:].split(": ") for line in ran.stdout.splitlines() if line.startswith("said ")),
        }
        notes.write_text(json.dumps(measured, indent=1) + "\n")
        if name == asked.until:
            break
    return tell(asked, measured)


def megabytes(folder: Path) -> float:
    """Of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def tell(asked: argparse.Namespace, measured: dict[str, dict[str, Any]]) -> int:
    """Print the table; 1 where a step needed more memory than is allowed."""
    raw = asked.n * 384 * 4 / 1e6
    print(f"{asked.n} x 384 vectors: {raw:.0f} MB of numbers; page size {resource.getpagesize()}")
    print(f"{'step':34s} {'s':>8s} {'core s':>8s} {'peak MB':>8s} {'x vectors':>9s} {'atlas MB':>9s}")
    for name, one in measured.items():
        calls = ", ".join(f"{ms:.0f}" for ms in one["calls_ms"])
        print(
            f"{name:34s} {one['seconds']:8.1f} {one['core_seconds']:8.1f} {one['peak_mb']:8.0f} "
            f"{one['peak_mb'] / raw:9.2f} {one['atlas_mb']:9.0f}{'   calls ms: ' + calls if calls else ''}"
        )
        for what, value in one.get("said", {}).items():
            print(f"    {what}: {value}")
    atlas = asked.folder / "atlas"
    parts = {part.name: megabytes(part) for part in sorted(atlas.iterdir()) if part.is_dir()} if atlas.is_dir() else {}
    print("disk, MB: " + ", ".join(f"{name} {size:.0f}" for name, size in parts.items() if size >= 1))
    own = {name: one["peak_mb"] / raw for name, one in measured.items() if name not in OTHERS}
    most = max(own, key=lambda name: own[name], default=None)
    if most is not None:
        print(f"no step of locatlas held more than {own[most]:.2f} times the vectors ({most})")
    if asked.extrapolate:
        extrapolate(asked.n, {int(k.removeprefix(SWEEP)): v for k, v in measured.items() if k.startswith(SWEEP)})
    return int(asked.bound is not None and most is not None and own[most] > asked.bound)


def extrapolate(n: int, by_size: dict[int, dict[str, Any]]) -> None:
    """Print what the line through the sizes says of all."""
    if len(by_size) < 2:
        print("to extrapolate, two sizes are needed: --sweep-sizes")
        return
    for column, word in (("seconds", "s"), ("core_seconds", "core s")):
        slope, fixed = np.polyfit(list(by_size), [one[column] for one in by_size.values()], 1)
        print(
            f"extrapolated, not measured: a sweep of all {n} takes {fixed + slope * n:.0f} {word} "
            f"({fixed:.1f} and {1000 * slope:.2f} for a thousand that ask; from {', '.join(map(str, sorted(by_size)))})"
        )


if __name__ == "__main__":
    sys.exit(main())

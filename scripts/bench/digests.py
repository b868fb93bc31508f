"""What digests cost while indexing, side by side, and how fast `verify` reads: seconds, shares, MB/s.

Run as `python scripts/bench/digests.py --images 1000`. Each round indexes the same made OpenCell fields into two new
atlases, one with digests and one without, in turns; what stands between them is that alone. Two numbers are told:

- side by side: seconds of the command with digests over those without, as medians over rounds
- inside: the share of the command's seconds that was spent in taking digests, which other load on the machine does
  not blur much. It includes waiting for the disk (fsync), which Lance by itself does not do.

Both are also told in seconds of the processor, which other load does not blur at all.

Then the atlas with digests is verified, quick and full, and a table of `--mb` megabytes of vectors is made and
verified, which tells the speed at which bytes are read.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from locatlas.indexer.index import index
from locatlas.indexer.store.digests import Digests
from locatlas.indexer.store.tables import Store
from locatlas.indexer.synthetic.collection import make_collection
from locatlas.indexer.verify.run import verify


@contextmanager
def counted() -> Iterator[list[tuple[float, float]]]:
    """Seconds by the clock, and of the processor, of each time that digests are taken."""
    real, seconds = Digests.take, []

    def take(self: Digests, *args: Any, **options: Any) -> int:
        start, used = time.perf_counter(), time.thread_time()
        try:
            return real(self, *args, **options)
        finally:
            seconds.append((time.perf_counter() - start, time.thread_time() - used))

    Digests.take = take  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Digests.take = real  # type: ignore[method-assign]


@contextmanager
def none_taken() -> Iterator[None]:
    """The store without digests."""
    real = Digests.take
    Digests.take = lambda *_, **__: 0  # type: ignore[method-assign]
    try:
        yield
    finally:
        Digests.take = real  # type: ignore[method-assign]


def indexed(source: Path, atlas: Path, encoder: str | None) -> tuple[float, float]:
    """Seconds by the clock and of the processors of one index run."""
    from locatlas.indexer.encoder_choice import EncoderRequest

    start, used = time.perf_counter(), time.process_time()
    index(source, atlas=atlas, dataset="opencell", request=EncoderRequest(name=encoder))
    return time.perf_counter() - start, time.process_time() - used


def large(folder: Path, megabytes: int) -> Path:
    """An atlas with a table of so many megabytes."""
    store = Store.create(folder)
    chance, rows, dim = np.random.default_rng(0), 16384, 768
    with store.folder.writer("bench"):
        for n in range(max(1, round(megabytes * 1e6 / (rows * dim * 4)))):
            ids = [f"x/{n:04d}/{i:05d}" for i in range(rows)]
            vectors = chance.standard_normal((rows, dim), dtype=np.float32)
            store.put_embeddings("fov", "0" * 64, ids, ["0"] * rows, vectors)
    return folder


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--px", type=int, default=300, help="edge of a field")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", help="default: the one of a new atlas")
    parser.add_argument("--mb", type=int, default=1000, help="of vectors, for the speed of verify")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = measure(Path(name), given)
    found["machine"] = {"cpu": platform.processor() or platform.machine(), "python": platform.python_version()}
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All numbers."""
    make_collection(
        folder / "made", classes=("nucleoplasm", "mitochondria"), opencell_px=given.px, hpa_proteins_per_class=0
    )
    drawn = sorted((folder / "made").rglob("OC-FOV_*_proj.tif"))
    source = folder / "source"
    source.mkdir()
    for n in range(given.images):
        os.link(drawn[n % len(drawn)], source / f"OC-FOV_GENE{n}_ENSG{n:011d}_CID{n:06d}_FID{n:08d}_proj.tif")
    indexed(source, folder / "warm", given.encoder)  # imports, and the cache of the file system
    with_, without, cpu_with, cpu_without, inside, cpu_inside, commits = [], [], [], [], [], [], 0
    for n in range(given.rounds):
        for kind in ("with", "without") if n % 2 == 0 else ("without", "with"):
            if kind == "with":
                with counted() as taken:
                    clock, cpu = indexed(source, folder / f"with-{n}", given.encoder)
                with_.append(clock)
                cpu_with.append(cpu)
                inside.append(sum(s for s, _ in taken) / clock)
                cpu_inside.append(sum(s for _, s in taken) / cpu)
                commits = len(taken)
            else:
                with none_taken():
                    clock, cpu = indexed(source, folder / f"without-{n}", given.encoder)
                without.append(clock)
                cpu_without.append(cpu)
    quick, full = verify(atlas=folder / "with-0", quick=True), verify(atlas=folder / "with-0")
    big = large(folder / "large", given.mb)
    start = time.perf_counter()
    verify(atlas=big, quick=True)
    quick_s = time.perf_counter() - start
    report = verify(atlas=big)
    return {
        "images": given.images,
        "seconds_with": [round(s, 3) for s in with_],
        "seconds_without": [round(s, 3) for s in without],
        "overhead_side_by_side": round(statistics.median(with_) / statistics.median(without) - 1, 4),
        "overhead_of_processor_time": round(statistics.median(cpu_with) / statistics.median(cpu_without) - 1, 4),
        "overhead_inside": round(statistics.median(inside), 4),
        "overhead_inside_of_processor_time": round(statistics.median(cpu_inside), 4),
        "times_taken": commits,
        "findings": [f.kind for f in [*quick.findings, *full.findings]],
        "verify_large": {
            "mb": round(report.bytes_read / 1e6, 1),
            "quick_s": round(quick_s, 3),
            "read_s": round(report.seconds, 3),
            "mb_per_s": round(report.mb_per_s, 1),
        },
    }


if __name__ == "__main__":
    main()

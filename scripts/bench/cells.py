"""How many fields of view a second are searched for cells, stored without a network, and does memory stay level?

    python scripts/bench/cells.py                      # 60 fields, in turns with a plain scikit-image loop
    python scripts/bench/cells.py --fovs 2000          # the same, and the resident size along the way

Made fields of OpenCell's kind (2 x 600 x 600, uint16), some of them drawn and then linked under as many names as are
asked for. Measured is the stage that `locatlas index --level cell` runs before it embeds: read, digest, segment,
regions, flags and sharpness, thumbnails of fields and cells, and the rows in the store. The rivals take turns, round
by round, so that a busy machine slows all of them; ratios are those of the medians.

The plain loop is what one writes instead: Gaussian, Otsu's threshold, `label`, `regionprops`, and each crop saved as a
file, in one process or two. It does less: it does not split nuclei that touch, and finds no cell bodies.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import tifffile

from locatlas.indexer.cells.given import GivenCells
from locatlas.indexer.cells.plan import CellRequest, plan_cells
from locatlas.indexer.cells.quality import cell_quality
from locatlas.indexer.cells.regions import pack, regions_of
from locatlas.indexer.cells.segmenters import get_segmenter, segment
from locatlas.indexer.cells.stage import find_cells
from locatlas.indexer.cells.thumbnails import cell_thumbnails
from locatlas.indexer.datasets import read_records
from locatlas.indexer.files.images import read_image
from locatlas.indexer.job import Job
from locatlas.indexer.reading import pixel_columns
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.tables import Store
from locatlas.indexer.synthetic import make_collection

LOOKED_AT = (200, 1000, 2000)
CROP_PX = 256


def draw(folder: Path, n: int) -> list[Path]:
    """Paths of `n` made fields, two of each class."""
    made = make_collection(
        folder, proteins_per_class=-(-n // 34), fovs_per_protein=2, hpa_proteins_per_class=0, workers=2
    )
    files = sorted(made.opencell.rglob("*_proj.tif"))
    step = max(1, len(files) // n)
    return files[::step][:n]


def link(files: list[Path], folder: Path, n: int) -> Path:
    """A folder in OpenCell's layout with `n` fields that are links to the files, in turn."""
    folder.mkdir(parents=True)
    for i in range(n):
        os.link(files[i % len(files)], folder / f"OC-FOV_GENE{i}_ENSG{i:011d}_CID{i:06d}_FID{i:08d}_proj.tif")
    return folder


def resident_mb() -> float:
    """Resident size of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def ours(source: Path, atlas: Path, sizes: dict[int, float] | None = None) -> dict[str, Any]:
    """Run the stage; how many cells, seconds by its own stages, and the resident size along the way in `sizes`."""
    store = Store.create(atlas)
    largest = 0.0

    def look(_: str, done: int, __: int) -> None:
        nonlocal largest
        largest = max(largest, resident_mb())
        if sizes is not None and done in LOOKED_AT:
            sizes[done], largest = largest, 0.0

    with store.folder.writer("bench"), Run.record(store, "bench", dataset="opencell") as run:
        job = Job(store, run, Quarantine(store), {store.folder.root_name(source, prefer="opencell"): source}, look)
        records = [r for r in read_records("opencell", source) if isinstance(r, ImageRecord)]
        request = CellRequest(given=GivenCells.find())
        find_cells(job, plan_cells(job, records, request, replaces=True), request)
        assert job.summary.segmented.fields == len(records), job.quarantine.seen
        return {"cells": job.summary.segmented.cells, "timings_s": dict(run.timings_s)}


def plain(path: Path, out: Path) -> tuple[int, float]:
    """The plain loop's work on one field: cells found, each saved as a file, and seconds of core time."""
    from skimage.filters import gaussian, threshold_otsu
    from skimage.measure import label, regionprops
    from skimage.morphology import remove_small_objects

    start = time.process_time()
    image = tifffile.imread(path)
    smooth = gaussian(image[0], 2, preserve_range=True)
    found = regionprops(label(remove_small_objects(smooth > threshold_otsu(smooth), max_size=500)))
    half = CROP_PX // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)))
    for i, region in enumerate(found):
        y, x = map(round, region.centroid)
        tifffile.imwrite(out / f"{path.stem}_{i}.tif", padded[:, y : y + CROP_PX, x : x + CROP_PX])
    return len(found), time.process_time() - start


def plain_loop(source: Path, out: Path, pool: Pool) -> dict[str, Any]:
    """The plain loop over all fields."""
    out.mkdir()
    found = pool.starmap(plain, [(path, out) for path in sorted(source.iterdir())], chunksize=4)
    return {"cells": sum(cells for cells, _ in found), "core": sum(seconds for _, seconds in found)}


def by_part(files: list[Path]) -> dict[str, float]:
    """Milliseconds a field of each part on one thread, median over the fields."""
    spec = get_segmenter("builtin", {})
    folder = files[0].parents[1]
    records = {r.sources[0].path: r for r in read_records("opencell", folder) if isinstance(r, ImageRecord)}
    spent: dict[str, list[float]] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        spent.setdefault(name, []).append(1e3 * (time.perf_counter() - start))
        return result

    for path in files:
        image, digest = part("read and digest", lambda p=path: read_image(records[p]))
        part("flags and thumbnail of the field", lambda i=image, d=digest: pixel_columns(i, d, ""))
        found = part("segment", lambda i=image: segment(i, spec))
        regions = part("regions", lambda f=found: regions_of(f.cells, f.nuclei))
        part("flags and sharpness of cells", lambda i=image, rs=regions: [cell_quality(i, r) for r in rs])
        part("thumbnails of cells", lambda i=image, rs=regions: cell_thumbnails(i, [r.place for r in rs]))
        part("packed masks", lambda rs=regions: [pack(r.place.mask) for r in rs if r.place.mask is not None])
    return {name: statistics.median(values) for name, values in spent.items()}


def in_turns(source: Path, folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Every rival's seconds, cells and seconds of all cores."""
    context = get_context("spawn")  # lance must not be forked
    with context.Pool(1) as one, context.Pool(2) as two:
        rivals: dict[str, Callable[[Path], dict[str, Any]]] = {
            "locatlas": lambda out: ours(source, out),
            "scikit-image, two processes": lambda out: plain_loop(source, out, two),
            "scikit-image, one process": lambda out: plain_loop(source, out, one),
        }
        found: dict[str, dict[str, Any]] = {name: {"seconds": [], "core_seconds": []} for name in rivals}
        for number in range(-1, rounds):  # the first round, for imports and first calls, does not count
            for name, work in rivals.items():
                out = folder / f"{number}-{name}"
                start, cores = time.perf_counter(), time.process_time()
                done = work(out)
                seconds, cores = time.perf_counter() - start, time.process_time() - cores
                stored = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20
                shutil.rmtree(out)
                if number >= 0:
                    found[name] |= {"cells": done["cells"], "stored_mb": stored}
                    found[name]["seconds"].append(seconds)
                    found[name]["core_seconds"].append(done.get("core", cores))
                    print(f"round {number + 1}: {name}: {seconds:.2f} s", file=sys.stderr)
    return found


def main() -> int:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--fovs", type=int, default=60, help="above 200 memory is looked at along the way")
    parser.add_argument("--compared", type=int, default=60, help="fields of each turn against the plain loop")
    parser.add_argument("--distinct", type=int, default=20, help="fields that are drawn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        files = draw(folder / "drawn", asked.distinct)
        ours(link(files, folder / "warm", len(files)), folder / "warm-atlas")  # imports and first calls
        document: dict[str, Any] = {"fovs": asked.fovs, "distinct": len(files), "ms_by_part": by_part(files)}
        if asked.fovs >= LOOKED_AT[0]:
            sizes: dict[int, float] = {}
            source, start, cores = link(files, folder / "many", asked.fovs), time.perf_counter(), time.process_time()
            document["long"] = ours(source, folder / "many-atlas", sizes)
            document["long"] |= {"seconds": time.perf_counter() - start, "core_seconds": time.process_time() - cores}
            document["resident_mb"] = sizes
        document["turns"] = in_turns(link(files, folder / "turns", asked.compared), folder, asked.rounds)
    report(document, asked.compared)
    if asked.json:
        document["versions"] = {
            "numpy": np.__version__,
            "skimage": skimage.__version__,
            "python": sys.version.split()[0],
        }
        document["machine"] = {"cores": os.cpu_count(), "processor": platform.processor()}
        asked.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def report(document: dict[str, Any], compared: int) -> None:
    """Print the figures."""
    print(f"{os.cpu_count()} cores; made fields 2 x 600 x 600; one thread, ms a field:")
    for name, ms in document["ms_by_part"].items():
        print(f"  {name:34s} {ms:6.1f}")
    if long := document.get("long"):
        n = document["fovs"]
        print(
            f"{n} fields, {long['cells']} cells: {n / long['seconds']:.1f} fields/s, "
            f"{1e3 * long['core_seconds'] / n:.0f} ms of core time a field"
        )
        for fields, mb in document["resident_mb"].items():
            print(f"  resident until field {fields}: at most {mb:.0f} MB")
    turns = document["turns"]
    middle = {name: statistics.median(one["seconds"]) for name, one in turns.items()}
    for name, one in turns.items():
        print(
            f"{name:28s} {compared / middle[name]:6.1f} fields/s  x {middle[name] / middle['locatlas']:4.2f}   "
            f"{1e3 * statistics.median(one['core_seconds']) / compared:5.0f} ms core time a field, "
            f"{one['cells']} cells, {one['stored_mb']:.0f} MB stored"
        )


if __name__ == "__main__":
    sys.exit(main())

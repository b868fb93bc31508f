"""What `locatlas pack` saves: reading and embedding with decoded images and without, side by side.

    python scripts/bench/packing.py [--fields FOLDER] [--images 64] [--rounds 5] [--encoder NAME] [--json OUT]

Made fields of 2 x 600 x 600, uint16, as plain and as deflated TIFF with predictor, and, with --fields, real fields of
four PNG each in the layout of the Kaggle competition (`hpa_kaggle_fovs`). Each collection is indexed and packed. Then
all of its images are read by as many threads as `locatlas embed` has, by their files and by the pack, in turns, and an
embedding by a second plan is run both ways, in turns. Told are milliseconds of cores an image, of decoders as well,
median of the rounds (starting decoders is not counted in reading, but in embedding), images a second of reading,
the bytes, and whether the vectors are the same bit for bit.

For TIFF, what a loop without locatlas does in these threads is told too: tifffile, standardizing by numpy, resizing by
torch. Where a device prepares images (`--prepare device`), reading is all that is left to the processor of it.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from embedding import plain_input, show, write_fields  # beside this file

from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.files.decoders import decoders
from locatlas.indexer.files.read_ahead import read_ahead
from locatlas.indexer.index import index
from locatlas.indexer.pixel_cache.reading import PixelCache, read_row
from locatlas.indexer.pixel_cache.run import pack
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.tables import Store

OTHER_PLAN = {"mapping": "random", "passes": "joint", "seed": 1}


def core_seconds() -> float:
    """Of this process and of its decoders, which are ended for it."""
    decoders().close()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds and core seconds of each way, medians of the rounds."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            core, began = core_seconds(), time.perf_counter()
            work()
            seconds = time.perf_counter() - began
            found[way].append((seconds, core_seconds() - core))
    return {way: tuple(statistics.median(part) for part in zip(*told, strict=True)) for way, told in found.items()}  # type: ignore[misc]


def measured(what: str, source: Path, dataset: str, encoder: str, rounds: int, folder: Path) -> dict[str, Any]:
    """A row of the table."""
    plain, packed, n_threads = folder / "plain", folder / "packed", torch.get_num_threads()
    for atlas in (plain, packed):
        shutil.rmtree(atlas, ignore_errors=True)
    index(source, atlas=plain, dataset=dataset, request=EncoderRequest(name=encoder))
    shutil.copytree(plain, packed)
    took = pack(atlas=packed)
    store = Store.open(packed)
    roots = {name: Path(path) for name, path in store.folder.info()["roots"].items()}
    rows = [row for row in store.read("fovs").to_pylist() if row["sources"]]
    records = [record_from_row(row, level="fov", roots=roots) for row in rows]

    def in_threads(one: Callable[[Any], Any], times: int) -> Callable[[], None]:
        def work() -> None:
            with read_ahead("bench") as pool:
                for _ in pool.map(one, list(zip(records, rows, strict=True)) * times):
                    pass

        return work

    def reading(times: int, cache: PixelCache | None) -> Callable[[], None]:
        return in_threads(lambda one: read_row(*one, cache), times)

    vectors: dict[str, Any] = {}

    def embedding(atlas: Path) -> Callable[[], None]:
        def work() -> None:
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(atlas, copy, copy_function=os.link)  # nothing in it is written in place
            summary = embed(atlas=copy, request=EncoderRequest(name=encoder, **OTHER_PLAN), levels=("fov",))
            held = Store.open(copy).read_vectors(summary.encoders["fov"].table)
            vectors[atlas.name] = (held.ids, held.digests, held.vectors.tobytes())

        return work

    cache = PixelCache(store.folder)
    many, few = 1 + 128 // len(rows), 1
    ways = {
        "files": reading(many, None), "files, started": reading(few, None),
        "pack": reading(many, cache), "pack, started": reading(few, cache),
    }  # fmt: skip
    if is_tiff := all(source.path.suffix == ".tif" for record in records for source in record.sources):
        torch.set_num_threads(1)  # as those have that read
        ways["plain"] = in_threads(lambda one: plain_input(one[0].sources[0].path), many - few)
    read = in_turns(ways, rounds)
    torch.set_num_threads(n_threads)
    n = (many - few) * len(rows)
    rate = {way: n / (read[way][0] - read[f"{way}, started"][0]) for way in ("files", "pack")}
    core = {way: 1000 * (read[way][1] - read[f"{way}, started"][1]) / n for way in ("files", "pack")}
    embedded = in_turns({"files": embedding(plain), "pack": embedding(packed)}, rounds)
    return {
        "images": f"{what} ({len(rows)})",
        "read: core ms, files": round(core["files"], 2),
        "read: core ms, pack": round(core["pack"], 2),
        "plain input: core ms": round(1000 * read["plain"][1] / n, 2) if is_tiff else None,
        "x, pack read only": round(1000 * read["plain"][1] / n / core["pack"], 2) if is_tiff else None,
        "read: images/s, files": round(rate["files"]),
        "read: images/s, pack": round(rate["pack"]),
        "embed: core ms, files": round(1000 * embedded["files"][1] / len(rows), 1),
        "embed: core ms, pack": round(1000 * embedded["pack"][1] / len(rows), 1),
        "bytes an image, files": sum(one.path.stat().st_size for r in records for one in r.sources) // len(rows),
        "bytes an image, pack": took.bytes // len(rows),
        "same vectors": vectors["plain"] == vectors["packed"],
    }


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=Path, help="folder hpa_kaggle_fovs")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encoder", default="locatlas_pico.untrained")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tif").mkdir()
        write_fields(folder / "tif", given.images)
        (folder / "deflated").mkdir()
        shutil.copy(folder / "tif" / "manifest.csv", folder / "deflated")
        for path in sorted((folder / "tif").glob("*.tif")):
            tifffile.imwrite(
                folder / "deflated" / path.name, np.asarray(tifffile.imread(path)), compression="zlib", predictor=True,
                photometric="minisblack", planarconfig="separate", metadata={"axes": "CYX"},
            )  # fmt: skip
        sources = [("TIFF, plain", folder / "tif", "manifest"), ("TIFF, deflated", folder / "deflated", "manifest")]
        if given.fields is not None:
            sources.append(("4 PNG", given.fields, "hpa-kaggle"))
        rows = [measured(*source, given.encoder, given.rounds, folder) for source in sources]
        show(f"{given.encoder}, {os.cpu_count()} cores", rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What decoding in processes of their own costs: reading alone and whole index runs, side by side.

    python scripts/bench/decoding.py [--images 200] [--rounds 5] [--encoder NAME]

Made fields like OpenCell's (600 x 600, two channels, uint16) are read by as many threads as `locatlas index` has, once
in this process and once in decoders, in turns; then the same collection is indexed both ways, in turns. Told are the
median seconds of the rounds and their quotient. The vectors of both ways are compared, byte by byte.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.files import decoding, images
from locatlas.indexer.index import index
from locatlas.indexer.pixel_cache import reading as path_of_index
from locatlas.indexer.records import ImageRecord, Source

CHANNELS = ("nucleus", "protein")
EDGE_PX = 600


def write(folder: Path, n_images: int, compression: str | None) -> list[ImageRecord]:
    """Fields with smooth structure and noise, as a camera has them."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:EDGE_PX, :EDGE_PX] / EDGE_PX
    records = []
    lines = ["path,channels,protein,id"]
    for n in range(n_images):
        planes = [
            800 + 3000 * np.sin(7 * (n + 1) * x + c) ** 2 * np.cos(5 * y + n) ** 2 + rng.normal(0, 60, y.shape)
            for c in range(2)
        ]
        path = folder / f"{n:05d}.tif"
        pixels = np.clip(planes, 0, 65535).astype(np.uint16)
        tifffile.imwrite(path, pixels, imagej=compression is None, metadata={"axes": "CYX"}, compression=compression)
        records.append(ImageRecord(id=f"bench/{n}", level="fov", dataset="bench", sources=(Source(path, CHANNELS),)))
        lines.append(f"{path.name},nucleus;protein,P{n % 20},{n}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return records


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; the order is turned round after each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(rounds):
        for name in sorted(ways, reverse=bool(n % 2)):
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def told(what: str, seconds: dict[str, list[float]], n_images: int) -> None:
    """Print one line a way, and what the second costs over the first."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        spread = f"{min(seconds[name]):.3f} to {max(seconds[name]):.3f}"
        print(f"{what:32} {name:12} {value:7.3f} s ({spread})  {n_images / value:7.1f} images/s")
    here, apart = medians["here"], medians["apart"]
    print(f"{what:32} in decoders: {100 * (apart / here - 1):+.1f} % time")


def reading(records: Sequence[ImageRecord], read: Callable[[ImageRecord], Any]) -> None:
    """Read all with the threads that `index` has."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(read, records):
            pass


def indexing(folder: Path, encoder: str, read: Callable[[ImageRecord], Any], keep: dict[str, Any]) -> None:
    """Index into a new atlas with a reader of images."""
    import locatlas

    before, path_of_index.read_image = path_of_index.read_image, read
    try:
        with tempfile.TemporaryDirectory() as target:
            atlas = Path(target) / "atlas"
            index(folder, atlas=atlas, dataset="manifest", request=EncoderRequest(name=encoder))
            ids, vectors = locatlas.open(atlas).embeddings(level="fov")
            keep[read.__module__] = (tuple(ids), vectors.tobytes())
    finally:
        path_of_index.read_image = before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encoder", default="locatlas_pico.untrained")
    asked = parser.parse_args()
    print(f"{asked.images} fields of {EDGE_PX} x {EDGE_PX} x 2 uint16, {os.cpu_count()} cores, {asked.rounds} rounds")
    for compression in (None, "zlib"):
        with tempfile.TemporaryDirectory() as name:
            records = write(Path(name), asked.images, compression)
            kind = compression or "uncompressed"
            reading(records, decoding.read_image)  # decoders are started, files are in memory
            ways = {
                "here": lambda r=records: reading(r, images.read_image),
                "apart": lambda r=records: reading(r, decoding.read_image),
            }
            told(f"reading, {kind}", in_turns(ways, asked.rounds), asked.images)
            kept: dict[str, Any] = {}
            runs = {
                "here": lambda f=Path(name), k=kept: indexing(f, asked.encoder, images.read_image, k),
                "apart": lambda f=Path(name), k=kept: indexing(f, asked.encoder, decoding.read_image, k),
            }
            in_turns(runs, 1)  # the network is loaded once before
            told(f"index, {kind}, {asked.encoder}", in_turns(runs, asked.rounds), asked.images)
            same = len(set(kept.values())) == 1 if len(kept) == 2 else False
            print(f"vectors of both ways are {'the same, byte by byte' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()

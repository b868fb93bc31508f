"""Whether a long run stays small: resident memory, files and versions while 100,000 images are indexed and embedded.

Run as `python scripts/bench/memory.py --json docs/measured/memory.json --plot docs/figures/memory.svg`. Made OpenCell
fields of 2 x 64 x 64, twenty of them drawn and the others links to these under names of their own;
`locatlas_pico.untrained` with an input of 32 px. Each run is a process of its own, which tells of itself, each time a
number of images was embedded: its resident memory (and how much of it is no file's), what Arrow holds, and the files
and versions of the atlas.

- commits: made rows, pictures and vectors, 256 a commit, by the code of `index` into a new atlas: the store alone,
  without files, decoders and network, in minutes instead of an hour
- index: the folder into a new atlas
- reembed: the same images by a second encoder, from their rows in the atlas
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import tifffile

from locatlas.indexer import allocator
from locatlas.indexer.commits import Commits, Done, Loaded, Pending
from locatlas.indexer.embed import reembed
from locatlas.indexer.index import index
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.tables import Store
from locatlas.models.encode import resolve

EDGE_PX = 64
INPUT_PX = 32
DRAWN = 20
COMMITTED = 256  # rows a commit of made rows: four times as many commits as `index` makes of fast images
DIM = 192
PICTURE_BYTES = 1200
TOLD = (1000, 10_000, 20_000, 50_000, 100_000)


def make_source(folder: Path, n: int) -> Path:
    """So many fields, of which twenty are different."""
    folder.mkdir(parents=True)
    drawn = []
    for seed in range(DRAWN):
        drawn.append(folder.parent / f"{seed}.tif")
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, EDGE_PX, EDGE_PX)).astype("uint16")
        tifffile.imwrite(drawn[-1], pixels, imagej=True, metadata={"axes": "CYX"})
    for i in range(n):
        os.link(drawn[i % DRAWN], folder / f"OC-FOV_GENE{i}_ENSG{i:011d}_CID{i:06d}_FID{i:08d}_proj.tif")
    return folder


def add_encoder(store: Store, seed: int) -> StoredEncoder:
    """An encoder that costs little, as one that is to be built."""
    spec = resolve("locatlas_pico.untrained", mapping="random", seed=seed).with_changes(input_px=INPUT_PX)
    added = StoredEncoder("fov", spec, "building")
    with store.folder.writer("bench"):
        encoders.put(store, added)
    return added


def memory() -> dict[str, float]:
    """Megabytes of this process."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    megabytes = {name: int(said[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")}
    return {
        "rss_mb": round(megabytes["VmRSS"], 1),
        "anonymous_mb": round(megabytes["RssAnon"], 1),
        "arrow_mb": round(pa.total_allocated_bytes() / 2**20, 1),
    }


def on_disk(atlas: Path) -> dict[str, int]:
    """Files and bytes of an atlas, and versions of its tables."""
    files = [path for path in atlas.rglob("*") if path.is_file()]
    return {
        "files": len(files),
        "versions": sum(path.parent.name == "_versions" for path in files),
        "fragments": sum(path.parent.name == "data" for path in files),
        "bytes": sum(path.stat().st_size for path in files),
    }


class Watch:
    """Notes memory and files each time so many more images were embedded."""

    def __init__(self, atlas: Path, every: int) -> None:
        self.atlas, self.every, self.began = atlas, every, time.perf_counter()
        self.seen = [{"records": 0, "stage": "start", **memory(), **on_disk(atlas)}]

    def __call__(self, what: str, done: int, total: int) -> None:
        """The progress of a run."""
        if what == "embedding" and (done // self.every > self.seen[-1]["records"] // self.every or done == total):
            self.note(what, done)
        elif what == "loading encoder":
            self.note(what, 0)

    def note(self, stage: str, done: int) -> None:
        """One line."""
        seconds = round(time.perf_counter() - self.began, 1)
        line = {"records": done, "stage": stage, "seconds": seconds, **memory(), **on_disk(self.atlas)}
        self.seen.append(line)
        print(json.dumps(line), file=sys.stderr, flush=True)


def made_row(n: int, picture: bytes) -> Loaded:
    """An image as it is once it was read, with the columns that a reader of OpenCell fills."""
    row = {
        "id": f"opencell/FID{n:08d}",
        "dataset": "opencell",
        "protein": f"GENE{n}",
        "ensembl_id": f"ENSG{n:011d}",
        "cell_line": "HEK293T",
        "channels": ["nucleus", "protein"],
        "pixel_size_um": 0.206,
        "localizations": [],
        "graded": [],
        "groups": [{"name": "line", "value": f"CID{n:06d}"}],
        "metadata": [],
        "root": "opencell",
        "sources": [{"path": f"OC-FOV_GENE{n}_FID{n:08d}_proj.tif", "channels": ["nucleus", "protein"]}],
        "row": None,
    }
    digest = hashlib.blake2b(str(n).encode(), digest_size=16).hexdigest()
    read = {"height": EDGE_PX, "width": EDGE_PX, "source_digest": digest, "source_stat": "17000:1", "qc": []}
    # commits look at the row alone
    pending = Pending(n, cast(ImageRecord, None), row, "17000:1", "tried")
    return Loaded(pending, {**row, **read, "thumbnail": picture}, None)


def run_commits(given: argparse.Namespace, watch: Watch) -> None:
    """Made rows into a new atlas."""
    allocator.few_arenas()
    store, random = Store.create(given.atlas), np.random.default_rng(0)
    with store.folder.writer("bench"), Run.record(store, "index", dataset="opencell") as run:
        commits = Commits(store, "fov", "f" * 64, run, Quarantine(store))
        watch("loading encoder", 0, given.records)
        for start in range(0, given.records, COMMITTED):
            stop = min(start + COMMITTED, given.records)
            images = [made_row(n, random.bytes(PICTURE_BYTES)) for n in range(start, stop)]
            commits.put(Done(images, [random.standard_normal((len(images), DIM)).astype(np.float32)]))
            watch("embedding", stop, given.records)


def run_index(given: argparse.Namespace, watch: Watch) -> None:
    """The folder into the atlas."""
    index(given.source, atlas=given.atlas, dataset="opencell", progress=watch)


def run_reembed(given: argparse.Namespace, watch: Watch) -> None:
    """All images by a second encoder."""
    reembed(atlas=given.atlas, encoder=add_encoder(Store.open(given.atlas), 2).fingerprint, progress=watch)


RUNS: dict[str, Callable[[argparse.Namespace, Watch], None]] = {
    "commits": run_commits,
    "index": run_index,
    "reembed": run_reembed,
}


def child(given: argparse.Namespace) -> None:
    """One run, told on stdout."""
    watch = Watch(given.atlas, given.every)
    RUNS[given.run](given, watch)
    watch.note("end", watch.seen[-1]["records"])
    print(json.dumps(watch.seen))


def in_a_process(run: str, source: Path, atlas: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """What a run told of itself."""
    words = ["--run", run, "--source", source, "--atlas", atlas, "--records", given.records, "--every", given.every]
    done = subprocess.run([sys.executable, __file__, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All runs."""
    source, atlas = folder / "made" / "source", folder / "atlas"
    if set(given.runs) - {"commits"}:
        make_source(source, given.records)
        add_encoder(Store.create(atlas), 1)
    found: dict[str, Any] = {"records": given.records}
    for run in given.runs:
        found[run] = in_a_process(run, source, folder / "commits" if run == "commits" else atlas, given)
    found["machine"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    return found


def print_found(found: dict[str, Any]) -> None:
    """The table, and what a record costs."""
    print(f"{'run':8} {'records':>8} {'RSS MB':>7} {'anon MB':>8} {'Arrow MB':>9} {'files':>6} {'versions':>9}")
    for run in (name for name in RUNS if name in found):
        embedding = [line for line in found[run] if line["stage"] == "embedding"]
        told = [next((line for line in embedding if line["records"] >= n), None) for n in TOLD]
        for line in [found[run][0], *(line for line in told if line is not None), found[run][-1]]:
            print(
                f"{run:8} {line['records']:8} {line['rss_mb']:7.0f} {line['anonymous_mb']:8.0f} "
                f"{line['arrow_mb']:9.0f} {line['files']:6} {line['versions']:9}"
            )
        loading = next(line for line in found[run] if line["stage"] == "loading encoder")
        kept = (loading["rss_mb"] - found[run][0]["rss_mb"]) * 2**20 / found["records"]
        settled = [line for line in embedding if line["records"] >= found["records"] / 10]
        x, y = ([line[name] for line in settled] for name in ("records", "rss_mb"))
        slope = np.polyfit(x, y, 1)[0] * 2**20 if len(settled) > 2 else float("nan")
        print(f"{run}: before the first image {kept:.0f} bytes a record; then {slope:+.0f} bytes a record embedded")


def draw(found: dict[str, Any], path: Path) -> None:
    """Memory and files over images."""
    from locatlas.query.figures import new_panels, write_figure

    figure, panels = new_panels(2, 1, size=(6.0, 5.0), heights=[3, 2])
    for run in (name for name in RUNS if name in found):
        lines = [line for line in found[run] if line["stage"] == "embedding"]
        records = [line["records"] for line in lines]
        panels[0][0].plot(records, [line["rss_mb"] for line in lines], label=run)
        panels[0][0].plot(records, [line["anonymous_mb"] for line in lines], label=f"{run}: no file's")
        panels[1][0].plot(records, [line["files"] for line in lines], label=run)
    for axes, name in ((panels[0][0], "memory (MB)"), (panels[1][0], "files in the atlas")):
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
    panels[0][0].legend(frameon=False)
    panels[1][0].set_xlabel("images embedded")
    write_figure(figure, path)


def main() -> None:
    """Measure and print; with --json and --plot also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS), help="which; reembed needs index")
    parser.add_argument("--every", type=int, default=1000, help="images between two looks")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--run", choices=sorted(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--atlas", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        child(given)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = measure(Path(name), given)
    print_found(found)
    if given.json:
        given.json.write_text(json.dumps(found) + "\n")
    if given.plot:
        draw(found, given.plot)


if __name__ == "__main__":
    main()

"""What re-embedding costs after 1 % of the images are new, against the whole collection: seconds of the command.

Run as `python scripts/bench/reembed.py --images 2000`. Made OpenCell fields, some of them drawn and the others links to
these under names of their own: what is measured is reading, embedding and committing, which know nothing of that. Each
time is that of `locatlas reembed` as a process of its own, start and imports included:

- full: every image by an encoder that is new to the atlas
- one_percent: so many new images were indexed while another encoder was current; the first one catches up
- nothing: the same command once more, which finds nothing to do; start, imports and two columns of two tables
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from locatlas.indexer import encoders
from locatlas.indexer.embed import embed
from locatlas.indexer.encoders import EncoderRequest, StoredEncoder
from locatlas.indexer.index import index
from locatlas.indexer.store import Store
from locatlas.indexer.synthetic.collection import make_collection


def link_fields(drawn: list[Path], folder: Path, first: int, n: int) -> None:
    """So many fields with names of their own, beginning with number `first`."""
    folder.mkdir(exist_ok=True)
    for i in range(first, first + n):
        name = f"OC-FOV_GENE{i}_ENSG{i:011d}_CID{i:06d}_FID{i:08d}_proj.tif"
        os.link(drawn[i % len(drawn)], folder / name)


def command(*words: str | Path) -> tuple[float, dict[str, Any]]:
    """Seconds of a locatlas command, and its document."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "locatlas", *map(str, words), "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - start, json.loads(done.stdout)


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.01, help="of new images")
    parser.add_argument("--encoder", default=encoders.DEFAULT_ENCODER)
    parser.add_argument("--px", type=int, default=600, help="edge of a field")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = measure(Path(name), given)
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All times, with what each run did."""
    made = make_collection(
        folder / "drawn", proteins_per_class=1, fovs_per_protein=1, hpa_proteins_per_class=0, opencell_px=given.px
    )
    drawn = sorted(made.opencell.rglob("*_proj.tif"))
    source, atlas, n_new = folder / "source", folder / "atlas", round(given.share * given.images)
    link_fields(drawn, source, 0, given.images)
    before = EncoderRequest(name=given.encoder, mapping="random", seed=1)
    index(source, atlas=atlas, dataset="opencell", request=before)
    store = Store.open(atlas)
    now = encoders.current(store, "fov")
    assert now is not None
    new = StoredEncoder("fov", now.spec.with_changes(mapping="natural", mapping_seed=None), "building")
    with store.folder.writer("bench"):
        encoders.put(store, new)
    reembed = ("reembed", "--atlas", atlas, "--encoder", new.fingerprint)
    full_s, full = command(*reembed)
    embed(atlas=atlas, request=before)  # current again, at no cost
    link_fields(drawn, source, given.images, n_new)
    index(source, atlas=atlas, dataset="opencell")
    some_s, some = command(*reembed)
    nothing_s, nothing = command(*reembed)
    assert (full["embedded"], some["embedded"], nothing["embedded"]) == (given.images, n_new, 0)
    loading_s = some["timings_s"]["load encoder"]
    work = (some_s - nothing_s - loading_s) / (full_s - nothing_s - full["timings_s"]["load encoder"])
    return {
        "encoder": given.encoder,
        "images": given.images,
        "new_images": n_new,
        "full_s": round(full_s, 2),
        "one_percent_s": round(some_s, 2),
        "ratio": round(some_s / full_s, 4),
        "fixed_s": {
            "nothing to do: start, imports, listing": round(nothing_s, 2),
            "load encoder": round(loading_s, 2),
        },
        "ratio_without_fixed": round(work, 4),
        "images_per_s": round(given.images / full_s, 1),
        "stages_full_s": full["timings_s"],
        "stages_one_percent_s": some["timings_s"],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }


if __name__ == "__main__":
    main()

"""What re-embedding costs after 1 % of the images are new, against the whole collection: seconds of the command.

Run as `python scripts/bench/reembed.py --images 2000`. Made OpenCell fields, some of them drawn and the others links to
these under names of their own: what is measured is reading, embedding and committing, which know nothing of that. Each
time is that of `locatlas reembed` as a process of its own, start and imports included:

- full: every image by an encoder that is new to the atlas
- one_percent: so many new images were indexed while another encoder was current; the first one catches up
- single: the same with one new image: what every run costs that embeds anything (start, imports, loading the encoder,
  the first commit), beside its work
- nothing: the same command once more, which finds nothing to do: start, imports, and the listing of all images
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locatlas.indexer import encoder_choice
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
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
    parser.add_argument("--encoder", default=encoder_choice.DEFAULT_ENCODER)
    parser.add_argument("--px", type=int, default=600, help="edge of a field")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = measure(Path(name), given)
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def catch_up(
    reembed: Sequence[str | Path],
    before: EncoderRequest,
    drawn: list[Path],
    source: Path,
    atlas: Path,
    first: int,
    n: int,
) -> tuple[float, dict[str, Any]]:
    """Seconds and document of a re-embedding after so many images were indexed with the encoder before."""
    embed(atlas=atlas, request=before)  # current again, at no cost
    link_fields(drawn, source, first, n)
    index(source, atlas=atlas, dataset="opencell")
    return command(*reembed)


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
    single_s, single = catch_up(reembed, before, drawn, source, atlas, given.images, 1)
    some_s, some = catch_up(reembed, before, drawn, source, atlas, given.images + 1, n_new)
    nothing_s, nothing = command(*reembed)
    assert [d["embedded"] for d in (full, single, some, nothing)] == [given.images, 1, n_new, 0]
    return {
        "encoder": given.encoder,
        "images": given.images,
        "new_images": n_new,
        "full_s": round(full_s, 2),
        "one_percent_s": round(some_s, 2),
        "ratio": round(some_s / full_s, 4),
        "single_image_s": round(single_s, 2),
        "nothing_s": round(nothing_s, 2),
        "ratio_beyond_the_fixed_cost": round((some_s - single_s) / (full_s - single_s), 4),
        "images_per_s": round(given.images / full_s, 1),
        "stages_full_s": full["timings_s"],
        "stages_single_image_s": single["timings_s"],
        "stages_one_percent_s": some["timings_s"],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }


if __name__ == "__main__":
    main()

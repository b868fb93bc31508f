"""Does the shipped encoder see more than chance, than itself untrained, and than raw pixels? k-NN on made images.

Run as `python scripts/check_pico.py FOLDER`, FOLDER being where the made images go (made if they are not there): fields
of another seed than the encoder was trained on, so other proteins. With `--hpa-cells FOLDER` also on 485 real single
cells (the collection that docs/real-data.md describes), where nothing promises anything.

Everything is leave-group-out: a field is classified by fields of other proteins. Raw pixels are the protein channel,
stretched as the encoders stretch it, reduced to 32 x 32.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hpa_cells import read_cells
from numpy.typing import NDArray

from locatlas.indexer.datasets import read_records
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.synthetic import make_collection
from locatlas.models.encode import load_encoder, resolve
from locatlas.models.transforms import network_input
from locatlas.query.sweep.every_k import sweep
from locatlas.types import ChannelImage

SEED = 2002
"""Of the made test images; the demo's are 0, those that the encoder was trained on 1001."""

PROTEINS, FIELDS = 6, 3
KS = (1, 5, 10, 20)
SHIPPED = "locatlas_pico.synthetic"
UNTRAINED = ("seed:0", "seed:1", "seed:2")
"""The shipped architecture with random weights of these seeds."""

Collection = tuple[list[str], list[str], list[tuple[str, ...]], list[ChannelImage]]
"""Ids, groups, localizations, images."""


def made_fields(folder: Path, look: str) -> Collection:
    """The fields of one look, those with a single localization."""
    if not (folder / look).is_dir():
        make_collection(
            folder,
            seed=SEED,
            proteins_per_class=PROTEINS,
            fovs_per_protein=FIELDS,
            hpa_proteins_per_class=PROTEINS,
            hpa_fovs_per_protein=FIELDS,
        )
    records = [r for r in read_records(look, folder / look, options={}) if isinstance(r, ImageRecord)]
    records = [r for r in records if r.level == "fov" and len(r.localizations) == 1]
    images = [read_image(r)[0] for r in records]
    return [r.id for r in records], [str(r.protein) for r in records], [r.localizations for r in records], images


def hpa_cells(folder: Path) -> Collection:
    """Real single cells, one localization each; a group is the composite that they were cut from."""
    ids, groups, labels, images = read_cells(folder)
    return ids, groups, [(label,) for label in labels], images


def encoded(name: str, images: Sequence[ChannelImage], stains: tuple[str, ...]) -> NDArray[np.float32]:
    """Vectors by an encoder; `seed:N` is the shipped architecture with random weights of that seed."""
    if name.startswith("seed:"):
        spec = resolve(SHIPPED, stains=stains).with_changes(weights_sha256=name)
    else:
        spec = resolve(name, stains=stains)
    return load_encoder(spec).encode(images, batch_size=16)


def raw_pixels(images: Sequence[ChannelImage]) -> NDArray[np.float32]:
    """The protein channel as 32 x 32 numbers."""
    spec = resolve(SHIPPED, stains=("protein",)).with_changes(input_px=32, slots=("protein",), mean=None, std=None)
    return np.stack([network_input(image, spec, patch_px=1).numpy().reshape(-1) for image in images])


def table(title: str, collection: Collection, names: Sequence[str]) -> None:
    """Print macro F1 and accuracy at every k."""
    ids, groups, labels, images = collection
    vectors = {"32 x 32 protein pixels": raw_pixels(images)}
    for name in names:
        vectors[f"{name}, all channels"] = encoded(name, images, ())
        vectors[f"{name}, protein only"] = encoded(name, images, ("protein",))
    print(f"\n{title}: {len(ids)} images, {len(set(groups))} groups, {len(set(labels))} classes")
    print("| | " + " | ".join(f"k = {k}" for k in KS) + " |")
    print("|---" * (len(KS) + 1) + "|")
    for name, rows in vectors.items():
        found = sweep(rows, labels, groups, ids, ks=KS, group="group", protocol="leave-group-out", labels_mode="single")
        scores = [f"{r.macro_f1:.3f} / {r.accuracy:.3f}" for r in found.results]
        print(f"| {name} | " + " | ".join(scores) + " |", flush=True)


def main() -> None:
    """Check the encoders on made fields, and on real cells where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the made images are or go")
    parser.add_argument("--hpa-cells", type=Path, help="folder of real single cells")
    parser.add_argument(
        "--encoder", action="append", help="registry names; default: the shipped one and untrained ones"
    )
    chosen = parser.parse_args()
    names = chosen.encoder or [SHIPPED, *UNTRAINED]
    print("macro F1 / accuracy, leave-group-out, uniform votes")
    for look in ("opencell", "hpa"):
        table(f"Made fields, {look} look", made_fields(chosen.folder, look), names)
    if chosen.hpa_cells:
        table("Real HPA single cells", hpa_cells(chosen.hpa_cells), names)


if __name__ == "__main__":
    main()

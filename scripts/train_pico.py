"""Train the encoder that locatlas ships, `locatlas_pico.synthetic`, on made images, from random weights.

Run as `python scripts/train_pico.py FOLDER`. FOLDER gets the made images, the run with its log and checkpoint (a run
that was stopped continues), and the figure of its losses. With `--ship` the weights, in float16, and the record of the
training go to `models/shipped/`, and the log to `docs/pico/`. No real image is involved.

Fields of both looks are seen at twice the resolution that the encoder gets whole fields in, so that crops show
anything from a few organelles to a whole field. OpenCell-like fields have two channels and HPA-like ones four; channels
other than the protein are dropped at random, so that one network takes any of them.

`--objective supervised` learns the localizations of the made proteins; the shipped encoder is made so. `--objective
dino` learns without labels. What both came to is told in docs/pico/README.md.
"""

import argparse
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from locatlas.indexer.datasets import read_records
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.labels import get_label_map
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.ledger import versions
from locatlas.indexer.synthetic import make_collection
from locatlas.models import registry, vit, weights
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.augment import Augmentation
from locatlas.models.training.dino import DinoObjective, DinoOptions
from locatlas.models.training.loop import train
from locatlas.models.training.manifest import TrainingManifest
from locatlas.models.training.objective import Objective
from locatlas.models.training.plan import TrainingPlan
from locatlas.models.training.supervised import SupervisedObjective
from locatlas.models.transforms import resize_and_crop, scale_intensity

SEED = 1001
"""Of the made images; the demo's are 0, those of check_pico.py 2002."""

PROTEINS, FIELDS = 20, 4
"""Per localization; fields of each protein, in each look."""

NAME = "locatlas_pico.synthetic"
SHIPPED = Path(__file__).resolve().parents[1] / "models" / "shipped"
RECORD = Path(__file__).resolve().parents[1] / "docs" / "pico"
PLANES_PX = 448
OPTIONS = DinoOptions(
    global_px=96,
    n_local=0,
    global_scale=(0.15, 0.6),
    balance="sinkhorn",
    prototypes=256,
    hidden=512,
    bottleneck=128,
    batch_norm=True,
    momentum=0.99,
    drop_channel=0.5,
    drop_most=3,
)
"""Crops at about the scale of pixels that embedding a whole field has, and up to three times closer; so few images and
steps want fewer prototypes and a quicker teacher than a million images."""

CROP_PX = 112
CROPS = Augmentation(scale=(0.2, 0.7), drop_channel=0.5, drop_most=3)

SLOTS = ("microtubules", "protein", "nucleus", "er")


class MadeImages:
    """The fields of both looks, held in memory with 8 bits a pixel: 1.5 GB for 2,400.

    Args:
        folder: Of a made collection.
    """

    channels = SLOTS

    def __init__(self, folder: Path) -> None:
        spec = registry.get(NAME).with_changes(input_px=PLANES_PX)

        to_opencell = get_label_map("hpa->opencell")

        def load(record: ImageRecord) -> tuple[str, tuple[str, ...], NDArray[np.uint8]]:
            image, _ = read_image(record)
            planes = resize_and_crop(torch.from_numpy(scale_intensity(image.pixels, spec)), spec)
            return record.id, image.channels, (planes.clamp(0, 1) * 255).round().to(torch.uint8).numpy()

        records = [r for look in ("opencell", "hpa") for r in read_records(look, folder / look, options={})]
        fields = [r for r in records if isinstance(r, ImageRecord) and r.level == "fov" and len(r.localizations) == 1]
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(load, fields))
        self.ids = [i for i, _, _ in found]
        kept = set(to_opencell.target.labels)
        of = [r.localizations[0] for r in fields]
        self.classes = [name if name in kept else min(to_opencell.apply({name}).labels) for name in of]
        self._channels = [names for _, names, _ in found]
        self._planes = [planes for _, _, planes in found]

    def __len__(self) -> int:
        return len(self.ids)

    def channels_of(self, i: int) -> tuple[str, ...]:
        """Those of the look."""
        return self._channels[i]

    def planes(self, i: int) -> Tensor:
        """Float32, (channels, 448, 448), in [0, 1]."""
        return torch.from_numpy(self._planes[i]).float() / 255


def made_objective(name: str, spec: EncoderSpec, images: MadeImages, seed: int) -> Objective:
    """The network with random weights, and what it is to learn."""
    network = vit.build(spec, any_size=True)
    vit.seed_weights(network, seed)
    if name == "dino":
        dino = DinoObjective(network, spec, images, options=OPTIONS, seed=seed)
        for part in (dino.module.student, dino.module.teacher):
            part.compile(dynamic=False)  # twice as fast for a network this small
        return dino
    classes = sorted(set(images.classes))
    targets = np.array([[name == of for name in classes] for of in images.classes])
    supervised = SupervisedObjective(
        network, spec, images, targets, layer_decay=1.0, augmentation=CROPS, crop_px=CROP_PX, smoothing=0.1, seed=seed
    )
    supervised.module.network.compile(dynamic=False)
    return supervised


def main() -> None:
    """Make the images, train, and put the encoder where it is shipped from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objective", choices=("supervised", "dino"), default="supervised")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seed", type=int, default=0, help="of weights and augmentations")
    parser.add_argument("--run", default="run", help="name of the run's folder")
    parser.add_argument("--ship", action="store_true", help="put the result into models/shipped and docs/pico")
    chosen = parser.parse_args()
    if not (chosen.folder / "images").is_dir():
        making = chosen.folder / "images.part"
        make_collection(
            making,
            seed=SEED,
            proteins_per_class=PROTEINS,
            fovs_per_protein=FIELDS,
            hpa_proteins_per_class=PROTEINS,
            hpa_fovs_per_protein=FIELDS,
        )
        making.rename(chosen.folder / "images")
    images = MadeImages(chosen.folder / "images")
    spec = registry.get(NAME)
    plan = TrainingPlan(
        steps=chosen.steps,
        batch_size=chosen.batch_size,
        lr=chosen.lr,
        precision=chosen.precision,
        seed=chosen.seed,
    )
    objective = made_objective(chosen.objective, spec, images, chosen.seed)
    run = chosen.folder / chosen.run
    result = train(objective, plan, run)
    half = {name: tensor.half() for name, tensor in result.encoder_state.items()}
    digest = weights.save(half, run / f"{NAME}.safetensors")
    manifest = TrainingManifest(
        encoder=NAME,
        weights_sha256=digest,
        objective=chosen.objective,
        level="fov",
        group="protein",
        images=(),  # made ones, whose names are those of any other seed's
        seed=chosen.seed,
        split_seed=SEED,
        options={"plan": plan.to_dict(), "images": f"made, seed {SEED}: {len(images)} fields"},
        metrics=result.metrics,
        versions=versions(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    (run / f"{NAME}.training.json").write_text(manifest.to_json() + "\n")
    print(json.dumps({"sha256": digest, **result.metrics}, indent=1))
    if chosen.ship:
        for folder, names in ((SHIPPED, [f"{NAME}.safetensors", f"{NAME}.training.json"]), (RECORD, ["log.jsonl"])):
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.copy(run / name, folder / name)


if __name__ == "__main__":
    main()

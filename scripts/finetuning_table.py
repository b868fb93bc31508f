"""Frozen against fine-tuned, by the share of the training data: real weights on 485 real cells.

Run as `python scripts/finetuning_table.py DATA RESULTS`, DATA being the collection that docs/real-data.md describes.
One line of JSON a run is appended to RESULTS; runs that are there already are not made again, so the script can be
stopped and started. `--print` only prints the table of RESULTS. Hours on two CPU cores.

For each seed a third of the groups (composites) of every class is held out. Of the others a fraction is drawn, nested
and at least one group of each class. The encoder is fine-tuned on these cells alone, by their labels (`supervised`) or
without (`dino`), or left as it is (`frozen`). Its vectors of the held-out cells are then judged in two ways: by their
nearest neighbors among the cells of the fraction, and by a linear head trained on these. A validation part of the
fraction, of other groups, stops both trainings. Nothing has seen the held-out cells.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hpa_cells import read_cells
from numpy.typing import NDArray
from torch import Tensor

from locatlas.models import vit, weights
from locatlas.models.encode import Encoder
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.augment import Augmentation
from locatlas.models.training.dino import DinoObjective, DinoOptions
from locatlas.models.training.fit_head import HeadPlan, fit_head
from locatlas.models.training.loop import train
from locatlas.models.training.objective import Objective
from locatlas.models.training.plan import TrainingPlan
from locatlas.models.training.planes import training_planes
from locatlas.models.training.splits import fraction_of, hold_out
from locatlas.models.training.supervised import SupervisedObjective
from locatlas.query.answers.vote import predict_single, vote
from locatlas.query.scores.metrics import Counts, balanced_accuracy, macro_f1
from locatlas.query.search.exact import search
from locatlas.types import ChannelImage

WEIGHTS = "weights/vit_small_patch14_dinov2.fp16.safetensors"
SPEC = EncoderSpec(
    name="vit_small_patch14_dinov2.imgfocus-cells",
    architecture="vit_small_patch14_dinov2",
    slots=("microtubules", "protein", "nucleus"),
    input_px=224,
    embedding_dim=768,
    pooling="cls_spread",
    block=8,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    mapping="replicate",
    passes="separate",
    stains=("protein",),
    precision="bf16",
)
"""The better plan for single cells of docs/cells.md, looked at from one side instead of four, which takes a quarter."""

FRACTIONS = (1.0, 0.2, 0.6, 0.4, 0.8)
SEEDS = (0, 1, 2)
HELD_OUT, VALIDATION = 1 / 3, 0.15
KS = (1, 5, 9)
BLOCKS = 4
SUPERVISED = {"epochs": 6.0, "batch_size": 16, "lr": 1e-4, "patience": 3}
SUPERVISED_CROP_PX = 168
SUPERVISED_CROPS = Augmentation(scale=(0.35, 0.85))
DINO = {"epochs": 4.0, "batch_size": 16, "lr": 3e-5}
DINO_OPTIONS = DinoOptions(global_px=112, local_px=56, n_local=2, global_scale=(0.15, 0.6), local_scale=(0.04, 0.15))
"""Crops smaller than the input, at about its scale of pixels, and few passes: what two CPU cores do in two hours."""


class Cells:
    """Some of the cells as a training takes them."""

    channels = ("protein",)

    def __init__(self, planes: Sequence[Tensor]) -> None:
        self._planes = planes

    def __len__(self) -> int:
        return len(self._planes)

    def channels_of(self, i: int) -> tuple[str, ...]:
        """The protein."""
        return self.channels

    def planes(self, i: int) -> Tensor:
        """Float32, (1, 224, 224)."""
        return self._planes[i].float()


class Bench:
    """The cells, and what is measured on them."""

    def __init__(self, data: Path) -> None:
        ids, self.groups, labels, self.images = read_cells(data / "hpa_cells")
        self.classes = sorted(set(labels))
        self.table = np.array([[label == name for name in self.classes] for label in labels])
        self.ids = ids
        self.planes = [training_planes(image, ("protein",), SPEC) for image in self.images]
        self.state = weights.load_state(data / WEIGHTS)
        self.path = data / WEIGHTS
        self._frozen: NDArray[np.float32] | None = None

    def network(self, spec: EncoderSpec, *, any_size: bool) -> torch.nn.Module:
        """With the real weights."""
        network = vit.build(spec, any_size=any_size)
        weights.fill_from(network, self.state, self.path)
        return network

    def vectors(self, tuned: dict[str, Tensor] | None, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of some cells, by tuned weights or the real ones, whose vectors are made once."""
        if tuned is None and self._frozen is not None:
            return self._frozen[rows]
        network = self.network(SPEC, any_size=False)
        if tuned is not None:
            vit.weights_module(network).load_state_dict(tuned)
        encoder = Encoder(SPEC, network, torch.device("cpu"), fill=lambda: None)
        if tuned is None:
            self._frozen = encoder.encode(self.images, batch_size=8)
            return self._frozen[rows]
        chosen: list[ChannelImage] = [self.images[row] for row in rows.tolist()]
        return encoder.encode(chosen, batch_size=8)

    def tuned(self, objective: str, rows: NDArray[np.int64], seed: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights after fine-tuning on some cells, and what the training said."""
        network = self.network(SPEC, any_size=True)
        made: Objective
        if objective == "dino":
            plan = TrainingPlan(precision="bf16", seed=seed, **DINO)
            images = Cells([self.planes[row] for row in rows.tolist()])
            made = DinoObjective(network, SPEC, images, options=DINO_OPTIONS, blocks=BLOCKS, seed=seed)
        else:
            plan = TrainingPlan(precision="bf16", seed=seed, **SUPERVISED)
            learn, judge = self.parts(rows, seed)
            made = SupervisedObjective(
                network,
                SPEC,
                Cells([self.planes[row] for row in learn.tolist()]),
                self.table[learn],
                validation=(Cells([self.planes[row] for row in judge.tolist()]), self.table[judge]),
                blocks=BLOCKS,
                augmentation=SUPERVISED_CROPS,
                crop_px=SUPERVISED_CROP_PX,
                seed=seed,
            )
        with tempfile.TemporaryDirectory() as folder:
            result = train(made, plan, Path(folder) / "run")
        return result.encoder_state, {"steps": result.steps, "best_step": result.best_step, **result.metrics}

    def parts(self, rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to learn from and rows to stop by, of other groups."""
        groups = [self.groups[row] for row in rows.tolist()]
        judged = hold_out(groups, self.table[rows], share=VALIDATION, seed=seed)
        return rows[~judged], rows[judged]

    def scores(
        self, vectors: NDArray[np.float32], train_rows: NDArray[np.int64], test_rows: NDArray[np.int64], seed: int
    ) -> dict[str, float]:
        """Of the held-out cells: k-NN at each k and linear head; vectors are those of the training rows, then these."""
        known, asked = vectors[: len(train_rows)], vectors[len(train_rows) :]
        truth = self.table[test_rows]
        out: dict[str, float] = {}
        found, labels = search(asked, known, k=max(KS)), self.table[train_rows]
        for k in KS:
            scores = vote(found, labels, k=k, weights="uniform")
            add(out, f"knn{k}", truth, one_hot(predict_single(scores, found, labels, k=k), len(self.classes)))
        where = {row: place for place, row in enumerate(train_rows.tolist())}
        learn, judge = ([where[row] for row in part.tolist()] for part in self.parts(train_rows, seed))
        head = fit_head(
            known[learn],
            self.table[train_rows][learn],
            HeadPlan(),
            validation=(known[judge], self.table[train_rows][judge]),
            seed=seed,
        )
        add(out, "head", truth, one_hot(head.scores(asked).argmax(axis=1), len(self.classes)))
        return out

    def run(self, objective: str, fraction: float, seed: int) -> dict[str, Any]:
        """One line of the results."""
        start = time.perf_counter()
        held = hold_out(self.groups, self.table, share=HELD_OUT, seed=seed)
        used = fraction_of(self.groups, self.table, fraction=fraction, seed=seed, among=~held)
        train_rows, test_rows = np.flatnonzero(used), np.flatnonzero(held)
        tuned, said = (None, {}) if objective == "frozen" else self.tuned(objective, train_rows, seed)
        vectors = self.vectors(tuned, np.concatenate([train_rows, test_rows]))
        return {
            "objective": objective,
            "fraction": fraction,
            "seed": seed,
            "n_train": len(train_rows),
            "groups_train": len({self.groups[r] for r in train_rows.tolist()}),
            "n_test": len(test_rows),
            "groups_test": len({self.groups[r] for r in test_rows.tolist()}),
            "scores": self.scores(vectors, train_rows, test_rows, seed),
            "training": said,
            "seconds": round(time.perf_counter() - start, 1),
        }


def one_hot(classes: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """(n_rows,) class numbers as bool (n_rows, n)."""
    return classes[:, None] == np.arange(n)


def add(out: dict[str, float], name: str, truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> None:
    """Macro F1, accuracy and balanced accuracy under a name."""
    counts = Counts.of(truth, predicted)
    out[f"{name}_macro_f1"] = float(macro_f1(counts))
    out[f"{name}_accuracy"] = float((truth & predicted).any(axis=1).mean())
    out[f"{name}_balanced"] = float(balanced_accuracy(counts))


def read(path: Path) -> list[dict[str, Any]]:
    """Lines of the results that are whole."""
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The table of mean ± sample SD over seeds, and the differences seed by seed."""
    kept = {(x["objective"], x["fraction"], x["seed"]): x for x in lines}
    parts = []
    for score, title in (
        ("head_macro_f1", "linear head, macro F1"),
        ("knn5_macro_f1", "5 nearest neighbors, macro F1"),
        ("head_accuracy", "linear head, accuracy"),
        ("knn5_accuracy", "5 nearest neighbors, accuracy"),
    ):
        parts += [f"| {title} | frozen | supervised | difference | DINO | difference |", "|---|---|---|---|---|---|"]
        for fraction in sorted(FRACTIONS):
            row = [f"{fraction:.0%}"]
            frozen = {s: kept[k]["scores"][score] for s in SEEDS if (k := ("frozen", fraction, s)) in kept}
            row.append(shown(list(frozen.values())))
            for objective in ("supervised", "dino"):
                tuned = {s: kept[k]["scores"][score] for s in SEEDS if (k := (objective, fraction, s)) in kept}
                row.append(shown(list(tuned.values())))
                row.append(shown([tuned[s] - frozen[s] for s in tuned if s in frozen], sign="+"))
            parts.append("| " + " | ".join(row) + " |")
        parts.append("")
    return "\n".join(parts)


def shown(values: Sequence[float], sign: str = "") -> str:
    """Mean ± sample SD, and how many where they are not three."""
    if not values:
        return "–"
    text = f"{np.mean(values):{sign}.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
    return text + ("" if len(values) == len(SEEDS) else f" (n = {len(values)})")


def main() -> None:
    """Make the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--objective", action="append", choices=("frozen", "supervised", "dino"))
    parser.add_argument("--fraction", action="append", type=float)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--print", action="store_true", dest="only_print")
    chosen = parser.parse_args()
    if not chosen.only_print:
        bench = Bench(chosen.data)
        done = {(x["objective"], x["fraction"], x["seed"]) for x in read(chosen.results)}
        for fraction in chosen.fraction or FRACTIONS:
            for seed in chosen.seed or SEEDS:
                for objective in chosen.objective or ("frozen", "supervised", "dino"):
                    if (objective, fraction, seed) in done:
                        continue
                    line = bench.run(objective, fraction, seed)
                    with chosen.results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(json.dumps(line), flush=True)
    print(markdown(read(chosen.results)))


if __name__ == "__main__":
    main()

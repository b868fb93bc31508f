"""Which channel plan, intensity, block and pooling suit single cells? Nested cross-validation within 485 cells.

Run as `python scripts/tune_cells.py FOLDER --cache CACHE`, FOLDER being the collection that docs/real-data.md
describes; CACHE keeps the vectors between runs. Half an hour on one core the first time, minutes after.

The candidates are the thirteen readings of the images in `READINGS` times seven blocks times four poolings. In each of
five repetitions the groups (composites) are dealt into five folds. For each fold a candidate and a k are chosen on the
other four alone, by leave-group-out among them: the candidate of the highest macro F1, mean over `KS`, then its best k.
The fold's cells are then classified by the cells of the other four. The plain plan has its k chosen in the same way.
No choice has seen the cells that it is scored on. The table of all candidates on all cells has no such protection.
"""

import argparse
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hpa_cells import read_cells
from numpy.typing import NDArray

from locatlas.models import registry, vit, weights
from locatlas.models.encode import load_encoder, resolve
from locatlas.models.pooling import spread
from locatlas.models.spec import EncoderSpec
from locatlas.models.transforms import network_input
from locatlas.models.views import turned
from locatlas.query.answers.vote import predict_single, votes
from locatlas.query.scores.bootstrap import replicate_statistics
from locatlas.query.scores.metrics import Counts, balanced_accuracy, macro_f1
from locatlas.query.scores.protocols import grouped_folds
from locatlas.query.search import exact
from locatlas.query.sweep.every_k import sweep
from locatlas.types import ChannelImage

KS = (1, 5, 9, 15, 30)
BLOCKS = (12, 11, 10, 9, 8, 7, 6)
POOLINGS = ("cls", "mean", "spread", "cls_spread")
FOLDS, REPLICATES = 5, 10_000
NAME = "vit_small_patch14_dinov2.imgfocus"
PROTEIN = {"mapping": "replicate", "stains": ("protein",)}
BOTH = {"mapping": "replicate", "stains": ("protein", "nucleus")}
OWN_SLOTS = {"passes": "separate", "stains": ("protein", "nucleus")}

READINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "protein, unit": (PROTEIN, {"intensity": "unit"}),
    "protein, percentile 99.8": (PROTEIN, {"intensity": "percentile", "percentiles": (0.0, 99.8)}),
    "protein, percentile 99": (PROTEIN, {"intensity": "percentile", "percentiles": (0.0, 99.0)}),
    "protein, minmax": (PROTEIN, {"intensity": "minmax"}),
    "protein, standardize": (PROTEIN, {"intensity": "standardize", "mean": None, "std": None}),
    "protein and nucleus replicated, unit": (BOTH, {"intensity": "unit"}),
    "protein and nucleus replicated, percentile 99.8": (BOTH, {"intensity": "percentile"}),
    "protein and nucleus in their own slots, percentile 99.8": (OWN_SLOTS, {"intensity": "percentile"}),
    "microtubules, protein, nucleus as RGB, unit": ({}, {"intensity": "unit"}),
    "microtubules, protein, nucleus as RGB, percentile 99.8": ({}, {"intensity": "percentile"}),
    "protein, percentile 99.8, 336 px": (PROTEIN, {"intensity": "percentile", "input_px": 336}),
    "protein, percentile 99.8, 4 views": (PROTEIN, {"intensity": "percentile", "views": 4}),
    "protein, percentile 99.8, 8 views": (PROTEIN, {"intensity": "percentile", "views": 8}),
}
"""How images are read: plan and changes of the spec. The first, with CLS of the last block, is the plain plan."""


def spec_of(reading: str, block: int, pooling: str) -> EncoderSpec:
    """The encoder that a candidate is, as `locatlas encoders add` and `index` would make it."""
    plan, changes = READINGS[reading]
    spec = resolve(NAME, precision="fp32", **plan).with_changes(pooling=pooling, **changes)
    spec = spec.with_changes(embedding_dim=spec.embedding_dim * (2 if pooling == "cls_spread" else 1))
    return spec.with_changes(block=None if block == max(BLOCKS) else block)


@torch.inference_mode()
def features(spec: EncoderSpec, view: int, images: list[ChannelImage]) -> NDArray[np.float32]:
    """CLS, mean and spread of every block of `BLOCKS`: (n, blocks, 3, passes * width), one forward pass for all."""
    network = vit.build(spec)
    weights.fill(network, spec)
    inner, patch = vit.inner_vit(network), vit.patch_px(network)
    out = []
    for image in images:
        batch = turned(network_input(image, spec, patch_px=patch), view)
        shares = torch.nn.functional.avg_pool2d(batch[:, -1:], patch).flatten(1)
        found = inner.forward_intermediates(
            batch[:, :-1],
            indices=[block - 1 for block in sorted(BLOCKS)],
            return_prefix_tokens=True,
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        rows = [torch.stack([cls[:, 0], tokens.mean(1), spread(tokens, shares)], 1) for tokens, cls in found[::-1]]
        out.append(torch.stack(rows).transpose(1, 2).flatten(2))
    return torch.stack(out).numpy()


def candidates(images: list[ChannelImage], cache: Path) -> dict[tuple[str, int, str], NDArray[np.float32]]:
    """Vectors of every candidate, the plain plan first."""
    out = {}
    for reading in READINGS:
        spec = spec_of(reading, max(BLOCKS), "spread")
        views = []
        for view in range(spec.views):
            one = spec.with_changes(views=1)
            path = cache / f"{one.fingerprint[:12]}-{view}.npy"
            if not path.exists():
                print(f"embedding {len(images)} cells: {reading}, view {view}", flush=True)
                with path.with_suffix(".part").open("wb") as part:
                    np.save(part, features(one, view, images))
                path.with_suffix(".part").rename(path)
            views.append(np.load(path))
        held = np.mean(views, axis=0, dtype=np.float32)
        for b, block in enumerate(BLOCKS):
            for p, pooling in enumerate(POOLINGS):
                parts = held[:, b, [0, 2]] if pooling == "cls_spread" else held[:, b, [p]]
                out[reading, block, pooling] = parts.reshape(len(held), -1)
    return out


def check_against_encoder(
    vectors: dict[tuple[str, int, str], NDArray[np.float32]], key: tuple[str, int, str], images: list[ChannelImage]
) -> float:
    """Largest difference of eight cells' vectors from those that the product's own encoder gives, relative."""
    given = load_encoder(spec_of(*key), device="cpu").encode(images[:8])
    return float(np.abs(given - vectors[key][:8]).max() / np.abs(given).max())


def predict(
    vectors: NDArray[np.float32], table: NDArray[np.bool_], groups: NDArray[np.int64], training: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Class of every cell at every k, by training cells of other groups: (ks, n)."""
    found = exact.search(vectors, vectors, k=max(KS), exclude=[(groups, groups)], allowed=training)
    [(_, scores)] = votes(found, table, ks=KS)
    return np.stack([predict_single(scores[i], found, table, k=k) for i, k in enumerate(KS)])


def score(table: NDArray[np.bool_], predicted: NDArray[np.int64], rows: NDArray[np.bool_]) -> float:
    """Macro F1 over the classes among these rows."""
    return float(macro_f1(Counts.of(table[rows], predicted[rows, None] == np.arange(table.shape[1]))))


def nested(
    all_vectors: dict[tuple[str, int, str], NDArray[np.float32]],
    table: NDArray[np.bool_],
    groups: list[str],
    seeds: int,
) -> tuple[NDArray[np.int64], list[tuple[tuple[str, int, str], int]], list[int]]:
    """Out-of-fold classes (2, seeds, n) of the chosen and of the plain plan, the choices, and the plain plan's ks."""
    codes = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    out = np.full((2, seeds, len(groups)), -1)
    choices, plain_ks = [], []
    keys = list(all_vectors)
    for seed in range(seeds):
        fold_of = grouped_folds(groups, folds=FOLDS, seed=seed, table=table)
        for fold in range(FOLDS):
            training = fold_of != fold
            predicted = [predict(all_vectors[key], table, codes, training) for key in keys]
            inner = np.array([[score(table, at_k, training) for at_k in one] for one in predicted])
            best = int(inner.mean(axis=1).argmax())
            for row, number in enumerate((best, 0)):
                k = int(inner[number].argmax())
                out[row, seed, ~training] = predicted[number][k, ~training]
                (choices.append((keys[best], KS[k])) if row == 0 else plain_ks.append(KS[k]))
            print(f"repetition {seed}, fold {fold}: {choices[-1]}, plain k {plain_ks[-1]}", flush=True)
    return out, choices, plain_ks


def compare(predicted: NDArray[np.int64], table: NDArray[np.bool_], groups: list[str]) -> dict[str, Any]:
    """Chosen against plain: means over repetitions, and intervals of the differences over groups drawn again."""
    codes = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    n_groups, n_classes = int(codes.max()) + 1, table.shape[1]
    each = [
        Counts.by_group(table, one[:, None] == np.arange(n_classes), codes, n_groups)
        for one in predicted.reshape(-1, predicted.shape[-1])
    ]
    counts = Counts(*(np.stack([getattr(one, name) for one in each], axis=1) for name in ("tp", "fp", "fn")))
    right = counts.tp.sum(axis=-1, keepdims=True)
    hits = Counts(right, np.zeros_like(right), counts.support.sum(axis=-1, keepdims=True) - right)
    whole = Counts(*(getattr(counts, name).sum(axis=0) for name in ("tp", "fp", "fn")))
    recall = (whole.tp / whole.support).reshape(*predicted.shape[:2], n_classes).mean(axis=1)
    out: dict[str, Any] = {"recall": {"chosen": recall[0].tolist(), "plain": recall[1].tolist()}}
    for name, held, statistic in (
        ("macro_f1", counts, macro_f1),
        ("balanced", counts, balanced_accuracy),
        ("accuracy", hits, balanced_accuracy),
    ):
        at_all = statistic(Counts(*(getattr(held, part).sum(axis=0) for part in ("tp", "fp", "fn"))))
        drawn = replicate_statistics(held, {"s": statistic}, n_replicates=REPLICATES, fixed_classes=True)
        assert drawn is not None
        chosen, plain = at_all.reshape(2, -1)
        spans = drawn["s"].reshape(REPLICATES, 2, -1).mean(axis=2)
        differences = spans[:, 0] - spans[:, 1]
        out[name] = {
            "chosen": float(chosen.mean()),
            "plain": float(plain.mean()),
            "chosen_by_repetition": chosen.tolist(),
            "plain_by_repetition": plain.tolist(),
            "difference": float((chosen - plain).mean()),
            "difference_95": np.quantile(differences, [0.025, 0.975]).tolist(),
        }
    return out


def all_cells(
    all_vectors: dict[tuple[str, int, str], NDArray[np.float32]], labels: list[str], groups: list[str], ids: list[str]
) -> list[dict[str, Any]]:
    """Every candidate on all cells, leave-group-out; optimistic where the best one is picked."""
    rows = []
    for (reading, block, pooling), vectors in all_vectors.items():
        found = sweep(vectors, [{label} for label in labels], groups, ids, ks=KS, n_bootstrap=0)
        scores = [(r.accuracy, r.balanced_accuracy, r.macro_f1) for r in found.results]
        rows.append(
            {
                "reading": reading,
                "block": block,
                "pooling": pooling,
                "mean_macro_f1": float(np.mean([s[2] for s in scores])),
                "scores": dict(zip(map(str, KS), scores, strict=True)),
                "recall_at_9": dict(
                    zip(
                        found.classes,
                        (found.results[2].counts.tp / found.results[2].counts.support).tolist(),
                        strict=True,
                    )
                ),
            }
        )
    return rows


def main() -> None:
    """Embed, choose, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="Folder for vectors, outside of the project.")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)
    ids, groups, labels, images = read_cells(given.data / "hpa_cells")
    with tempfile.TemporaryDirectory() as home:
        os.environ["LOCATLAS_HOME"] = home
        registry.add(
            NAME,
            weights=given.data / "weights" / "vit_small_patch14_dinov2.fp16.safetensors",
            architecture="vit_small_patch14_dinov2",
            slots=("microtubules", "protein", "nucleus"),
            input_px=224,
            intensity="unit",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
        vectors = candidates(images, given.cache)
        rows = all_cells(vectors, labels, groups, ids)
        best = max(rows, key=lambda row: row["mean_macro_f1"])
        key = (best["reading"], best["block"], best["pooling"])
        print(f"{key}: differs from the encoder's own vectors by {check_against_encoder(vectors, key, images):.1e}")
    classes = sorted(set(labels))
    table = np.array(labels)[:, None] == np.array(classes)
    predicted, choices, plain_ks = nested(vectors, table, groups, given.seeds)
    report = {
        "candidates": len(vectors),
        "classes": classes,
        "nested": compare(predicted, table, groups),
        "chosen": [{"plan": list(key), "times": n} for key, n in Counter(key for key, _ in choices).most_common()],
        "chosen_ks": Counter(k for _, k in choices),
        "plain_ks": Counter(plain_ks),
        "all_cells": rows,
    }
    (given.cache / "tuned.json").write_text(json.dumps(report, indent=1))
    print(json.dumps({name: value for name, value in report.items() if name != "all_cells"}, indent=1))
    for row in sorted(rows, key=lambda row: -row["mean_macro_f1"]):
        print(row["reading"], row["block"], row["pooling"], f"{row['mean_macro_f1']:.3f}", end=" ")
        print(*("/".join(f"{s:.3f}" for s in scores) for scores in row["scores"].values()))


if __name__ == "__main__":
    main()

"""Neighbors among the real HPA cells, computed without locatlas' reading, scaling, searching and scoring.

Pillow reads, numpy scales, torch and timm embed, numpy searches, scikit-learn scores: the oracle of docs/real-data.md.
Run as `python scripts/check_hpa_cells.py DATA`; takes some 15 minutes of core time.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from locatlas.models.torchvision_shim import import_timm

WEIGHTS = "weights/vit_small_patch14_dinov2.fp16.safetensors"
MEAN, SD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
KS = (1, 5, 9, 15, 30)

SCALES = {
    "divided by 255": lambda x: x / 255,
    "stretched to its 99.8th percentile": lambda x: _stretched(x),
    "stretched, then rounded down to 8 bits": lambda x: np.floor(_stretched(x) * 255) / 255,
}


def _stretched(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(pixels / max(np.percentile(pixels, 99.8), 1), 0, 1)


def network(data: Path) -> Any:
    """DINOv2 ViT-S/14 at 224 pixels, by timm."""
    timm = import_timm()
    from timm.models.vision_transformer import checkpoint_filter_fn

    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=224).eval()
    weights = {name: tensor.float() for name, tensor in load_file(data / WEIGHTS).items()}
    model.load_state_dict(checkpoint_filter_fn(weights, model))
    return model


def embedded(model: Any, images: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """CLS tokens (n, 384) of planes in [0, 1], each in all three inputs."""
    found = []
    with torch.inference_mode():
        for plane in images:
            resized = torch.nn.functional.interpolate(
                torch.from_numpy(plane.astype(np.float32))[None, None], size=(224, 224), mode="bilinear", antialias=True
            )
            shown = (resized[0].expand(3, -1, -1) - MEAN) / SD
            found.append(model.forward_head(model.forward_features(shown[None]), pre_logits=True)[0].numpy())
    return np.stack(found).astype(np.float64)


def scores(vectors: NDArray[np.float64], groups: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A cell of a table for each k: accuracy / balanced accuracy / macro F1, the query's group left out."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    of = np.array(groups)
    similarity[of[:, None] == of] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")
    cells = []
    for k in KS:
        predicted = []
        for row in order:
            votes = [labels[i] for i in row[:k]]
            most = max(Counter(votes).values())
            predicted.append(next(label for label in votes if votes.count(label) == most))  # a tie: the nearest member
        f1 = f1_score(labels, predicted, average="macro", zero_division=0)
        found = accuracy_score(labels, predicted), balanced_accuracy_score(labels, predicted), f1
        cells.append(" / ".join(f"{score:.3f}" for score in found))
    return cells


def main() -> None:
    """Print a table, a row a way of scaling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    with (data / "hpa_cells" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    planes = [np.asarray(Image.open(data / "hpa_cells" / f"{row['cell_id']}_green.png"), np.float64) for row in rows]
    model = network(data)
    print("| protein channel | " + " | ".join(f"k = {k}" for k in KS) + " |\n|---|" + "---|" * len(KS))
    for name, scale in SCALES.items():
        vectors = embedded(model, [scale(plane) for plane in planes])
        cells = scores(vectors, [row["group"] for row in rows], [row["location"] for row in rows])
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

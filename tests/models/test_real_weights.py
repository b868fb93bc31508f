"""Real pretrained weights and real cells, against the vectors and scores in the README of ../shared/data.

Those numbers were made without locatlas. The k-NN is written out here, so that only the embedding is on trial.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from locatlas.models import registry
from locatlas.models.encode import Encoder, load_encoder, resolve
from locatlas.types import ChannelImage

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FIRST_EIGHT = [
    [-2.7044, -0.9653, 0.0383, -1.7312, 0.2238, 0.6221, 0.6993, 3.1417],
    [-3.5787, -0.9444, 1.8042, -1.5982, 0.2626, 0.2593, -0.6195, 3.9272],
    [-3.0236, -1.0290, -0.0638, -0.9064, 0.3493, 0.1391, 0.2868, 3.7391],
]
NORMS = [40.3988, 41.2880, 39.7183]

# By channel plan and k: accuracy, balanced accuracy, macro F1; leave one composite out
BASELINES = {
    "replicate": {
        1: (0.649, 0.473, 0.471),
        5: (0.695, 0.470, 0.460),
        9: (0.701, 0.458, 0.450),
        15: (0.695, 0.458, 0.448),
        30: (0.685, 0.389, 0.380),
    },
    # one pass, R = microtubules, G = protein, B = nucleus
    "natural": {
        1: (0.447, 0.238, 0.240),
        5: (0.515, 0.271, 0.258),
        9: (0.575, 0.292, 0.265),
        15: (0.575, 0.289, 0.257),
        30: (0.569, 0.286, 0.254),
    },
}
PLANS: dict[str, dict] = {"replicate": {"mapping": "replicate", "stains": ("protein",)}, "natural": {}}


def encoder_of(shared_data: Path, plan: str, **changes: Any) -> Encoder:
    name = "vit_small_patch14_dinov2.imgfocus"
    registry.add(
        name,
        weights=shared_data / "weights" / "vit_small_patch14_dinov2.fp16.safetensors",
        architecture="vit_small_patch14_dinov2",
        slots=("microtubules", "protein", "nucleus"),
        input_px=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        **{"intensity": "unit", **changes},
    )
    return load_encoder(resolve(name, **PLANS[plan]), device="cpu")


def cell(shared_data: Path, name: str) -> ChannelImage:
    """All stains, in another order than any encoder's."""
    colours = {"er": "yellow", "nucleus": "blue", "protein": "green", "microtubules": "red"}
    planes = [np.asarray(Image.open(shared_data / "hpa_cells" / f"{name}_{c}.png")) for c in colours.values()]
    return ChannelImage(np.stack(planes), tuple(colours))


def test_three_cells_get_their_published_vectors(shared_data: Path) -> None:
    vectors = encoder_of(shared_data, "replicate").encode([cell(shared_data, f"mixed_img0_{i}") for i in range(3)])
    np.testing.assert_allclose(vectors[:, :8], FIRST_EIGHT, atol=1e-3)
    norms = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(norms, NORMS, atol=2e-3)
    unit = vectors / norms[:, None]
    np.testing.assert_allclose(unit[0] @ unit[1:].T, [0.94525, 0.95451], atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_all_cells_reach_the_published_scores(plan: str, shared_data: Path) -> None:
    found = scores_by_k(encoder_of(shared_data, plan), shared_data)
    for k, expected in BASELINES[plan].items():
        np.testing.assert_allclose(found[k], expected, atol=0.01, err_msg=f"k = {k}")


@pytest.mark.slow
def test_the_plan_for_cells_is_better_by_far_than_the_plain_one(shared_data: Path) -> None:
    """As docs/cells.md says, which has all numbers."""
    encoder = encoder_of(shared_data, "replicate", intensity="percentile", block=8, pooling="cls_spread", views=4)
    found = scores_by_k(encoder, shared_data)
    for k, (accuracy, balanced, macro_f1) in BASELINES["replicate"].items():
        gained = np.array(found[k]) - (accuracy, balanced, macro_f1)
        assert (gained > 0.07).all(), f"k = {k}: {found[k]}"


def scores_by_k(encoder: Encoder, shared_data: Path) -> dict[int, tuple[float, float, float]]:
    with (shared_data / "hpa_cells" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 485
    vectors = encoder.encode(cell(shared_data, row["cell_id"]) for row in rows).astype(np.float64)
    labels = np.array([row["location"] for row in rows])
    order = leave_group_out_order(vectors, np.array([row["group"] for row in rows]))
    return {k: scores(labels, np.array([majority(labels[near[:k]]) for near in order])) for k in (1, 5, 9, 15, 30)}


def leave_group_out_order(vectors: NDArray[np.float64], groups: NDArray[np.str_]) -> NDArray[np.int64]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    cosines[groups[:, None] == groups[None]] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")


def majority(neighbors: NDArray[np.str_]) -> str:
    """The class of most votes; among tied ones that of the nearest neighbor."""
    votes = {label: int((neighbors == label).sum()) for label in neighbors}
    return next(label for label in neighbors if votes[label] == max(votes.values()))


def scores(true: NDArray[np.str_], predicted: NDArray[np.str_]) -> tuple[float, float, float]:
    """Accuracy, balanced accuracy and macro F1 over the classes of `true`."""
    recalls, f1s = [], []
    for label in sorted(set(true)):
        hits = ((true == label) & (predicted == label)).sum()
        recalls.append(hits / (true == label).sum())
        f1s.append(2 * hits / ((true == label).sum() + (predicted == label).sum()))
    return float((true == predicted).mean()), float(np.mean(recalls)), float(np.mean(f1s))

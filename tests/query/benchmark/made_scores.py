"""Made measurements of one grid, for tests of what is drawn and told of them."""

from collections.abc import Iterable

import numpy as np

from locatlas.query.benchmark.calibration import tally
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import Summary, summarize
from locatlas.query.scores.metrics import Counts

CLASSES = ("er", "golgi", "nucleus")
HPA, PHOTOS = "vit_base_patch16.hpa_fov_dino4cells", "vit_base_patch16_224.dino"


def scored(quality: float, *, n_groups: int = 12, each: int = 5, **said: object) -> Scored:
    """Predictions of which a share is right, of rows whose groups and classes are always the same."""
    whole: dict[str, object] = {
        "encoder": HPA, "mapping": "natural", "mapping_seed": None, "passes": "separate", "level": "fov",
        "protocol": "protein-out", "k": 5, "votes": "uniform",
    }  # fmt: skip
    cell = Cell(**{**whole, **said})  # type: ignore[arg-type]
    rng = np.random.default_rng([cell.seed, cell.mapping_seed or 0, int(1000 * quality)])
    groups = np.repeat(np.arange(n_groups), each)
    target = groups % len(CLASSES)
    predicted = np.where(rng.random(len(groups)) < quality, target, rng.integers(0, len(CLASSES), len(groups)))
    hot = np.eye(len(CLASSES), dtype=bool)
    confusion = np.zeros((len(CLASSES), len(CLASSES) + 1), np.int64)
    np.add.at(confusion, (target, predicted), 1)
    single = cell.labels == "single"
    return Scored(
        cell=cell, fingerprint="f", data_digest="d", classes=CLASSES,
        groups=tuple(f"P{i:02}" for i in range(n_groups)),
        counts=Counts.by_group(hot[target], hot[predicted], groups, n_groups),
        n_right=np.bincount(groups, weights=target == predicted, minlength=n_groups).astype(int),
        n_rows=np.bincount(groups, minlength=n_groups), n_references=1.0,
        confusion=confusion if single else None,
        confidence=tally(rng.uniform(0.3, 1, len(groups)), target == predicted) if single else None,
    )  # fmt: skip


def summaries(cells: Iterable[Scored]) -> list[Summary]:
    """Over seeds, with quick intervals."""
    return summarize(list(cells), n_bootstrap=20)

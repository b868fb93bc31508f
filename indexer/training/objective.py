"""Rows and images of a training as an objective: targets, network, settings. Reads images and weights."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.store.schema import embedding_table_name
from locatlas.indexer.store.tables import Store
from locatlas.indexer.training.images import StoredImages
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.rows import TrainingRows
from locatlas.models import vit, weights
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.dino import DinoObjective
from locatlas.models.training.fit_head import HeadPlan, fit_head
from locatlas.models.training.heads import HeadSpec
from locatlas.models.training.objective import Objective
from locatlas.models.training.supervised import SupervisedObjective

__all__ = ["Task", "frozen_score", "make_objective", "make_task"]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Images and what is to be learned of them.

    Attributes:
        train: Images to learn from.
        validation: Images to stop by; None without.
        classes: Sorted by name; () without labels. Those of the training images: no other can be learned.
        targets: Bool (n, n_classes) of `train`.
        validation_targets: Of `validation`.
    """

    train: StoredImages
    validation: StoredImages | None
    classes: tuple[str, ...]
    targets: NDArray[np.bool_]
    validation_targets: NDArray[np.bool_]

    def digest(self) -> str:
        """Of all images and targets, in their order: a continued training must have the same."""
        said: list[Any] = [self.classes]
        parts = [(self.train, self.targets), *([(self.validation, self.validation_targets)] if self.validation else [])]
        for images, table in parts:
            of_each = zip(images.ids, images.digests, table.astype(int).tolist(), strict=True)
            said.append([images.channels, [*of_each]])
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()


def make_task(rows: TrainingRows, images: StoredImages, train: Sequence[str], validation: Sequence[str], *,
              labels: str | None) -> Task:  # fmt: skip
    """Targets of the images that could be read.

    Args:
        rows: With the labels.
        images: What could be read of both parts.
        train: Ids to learn from.
        validation: Ids to stop by.
        labels: `single` or `multi`; None to learn without.

    Raises:
        InputError: If nothing is left to learn from, or fewer than two classes.
    """
    learned = images.part(train)
    if not len(learned):
        why = next(iter(images.left_out.values()), "no image")
        message = f"none of the images to train on can be read, e.g. {why}"
        raise InputError(message)
    none = np.zeros((0, 0), dtype=np.bool_)
    if labels is None:
        return Task(learned, None, (), np.zeros((len(learned), 0), dtype=np.bool_), none)
    of = dict(zip(rows.ids, rows.labels, strict=True))
    classes = tuple(sorted(frozenset().union(*(of[i] for i in learned.ids))))
    if len(classes) < 2:
        message = (
            f"only one localization among {len(learned)} images to train on ({', '.join(classes)}): nothing to learn"
        )
        raise InputError(message)
    # a class that only the validation part has cannot be learned, and would only blur the score
    known = [i for i in validation if of[i] & set(classes) and (labels == "multi" or of[i] <= set(classes))]
    looked = images.part(known)
    return Task(
        learned,
        looked if len(looked) else None,
        classes,
        _targets([of[i] for i in learned.ids], classes),
        _targets([of[i] for i in looked.ids], classes),
    )


def _targets(labels: Sequence[frozenset[str]], classes: Sequence[str]) -> NDArray[np.bool_]:
    table = np.zeros((len(labels), len(classes)), dtype=np.bool_)
    for row, names in enumerate(labels):
        table[row, [c for c, name in enumerate(classes) if name in names]] = True
    return table


def make_objective(spec: EncoderSpec, task: Task, request: FinetuneRequest) -> Objective:
    """The network with its weights, and what it is to learn.

    Args:
        spec: Encoder to begin from.
        task: Images and targets.
        request: Settings.

    Raises:
        WeightsError: If its weights are not to be had.
        InputError: If settings and encoder do not fit.
    """
    network = vit.build(spec, any_size=True)
    digest = spec.weights_sha256 or ""
    if digest.startswith("seed:"):
        vit.seed_weights(network, int(digest.removeprefix("seed:")))
    else:
        weights.fill(network, spec)
    settings: dict[str, Any] = {"blocks": request.blocks, "seed": request.seed}
    if request.layer_decay is not None:
        settings["layer_decay"] = request.layer_decay
    if request.objective == "dino":
        return DinoObjective(network, spec, task.train, options=request.dino, **settings)
    return SupervisedObjective(
        network,
        spec,
        task.train,
        task.targets,
        labels=request.labels,
        head=HeadSpec(kind=request.head),
        validation=None if task.validation is None else (task.validation, task.validation_targets),
        **settings,
    )


def frozen_score(store: Store, level: str, spec: EncoderSpec, task: Task, request: FinetuneRequest) -> float | None:
    """Validation score before any training of the encoder: the same head on its vectors, which the atlas has.

    Returns:
        Macro F1; None without a validation part, or where the atlas lacks some of the vectors.
    """
    table = embedding_table_name(level, spec.fingerprint)
    if task.validation is None or not store.has(table):
        return None
    vectors = [_vectors(store, table, images) for images in (task.train, task.validation)]
    if vectors[0] is None or vectors[1] is None:
        return None
    plan = HeadPlan(head=HeadSpec(kind=request.head), labels=request.labels)
    validation = (vectors[1], task.validation_targets)
    fitted = fit_head(vectors[0], task.targets, plan, validation=validation, seed=request.seed)
    return None if fitted.validation is None else fitted.validation.macro_f1


def _vectors(store: Store, table: str, images: StoredImages) -> NDArray[np.float32] | None:
    """In the order of the images; None if one has none of its present pixels."""
    rows = store.read_rows(table, images.ids, ["id", "source_digest", "vector"])
    found = dict(zip(rows["id"].to_pylist(), zip(rows["source_digest"].to_pylist(), range(len(rows)), strict=True),
                     strict=True))  # fmt: skip
    if any(found.get(i, ("", 0))[0] != digest for i, digest in zip(images.ids, images.digests, strict=True)):
        return None
    held = np.stack(rows["vector"].combine_chunks().to_numpy(zero_copy_only=False)).astype(np.float32)
    taken: NDArray[np.float32] = held[[found[i][1] for i in images.ids]]
    return taken

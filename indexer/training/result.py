"""What comes out of a training on an atlas: the record that goes with the weights, and what the user is told. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locatlas.indexer.store.ledger import versions
from locatlas.indexer.summary import IndexSummary
from locatlas.indexer.training.begin import kept_out
from locatlas.indexer.training.folder import TrainingRun
from locatlas.indexer.training.objective import Task
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.rows import TrainingRows
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest
from locatlas.models.training.state import TrainingResult

__all__ = ["FinetuneResult", "end_metrics", "make_manifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """What came out of a training on an atlas.

    Attributes:
        encoder: The new encoder, as the registry has it.
        manifest: What it was trained on and how well it did.
        folder: Of the run: log, curve, checkpoint.
        n_held_out: Images of the groups that were set aside.
        left_out: Images that were not used, by reason.
        was_there: Whether the training was finished before.
        embedded: What the re-embedding did; None where it was not asked for.
        notes: What a user must know.
    """

    encoder: EncoderSpec
    manifest: TrainingManifest
    folder: Path
    n_held_out: int
    left_out: Mapping[str, int]
    was_there: bool
    embedded: IndexSummary | None = None
    notes: tuple[str, ...] = ()

    @property
    def curve(self) -> Path | None:
        """The picture of the log; None where matplotlib is not installed."""
        path = self.folder / "curve.svg"
        return path if path.is_file() else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        known = self.manifest
        return {
            "encoder": {"name": self.encoder.name, "fingerprint": self.encoder.fingerprint},
            "parent": None if known.parent is None else {"name": known.parent_name, "fingerprint": known.parent},
            "weights_sha256": known.weights_sha256,
            "objective": known.objective,
            "level": known.level,
            "group": known.group,
            "n_images": len(known.images),
            "n_validation_images": len(known.validation_images),
            "n_groups": known.options["n_groups"],
            "n_held_out_images": self.n_held_out,
            "n_held_out_groups": len(known.held_out),
            "fraction": known.fraction,
            "labels": known.labels,
            "classes": list(known.classes),
            "left_out": dict(self.left_out),
            "metrics": dict(known.metrics),
            "was_there": self.was_there,
            "folder": str(self.folder),
            "log": str(self.folder / "log.jsonl"),
            "curve": None if self.curve is None else str(self.curve),
            "embedded": None if self.embedded is None else self.embedded.to_dict(),
            "notes": list(self.notes),
        }


def end_metrics(result: TrainingResult) -> dict[str, float]:
    """The numbers of a training's end, for its manifest: losses, validation, steps, seconds, images a second."""
    said = {"steps": result.steps, "epochs": result.epochs, "seconds": result.seconds}
    if result.stopped == "early":
        said["stopped_early"] = 1
    if result.best_step is not None:
        said["best_step"] = result.best_step
    return {**result.metrics, **said, "images_per_s": result.images_per_s}


def make_manifest(
    parents: TrainingManifest | None,
    run: TrainingRun,
    request: FinetuneRequest,
    rows: TrainingRows,
    task: Task,
    metrics: Mapping[str, float],
    *,
    n_unread: int,
) -> TrainingManifest:
    """The record of a training; its weights' digest is filled in when they are written.

    Args:
        parents: Record of the encoder that it began from, None where it has none.
        run: What was settled.
        request: What was asked for.
        rows: All that could be taken, with the groups' values.
        task: Images that were taken.
        metrics: At the end.
        n_unread: Images that were to be taken and could not be read.
    """
    group = request.group.removeprefix("group_")
    before = None if request.from_scratch else parents
    looked = () if task.validation is None else task.validation.ids
    used = rows.of([*task.train.ids, *looked])
    groups = {column: set(used.values(column)) for column in used.columns}
    for column, values in ({} if before is None else before.groups).items():
        groups.setdefault(column, set()).update(values)
    stay = kept_out(before, request, group) or ()
    return TrainingManifest(
        encoder=run.name,
        weights_sha256="",
        parent=None if request.from_scratch else run.parent.fingerprint,
        parent_name=None if request.from_scratch else run.parent.name,
        objective=request.objective,
        level=run.level,
        group=group,
        images=tuple(sorted(task.train.ids)),
        validation_images=tuple(sorted(looked)),
        groups={column: tuple(sorted(values)) for column, values in groups.items() if values},
        held_out=tuple(sorted({*run.parts.held_out, *stay})),
        fraction=request.fraction,
        seed=request.seed,
        split_seed=request.split_seed,
        labels=request.labels if task.classes else None,
        classes=task.classes,
        options={
            "asked": dict(run.request),
            "plan": run.plan.to_dict(),
            "n_groups": len(used.values(group)),  # without those of the encoders that it descends from
            "cannot_be_read": n_unread,
            "notes": list(rows.notes),
        },
        metrics=dict(metrics),
        versions=versions(),
        made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )

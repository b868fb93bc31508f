"""Train an encoder on the images of an atlas, register it, and let the atlas follow. I/O."""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from locatlas.errors import AtlasLockedError, InputError, LocatlasError
from locatlas.indexer.embed import reembed
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.store import encoders
from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.encoders import State, StoredEncoder
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import known_training
from locatlas.indexer.training.begin import RowsOf, find_or_begin, seen_before, start_spec
from locatlas.indexer.training.folder import TrainingRun
from locatlas.indexer.training.images import StoredImages, default_cache_bytes
from locatlas.indexer.training.objective import Task, frozen_score, make_objective, make_task
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.result import FinetuneResult, end_metrics, make_manifest
from locatlas.models import registry
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.distributed import Processes, processes
from locatlas.models.training.loop import train
from locatlas.models.training.plan import TrainingPlan

__all__ = ["FinetuneResult", "RowsOf", "train_encoder"]

logger = logging.getLogger(__name__)


def train_encoder(
    atlas: str | Path,
    request: FinetuneRequest,
    rows_of: RowsOf,
    *,
    name: str | None = None,
    follow: bool = True,
    state: State = "building",
    folder: Path | None = None,
    device: str = "auto",
    workers: int = 2,
    tensorboard: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> FinetuneResult | None:
    """Train, register, and re-embed the atlas. The same call again continues what was killed, and else does nothing.

    Under torchrun every process calls this; the first one writes.

    Args:
        atlas: Atlas folder.
        request: What is trained, on what, for how long.
        rows_of: Which images of a level may be taken.
        name: Of the new encoder; None for `<encoder>-<objective>-<n>`.
        follow: Re-embed the level with the new encoder; else it is left in
        state: as one that is being built, which `reembed` completes, or as one beside what stays current.
        folder: Of the run; None for $LOCATLAS_HOME/runs/<name>.
        device: `auto`, or torch's name of one.
        workers: Threads that prepare images.
        tensorboard: Whether the log is also written for TensorBoard.
        progress: Told of what goes on.
        tell: Told in one line what will be trained, once images are read, and in another what was.

    Returns:
        None in the processes that do not write.

    Raises:
        InputError: If there is nothing to train on, or the folder holds another training.
        TrainingStoppedError: If the training diverged or collapsed.
        AtlasLockedError: If the atlas is being re-embedded by another process; the encoder is registered then.
    """
    store = Store.open(Path(atlas))
    free = {"device": device, "workers": workers, "tensorboard": tensorboard}
    with processes(device) as team:
        found: list[Any] = [None]
        if team.writes:
            run, is_new = find_or_begin(store, request, rows_of, name=name, folder=folder, free=free)
            found = [(run, is_new, run.result() is not None)]
        run, is_new, was_there = _from_first(team, found)
        if not was_there:
            try:
                if team.writes:
                    _check_writable(store)
                _train(store, run, request, rows_of, free, team, *((progress, tell) if team.writes else (None, None)))
            except LocatlasError:
                if team.writes and is_new:
                    run.forget_unless_begun()
                raise
        if not team.writes:
            return None
    result = _told(store, run, request, was_there=was_there)
    if tell is not None and not was_there:
        tell(f"trained and registered: {run.name}; whatever happens now, the same command goes on from here")
    _adopt(store, run.level, result.encoder, state)
    if not follow:
        return result
    summary = reembed(
        atlas=store.folder.path, encoder=result.encoder.fingerprint, levels=(run.level,), progress=progress
    )
    return dataclasses.replace(result, embedded=summary)


def _from_first(team: Processes, found: list[Any]) -> tuple[TrainingRun, bool, bool]:
    """The run that process 0 found or began, whether it began it and whether it is finished, in all processes.

    The others do not look for themselves: on another machine the folder may not be there.
    """
    if team.world > 1:
        torch.distributed.broadcast_object_list(found, src=0)
    run, is_new, was_there = found[0]
    return run, is_new, was_there


def _check_writable(store: Store) -> None:
    """See before hours of training that the atlas can take what comes out.

    Raises:
        InputError: If it cannot be written.
    """
    with suppress(AtlasLockedError), store.folder.writer("finetune", brief=True):
        pass


def _train(
    store: Store,
    run: TrainingRun,
    request: FinetuneRequest,
    rows_of: RowsOf,
    free: Mapping[str, Any],
    team: Processes,
    progress: Progress | None,
    tell: Callable[[str], None] | None,
) -> None:
    """Train to the end, and register what came out."""
    parts, spec = run.parts, start_spec(run.parent, request)
    rows = rows_of(store, run.level)
    images = StoredImages.load(
        store,
        run.level,
        sorted({*parts.train, *parts.validation} & set(rows.ids)),
        spec,
        mixed=request.objective == "dino",  # a stain that an image lacks is like one that DINO drops
        cache_bytes=default_cache_bytes() // team.world,
        progress=progress,
    )
    labels = request.labels if request.objective == "supervised" else None
    task = make_task(rows, images, parts.train, parts.validation, labels=labels)
    _warn(images)
    plan = dataclasses.replace(run.plan, **free)
    if tell is not None:
        tell(_announced(run, plan, task, team))
        for note in rows.notes:
            tell(f"note: {note}")
    identity = {"encoder": spec.fingerprint, "images": task.digest(), "asked": run.request}
    objective = make_objective(spec, task, request)
    result = train(objective, plan, run.folder, progress=progress, identity=identity)
    del objective
    if team.writes:
        left = json.dumps(images.left_out, indent=1, sort_keys=True) + "\n"
        write_atomically(run.folder / "left_out.json", left.encode())
        metrics = end_metrics(result)
        if labels is not None and (score := frozen_score(store, run.level, spec, task, request)) is not None:
            metrics["frozen.validation.macro_f1"] = score
        manifest = make_manifest(
            known_training(store, run.parent.weights_sha256),
            run,
            request,
            rows,
            task,
            metrics,
            n_unread=len(images.left_out),
        )
        fields = {"name": run.name, "source": f"trained on {run.atlas.name}", "license": "", "notes": ""}
        trained = spec.with_changes(**fields, parent=None if request.from_scratch else run.parent.fingerprint)
        registry.register(trained, result.encoder_state, manifest)
    team.wait()


def _announced(run: TrainingRun, plan: TrainingPlan, task: Task, team: Processes) -> str:
    looked = f", {len(task.validation)} to stop by" if task.validation else ""
    steps = plan.n_steps(len(task.train))
    where = f"{team.world} x {team.device.type}" if team.world > 1 else str(team.device)
    return (
        f"training {run.name} on {len(task.train)} images{looked}: {steps} steps of {plan.batch_size}, "
        f"{plan.precision} on {where}; in {run.folder}"
    )


def _warn(images: StoredImages) -> None:
    if images.left_out:
        first = next(iter(images.left_out.values()))
        logger.warning("%d images are left out, e.g. %s", len(images.left_out), first)
    if images.n_kept < len(images):
        logger.warning(
            "the planes of %d of %d images fit into memory; the others are read each time", images.n_kept, len(images)
        )


def _told(store: Store, run: TrainingRun, request: FinetuneRequest, *, was_there: bool) -> FinetuneResult:
    spec, manifest = run.result(), registry.training(run.name)
    if spec is None or manifest is None:
        message = f"encoder {run.name} was not trained here; remove {run.folder} or choose another --name"
        raise InputError(message)
    left_out = dict(run.parts.left_out)
    if n := int(manifest.options.get("cannot_be_read", 0)):
        left_out["cannot be read (left_out.json)"] = n
    before = None if request.from_scratch else known_training(store, run.parent.weights_sha256)
    notes = [*manifest.options.get("notes", ()), *seen_before(before, run.parts.held_out, manifest.group, request)]
    if manifest.labels is not None and request.validation and not manifest.validation_images:
        notes.append("no group could be spared to stop by, since every class keeps one: it was trained to the end")
    return FinetuneResult(
        encoder=spec,
        manifest=manifest,
        folder=run.folder,
        n_held_out=run.parts.n_held_out,
        left_out=left_out,
        was_there=was_there,
        notes=tuple(notes),
    )


def _adopt(store: Store, level: str, spec: EncoderSpec, state: State) -> None:
    """Let the atlas know the encoder, with what it was trained on; in this state unless it is known."""

    def is_known() -> bool:
        return any(e.fingerprint == spec.fingerprint for e in encoders.stored_encoders(store, level))

    if is_known():
        return
    with store.folder.writer("finetune", brief=True, patient=True), Run.record(store, "finetune") as run:
        if is_known():
            return  # somebody embedded with it while this waited, and it may be current: that must stay
        run.level, run.fingerprint = level, spec.fingerprint
        run.touched()
        encoders.put(store, StoredEncoder(level, spec, state))
        run.counts["encoders added"] += 1

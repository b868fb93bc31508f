"""The training loop: steps, log, validation, checkpoints, exact resume. Reads and writes the folder of a run."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from locatlas.errors import InputError, TrainingStoppedError
from locatlas.interrupts import Interrupt, deferred
from locatlas.models.training.checkpoint import (
    check_identity,
    load_checkpoint,
    save_checkpoint,
    settle_identity,
    write_identity,
)
from locatlas.models.training.curve import draw_curve
from locatlas.models.training.distributed import Processes, processes
from locatlas.models.training.log import TrainingLog, open_tensorboard
from locatlas.models.training.objective import Objective
from locatlas.models.training.plan import TrainingPlan
from locatlas.models.training.prefetch import prefetched
from locatlas.models.training.run_folder import held
from locatlas.models.training.state import RunState, TrainingResult
from locatlas.models.training.step import StepDone, Stepper

__all__ = ["Progress", "TrainingResult", "train"]

_LOGGER = logging.getLogger(__name__)

_FIRST_S = 10.0
"""Seconds after which the first checkpoint of a run is due."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

_REST = 20
_LONGEST_REST = 10
"""A checkpoint that took long is followed by 20 times as long without one, but no longer than 10 of the plan's pauses:
at most a twentieth of the time goes into large checkpoints on slow disks."""


def train(
    objective: Objective,
    plan: TrainingPlan,
    folder: Path,
    *,
    progress: Progress | None = None,
    resume: bool = True,
    identity: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train an objective's networks; a run that was killed is continued as if it had not been.

    Under torchrun every process calls this with the same arguments and a folder that all of them see; each takes its
    share of every batch, and process 0 writes. On Ctrl-C or SIGTERM the step is finished, a checkpoint written, and
    KeyboardInterrupt raised; a second one stops at once.

    Args:
        objective: Freshly made: its networks are as they were before the first step. Changed in place.
        plan: Length, rates, precision, seed.
        folder: Of the run: `plan.json`, `log.jsonl`, `checkpoint.pt`, and at the end `curve.svg` and `curve.png` where
            matplotlib is installed. Made if absent.
        progress: Called after every step.
        resume: Whether to continue from the checkpoint that is in the folder, if there is one; a finished run's result
            is given again. Else the run begins anew and replaces the old files.
        identity: What the caller knows that decides the result beside the plan, JSON-ready: digest of the images' ids,
            fingerprint of the encoder, options of the objective. A resume with another is refused.

    Raises:
        InputError: If the folder cannot be written, holds another training or one that runs, or the device does not
            exist.
        TrainingStoppedError: If the training diverged or collapsed; names the last good checkpoint.
        WeightsError: If the checkpoint is damaged.
    """
    with ExitStack() as stack:
        team = stack.enter_context(processes(plan.device))
        stack.enter_context(torch.random.fork_rng([team.device] if team.device.type == "cuda" else []))
        run = _Run(objective, plan, folder, team, stack.enter_context(deferred()), progress)
        run.open(stack, resume=resume, identity=identity or {})
        if run.state.stopped is None:
            run.train()
            run.draw()
        elif not run.is_drawn():  # killed after its last step
            run.draw()
        return run.result()


class _Run:
    """A run in its folder."""

    def __init__(
        self,
        objective: Objective,
        plan: TrainingPlan,
        folder: Path,
        team: Processes,
        interrupt: Interrupt,
        progress: Progress | None,
    ) -> None:
        self.state = RunState()
        self._objective, self._plan, self._folder = objective, plan, folder
        self._team, self._interrupt, self._progress = team, interrupt, progress
        self._n_steps = plan.n_steps(objective.n_images)
        self._looks_every = plan.validate_every or max(1, round(objective.n_images / plan.batch_size))
        self._checkpoint = folder / "checkpoint.pt"
        self._log: TrainingLog | None = None
        self._saved_step: int | None = None

    def open(self, stack: ExitStack, *, resume: bool, identity: Mapping[str, Any]) -> None:
        """Take up what is in the folder, or begin; the stack closes what was opened."""
        objective, plan, team = self._objective, self._plan, self._team
        settled = settle_identity(plan, objective.name, objective.n_images, self._n_steps, identity)
        if team.writes:
            stack.enter_context(held(self._folder))
        team.wait()
        content = load_checkpoint(self._checkpoint) if resume else None
        if content is not None:
            check_identity(self._folder / "plan.json", settled)
        self._stepper = Stepper(objective, plan, self._n_steps, team)
        if content is not None:
            self._stepper.load(content, self._checkpoint)
            self.state = RunState.from_dict(content["state"])
            self._saved_step = self.state.step
        team.agree_on(self.state.step, f"{self._folder}: the processes do not see the same checkpoint")
        objective.start(self._n_steps, team.device)
        if not team.writes:
            return
        if content is None:
            if resume and (self._folder / "log.jsonl").exists():
                _LOGGER.warning("%s: what was begun there had no checkpoint yet; it begins anew", self._folder)
            self._checkpoint.unlink(missing_ok=True)
        write_identity(self._folder / "plan.json", settled, plan)
        self._log = TrainingLog(self._folder / "log.jsonl", length=content["log_bytes"] if content else 0)
        stack.callback(self._log.close)
        if plan.tensorboard:
            self._log.mirror(open_tensorboard(self._folder / "tensorboard", from_step=self.state.step))

    def train(self) -> None:
        """All steps that are left."""
        state, plan = self.state, self._plan
        numbers = range(state.step * plan.accumulate, self._n_steps * plan.accumulate)
        parts = prefetched(self._stepper.part, numbers, workers=plan.workers)
        before, began = state.seconds, time.monotonic()
        cost, pause = 0.0, plan.checkpoint_every_s
        saved = began - max(0.0, pause - _FIRST_S)  # who stops a run does so early, as a rule
        try:
            while state.stopped is None:
                done = self._step(parts)
                self._look_if_due()
                if state.stopped is None and state.step == self._n_steps:
                    state.stopped = "finished"
                now = time.monotonic()
                state.seconds = before + now - began
                is_due = now - saved >= max(pause, min(_REST * cost, _LONGEST_REST * pause))
                # all processes agree; one alone need not wait for the next step to be told
                interrupted = done.is_interrupted or (self._interrupt.seen and self._team.world == 1)
                if (is_due and state.divergence.is_calm) or interrupted or state.stopped is not None:
                    self._save()
                    saved = time.monotonic()
                    cost = saved - now
                if interrupted and state.stopped is None:
                    self._interrupt.take()
                    raise KeyboardInterrupt  # another process was asked
        finally:
            parts.close()

    def _step(self, parts: Iterator[Any]) -> StepDone:
        state, began = self.state, time.monotonic()
        try:
            done = self._stepper.step(parts, state.step, state.divergence, interrupted=self._interrupt.seen)
        except TrainingStoppedError as error:
            raise self._stopped(error) from error
        except torch.OutOfMemoryError as error:
            plan = self._plan
            message = (
                f"the memory of {self._team.device} does not take {plan.batch_size} images in {plan.accumulate} parts; "
                f"take them in {2 * plan.accumulate} (accumulate), which changes no more than rounding"
            )
            raise self._stopped(TrainingStoppedError(message)) from error
        state.step += 1
        state.metrics = {"loss": done.loss, **done.metrics}
        if self._log is not None:
            rate = done.images / max(time.monotonic() - began, 1e-9)
            values = {"loss": done.loss, "metrics": done.metrics, "lr": done.lr, "wd": done.weight_decay}
            self._write("step", {**values, "grad_norm": done.grad_norm, "images_per_s": round(rate, 3)})
            if self._progress is not None:
                self._progress("training", state.step, self._n_steps)
        return done

    def _look_if_due(self) -> None:
        """At the validation part, from time to time and at the end."""
        state, patience = self.state, self._plan.patience
        if state.step % self._looks_every and state.step < self._n_steps:
            return
        looked = None
        if self._team.writes:
            with self._stepper.autocast():
                looked = self._objective.validate()
        exists, score = self._team.from_first([looked is not None, looked.score if looked else math.nan])
        if not exists:
            return
        if looked is not None:
            state.validation = dict(looked.metrics)
            self._write("validation", {"score": looked.score, "metrics": state.validation})
        best = state.best
        if patience is not None and best.improves(score):
            best.set(state.step, score, state.validation, self._objective.encoder_state())
        else:
            best.looks_since += 1
        if best.is_exhausted(patience) and state.step < self._n_steps:
            state.stopped = "early"

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        if self._log is not None:
            step = self.state.step
            epoch = round(step * self._plan.batch_size / self._objective.n_images, 6)
            self._log.write(kind, {"step": step, "epoch": epoch, **values})

    def _save(self) -> None:
        if self._log is not None:
            content = {"state": self.state.to_dict(), "log_bytes": self._log.sync(), **self._stepper.state()}
            save_checkpoint(self._checkpoint, content)
            self._saved_step = self.state.step

    def _stopped(self, error: TrainingStoppedError) -> TrainingStoppedError:
        """The error with where it happened and what is left."""
        self._write("stopped", {"reason": str(error)})
        self.draw()
        kept = self._saved_step
        where = "no checkpoint yet" if kept is None else f"last good checkpoint: {self._checkpoint}, of step {kept}"
        return TrainingStoppedError(f"training stopped at step {self.state.step + 1}: {error}; {where}")

    def draw(self) -> None:
        """The curve; a training is not lost for want of a picture."""
        if not self._team.writes:
            return
        try:
            draw_curve(self._folder / "log.jsonl", self._folder)
        except InputError as error:
            _LOGGER.warning("no curve drawn: %s", error)

    def is_drawn(self) -> bool:
        """Whether the curve is there."""
        return (self._folder / "curve.svg").is_file()

    def result(self) -> TrainingResult:
        """What came out."""
        state, best = self.state, self.state.best
        assert state.stopped is not None
        images = state.step * self._plan.batch_size
        seen = best.metrics if best.step is not None else state.validation
        return TrainingResult(
            steps=state.step,
            epochs=images / self._objective.n_images,
            stopped=state.stopped,
            best_step=best.step,
            metrics={**state.metrics, **{f"validation.{name}": value for name, value in seen.items()}},
            log=self._folder / "log.jsonl",
            seconds=state.seconds,
            images_per_s=images / max(state.seconds, 1e-9),
            encoder_state=best.encoder_state or self._objective.encoder_state(),
        )

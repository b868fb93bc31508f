"""The files by which a training is resumed: what it is, and how far it came. Reads and writes files."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from locatlas.errors import InputError
from locatlas.models.training.plan import TrainingPlan
from locatlas.models.training.run_folder import unwritable
from locatlas.models.weights import read_checkpoint

__all__ = ["check_identity", "load_checkpoint", "save_checkpoint", "settle_identity", "write_identity"]

_FORMAT = 1
"""Raised when the content of checkpoint or plan.json changes its meaning."""

_FREE = ("checkpoint_every_s", "workers", "device", "tensorboard")
"""Settings of the plan that do not decide the result: they may change when a run is resumed."""


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, complete or not at all: another name, fsync, rename.

    Raises:
        InputError: If it cannot be written, e.g. on a full disk; the last checkpoint is kept.
    """
    part = path.with_name(f".{path.name}.tmp")
    try:
        with part.open("wb") as file:
            torch.save({"format": _FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        part.unlink(missing_ok=True)
        raise unwritable(path, error, "the last checkpoint is kept") from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote, on the CPU; None where there is none. Nothing in the file is executed.

    Raises:
        WeightsError: If it is damaged.
        InputError: If it is of another format.
    """
    if not path.exists():
        return None
    content = read_checkpoint(path)
    if content.get("format") != _FORMAT:
        message = f"{path}: format {content.get('format')}, this locatlas reads {_FORMAT}; start in another folder"
        raise InputError(message)
    return content


def settle_identity(
    plan: TrainingPlan, objective: str, n_images: int, n_steps: int, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """All that decides the result of a training, JSON-ready."""
    decisive = {name: value for name, value in plan.to_dict().items() if name not in _FREE}
    raw = {
        "format": _FORMAT,
        "objective": objective,
        "n_images": n_images,
        "n_steps": n_steps,
        "plan": decisive,
        "of": dict(identity),
    }
    plain: dict[str, Any] = json.loads(json.dumps(raw, sort_keys=True))
    return plain


def write_identity(path: Path, identity: Mapping[str, Any], plan: TrainingPlan) -> None:
    """Write `plan.json`: the identity, the settings that may change, and torch's version.

    Raises:
        InputError: If it cannot be written.
    """
    free = {name: value for name, value in plan.to_dict().items() if name in _FREE}
    text = json.dumps({**identity, "free": free, "versions": {"torch": torch.__version__}}, indent=1, sort_keys=True)
    part = path.with_name(f".{path.name}.tmp")
    try:
        part.write_text(text + "\n")
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Compare with the `plan.json` of the run that is to be resumed.

    Raises:
        InputError: If it is not the same training; names what differs.
    """
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read ({error}), so that {path.parent} cannot be resumed"
        raise InputError(message) from error
    before, now = _flat(there), _flat(identity)
    differ = [
        f"{name} {before.get(name)} there, {now.get(name)} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and not name.startswith(("free.", "versions."))
    ]
    if differ:
        shown = "; ".join(differ[:5]) + (f"; and {len(differ) - 5} more" if len(differ) > 5 else "")
        message = f"{path.parent} holds another training: {shown}. Take another folder, or do not resume"
        raise InputError(message)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested names joined by dots."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out.update(_flat(value, f"{prefix}{name}."))
        else:
            out[f"{prefix}{name}"] = value
    return out


def _sync_folder(folder: Path) -> None:
    """Bring the rename to the disk, where the system lets a folder be synced."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

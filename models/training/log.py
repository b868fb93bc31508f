"""The log of a training: one JSON object a line, and the same for TensorBoard if wanted. Reads and writes files."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.models.training.run_folder import unwritable

__all__ = ["TrainingLog", "open_tensorboard", "read_log"]


class TrainingLog:
    """Appends lines to a log.

    A line of a step: `kind` "step", `step` (optimizer steps done, from 1), `epoch` (passes over the images, a
    fraction), `loss`, `metrics`, `lr`, `wd`, `grad_norm` (before clipping), `images_per_s`. A look at the validation
    part: `kind` "validation", `step`, `epoch`, `score`, `metrics`. The end of a run that went wrong: `kind` "stopped",
    `step`, `reason`. A number that is not finite is null.

    Args:
        path: `log.jsonl`.
        length: Bytes to keep of what is there; what a killed run wrote after its last checkpoint is cut off.

    Raises:
        InputError: If the file cannot be written, or is shorter than `length`.
    """

    def __init__(self, path: Path, *, length: int = 0) -> None:
        self._path = path
        self._board: Any = None
        try:
            # without a buffer: what a full disk did not take would be tried again, and fail again, on closing
            self._file = path.open("ab", buffering=0)
            there = self._file.tell()
            if there < length:
                self._file.close()
                message = f"{path}: {there} bytes, {length} when the checkpoint was written: it was changed or deleted"
                raise InputError(message)
            if there > length:
                self._file.truncate(length)
        except OSError as error:
            raise unwritable(path, error) from error

    def mirror(self, board: Any) -> None:
        """Also write to a TensorBoard writer, from `open_tensorboard`."""
        self._board = board

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            InputError: If it cannot be written, e.g. on a full disk.
        """
        line = json.dumps(_finite({"kind": kind, **values}), separators=(",", ":"), allow_nan=False)
        rest = line.encode() + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            raise unwritable(self._path, error) from error
        if self._board is not None:
            self._to_board(kind, values)

    def sync(self) -> int:
        """Bring all lines to the disk; the log's length in bytes, for the checkpoint.

        Raises:
            InputError: If they cannot be written.
        """
        try:
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _to_board(self, kind: str, values: Mapping[str, Any]) -> None:
        numbers = {**values, **values.get("metrics", {})}
        for name, value in numbers.items():
            if name != "step" and isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, values["step"])


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they are null."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def open_tensorboard(folder: Path, *, from_step: int) -> Any:
    """A writer of TensorBoard's files; entries after `from_step` of a run that was killed are hidden by it.

    Raises:
        InputError: If the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        message = "a log for TensorBoard needs tensorboard: pip install 'locatlas[tensorboard]'"
        raise InputError(message) from error
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All lines of a log, in order; a last line that a killed run left unfinished is left out.

    Raises:
        InputError: If it is not there or another line is damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})"
        raise InputError(message) from error
    found: list[dict[str, Any]] = []
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            message = f"{path}: line {number} is damaged ({error})"
            raise InputError(message) from error
    return found

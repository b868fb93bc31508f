"""The folder of a training on an atlas: found again, begun, and what it settled. Reads and writes `run.json`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from locatlas.errors import InputError
from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.rows import Parts
from locatlas.models import registry
from locatlas.models.home import home
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.plan import TrainingPlan
from locatlas.models.training.run_folder import held

__all__ = ["TrainingRun", "beginning", "find_run", "new_name", "runs_folder"]

_FORMAT = 1
_FILE = "run.json"
_OF_THE_TRAINING = "plan.json"
"""Written by the training itself when it begins."""

_WAIT_S = 60.0
"""For others to begin theirs, which takes a moment."""


def runs_folder() -> Path:
    """Where the folders of trainings are: $LOCATLAS_HOME/runs."""
    return home() / "runs"


def beginning() -> AbstractContextManager[None]:
    """Keep others out while a run is looked for, named and begun: two may want the same name, or be the same.

    Raises:
        InputError: On entering, if the folder of runs cannot be written, or another process stays in there.
    """
    return held(runs_folder(), wait_s=_WAIT_S, busy="another process is beginning a training; wait for it or stop it")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What was settled when a training was begun, so that continuing it does not depend on what changed since.

    Attributes:
        folder: Where it is.
        name: Of the encoder that will come out.
        atlas: The atlas folder.
        request: What was asked for.
        level: "fov" or "cell".
        parent: The encoder it begins from, or whose plan and transforms it takes, as settled.
        plan: Length and rates.
        parts: Images.
    """

    folder: Path
    name: str
    atlas: Path
    request: Mapping[str, Any]
    level: str
    parent: EncoderSpec
    plan: TrainingPlan
    parts: Parts

    def write(self) -> None:
        """Write `run.json`.

        Raises:
            InputError: If the folder cannot be written.
        """
        raw = {
            "format": _FORMAT,
            "name": self.name,
            "atlas": str(self.atlas),
            "request": self.request,
            "level": self.level,
            "parent": self.parent.to_json(),
            "plan": self.plan.to_dict(),
            "parts": self.parts.to_dict(),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / _FILE, (json.dumps(raw, indent=1, sort_keys=True) + "\n").encode())
        except OSError as error:
            message = f"{self.folder}: cannot be written ({error.strerror or error})"
            raise InputError(message) from error

    def forget_unless_begun(self) -> None:
        """Take `run.json` away if no step was ever begun, so that what could not be trained does not keep the name."""
        if (self.folder / _OF_THE_TRAINING).exists():
            return
        (self.folder / _FILE).unlink(missing_ok=True)
        with suppress(OSError):  # others' files may lie in it
            self.folder.rmdir()

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The run of a folder, None where there is none.

        Raises:
            InputError: If the file is damaged.
        """
        path = folder / _FILE
        if not path.is_file():
            return None
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != _FORMAT:
                message = f"{path}: format {raw['format']}, this locatlas reads {_FORMAT}; name another --run-folder"
                raise InputError(message)
            return cls(
                folder=folder,
                name=raw["name"],
                atlas=Path(raw["atlas"]),
                request=raw["request"],
                level=raw["level"],
                parent=EncoderSpec.from_json(raw["parent"]),
                plan=TrainingPlan(**raw["plan"]),
                parts=Parts.from_dict(raw["parts"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            message = f"{path}: not the description of a training ({error})"
            raise InputError(message) from error

    def result(self) -> EncoderSpec | None:
        """The encoder that came out, None where it is not registered yet."""
        if not registry.own_encoder_path(self.name).is_file():
            return None
        return registry.get(self.name)

    def check(self, request: FinetuneRequest, atlas: Path, name: str | None) -> None:
        """See that it is the training that is asked for.

        Raises:
            InputError: Naming what differs.
        """
        now: dict[str, Any] = json.loads(json.dumps(request.to_dict()))
        differ = [f"{k} {self.request.get(k)!r} there, {now[k]!r} now" for k in now if self.request.get(k) != now[k]]
        differ += [f"atlas {self.atlas} there, {atlas} now"] if self.atlas != atlas else []
        differ += [f"name {self.name} there, {name} now"] if name not in (None, self.name) else []
        if differ:
            message = f"{self.folder}: holds another training ({'; '.join(differ)}); choose another --name"
            raise InputError(message)


def _all_runs() -> Iterator[TrainingRun]:
    for path in sorted(runs_folder().glob(f"*/{_FILE}")):
        if (run := TrainingRun.read(path.parent)) is not None:
            yield run


def find_run(
    request: FinetuneRequest, atlas: Path, current: EncoderSpec, *, name: str | None, folder: Path | None
) -> TrainingRun | None:
    """The training that was begun by the same command, finished or not.

    Args:
        request: What is asked for.
        atlas: The atlas folder.
        current: The encoder that it would begin from now. Where it is what came out of the run, the same command was
            run to its end; it is not meant to go on from its own result.
        name: Of the encoder that is to come out, where the user names it.
        folder: Of the run, where the user names it.

    Raises:
        InputError: If the named folder holds another training.
    """
    if folder is not None or name is not None:
        run = TrainingRun.read(folder or runs_folder() / str(name))
        if run is not None:
            run.check(request, atlas, name)
        return run
    asked = json.loads(json.dumps(request.to_dict()))
    for run in _all_runs():
        made = run.result()
        begins_there = run.parent.fingerprint == current.fingerprint
        is_its_result = made is not None and made.weights_sha256 == current.weights_sha256
        if run.atlas == atlas and run.request == asked and (begins_there or is_its_result):
            return run
    return None


def new_name(stem: str) -> str:
    """`<stem>-<n>`, the first that neither an encoder nor a run has."""
    n = 1
    while registry.own_encoder_path(f"{stem}-{n}").exists() or (runs_folder() / f"{stem}-{n}").exists():
        n += 1
    return f"{stem}-{n}"

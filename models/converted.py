"""Networks that were converted for OpenVINO, kept in LOCATLAS_HOME: converting takes seconds each time. Reads, writes.

An entry is a folder `openvino/<key>/`: OpenVINO's model for batches of any size, digests of its files, and on which
processors its vectors were compared with torch's. The key names all that decides the model: the encoder's fingerprint
(and so its weights), the layers of its network, the source of the modules that compute it here (a checkout changes
without another version), and the versions of OpenVINO, torch, timm and locatlas. Entries that are damaged are told of
and made anew, what is left of those whose writing or removal was cut short goes, and beyond `KEPT_BYTES` those that
were not used for longest.
"""

import hashlib
import inspect
import json
import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from locatlas.models import architectures, plain_vit, pooling, stem, subcell, vit
from locatlas.models.home import home
from locatlas.models.spec import EncoderSpec

__all__ = ["KEPT_BYTES", "Entry", "entry_of"]

logger = logging.getLogger(__name__)

KEPT_BYTES = 2 << 30
"""Of all entries, 24 of a ViT-S; the one that was used last stays, however large it is."""

COMPUTES = (architectures, plain_vit, pooling, stem, subcell, vit)
"""Modules whose text decides what a network computes; `repr` of one says no more than its layers."""

_WRITTEN_WITHIN = 3600.0  # seconds, that it takes to write an entry at most

_MODEL = ("model.xml", "model.bin")
_SEAL = "entry.json"
_COMPARED = "compared.json"


def entry_of(spec: EncoderSpec, network: nn.Module, openvino: str) -> "Entry":
    """Where the converted network of an encoder is kept, whether it is there or not.

    Args:
        spec: Its weights are settled, so that it has a fingerprint of its own.
        network: From `vit.build`; its weights are not looked at.
        openvino: Version.
    """
    decides = [
        *(spec.fingerprint, str(spec.weights_sha256), repr(network), openvino),
        *(torch.__version__, _version("timm"), _version("locatlas"), _source()),
    ]
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]
    return Entry(home() / "openvino" / key)


class Entry:
    """A converted network on disk.

    Args:
        folder: Its own; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __bool__(self) -> bool:
        """Whether there is one; its bytes are not looked at."""
        return (self.folder / _SEAL).is_file()

    def read(self, core: Any) -> Any | None:
        """OpenVINO's model; None where there is none. One that is not what was written is told of and removed.

        Args:
            core: `openvino.Core()`.
        """
        if not self:
            return None
        try:
            digests = json.loads((self.folder / _SEAL).read_text())
            if any(digests[name] != _digest(self.folder / name) for name in _MODEL):
                problem = "its digest is another"
            else:
                os.utime(self.folder / _SEAL)  # used now
                return core.read_model(self.folder / _MODEL[0])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            problem = next(iter(str(error).splitlines()), type(error).__name__)
        logger.warning("%s: damaged (%s); the network is converted again", self.folder, problem)
        shutil.rmtree(self.folder, ignore_errors=True)
        return None

    def write(self, openvino: Any, model: Any) -> None:
        """Keep a model, complete or not at all, and make room; where that fails it is told, and nothing is kept.

        Args:
            openvino: The module.
            model: As converted.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix=".") as name:
                part = Path(name) / "entry"
                part.mkdir()
                openvino.save_model(model, part / _MODEL[0], compress_to_fp16=False)
                digests = {name: _digest(part / name) for name in _MODEL}
                (part / _SEAL).write_text(json.dumps(digests, indent=1) + "\n")
                if not self:
                    shutil.rmtree(self.folder, ignore_errors=True)  # what is left of a removal that was cut short
                try:
                    part.rename(self.folder)
                except OSError:
                    if not self:  # another process was as quick
                        raise
            _make_room(self.folder)
        except (OSError, RuntimeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            logger.warning(
                "%s: the converted network cannot be kept (%s); it is used all the same", self.folder, reason
            )

    def was_compared(self, how: str) -> bool:
        """Whether vectors were compared with torch's, and near enough, under the conditions `how`."""
        return how in self._compared()

    def compared(self, how: str) -> None:
        """Keep that they were."""
        if not self or how in (known := self._compared()):
            return
        with suppress(OSError):  # they are compared again the next time
            part = self.folder / f".{_COMPARED}.{os.getpid()}"
            part.write_text(json.dumps([*known, how], indent=1) + "\n")
            part.replace(self.folder / _COMPARED)

    def _compared(self) -> list[str]:
        try:
            found = json.loads((self.folder / _COMPARED).read_text())
        except (OSError, ValueError):
            return []
        return [how for how in found if isinstance(how, str)] if isinstance(found, list) else []


def _version(package: str) -> str:
    """Of an installed package; a checkout that is not installed has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@cache
def _source() -> str:
    """Digest of the text of the modules in `COMPUTES`."""
    texts = [inspect.getsource(module) for module in COMPUTES]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_room(used: Path) -> None:
    """Remove what lacks a seal, and what was not used for longest beyond `KEPT_BYTES`, but for the entry in use."""
    folders = [path for path in used.parent.iterdir() if path != used and path.is_dir()]
    others = [path for path in folders if path.name[0] != "."]
    for part in set(folders).difference(others):  # another process may be writing it, but not for so long
        if time.time() - part.stat().st_mtime > _WRITTEN_WITHIN:
            shutil.rmtree(part, ignore_errors=True)
    room = KEPT_BYTES - _bytes_of(used)
    for folder in sorted(others, key=_used_at, reverse=True):
        room -= _bytes_of(folder)
        if room < 0 or not Entry(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _used_at(folder: Path) -> float:
    """When an entry was read or written; 0 for one without a seal."""
    try:
        return (folder / _SEAL).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())

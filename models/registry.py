"""Encoder names and what they stand for: those of `encoders.toml` and a user's own. Reads files; imports no torch."""

import functools
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locatlas.errors import InputError, UnknownNameError
from locatlas.models.home import encoders_folder
from locatlas.models.spec import EncoderSpec, Intensity, Pooling, Precision, Resize
from locatlas.models.training.manifest import TrainingManifest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add", "get", "list_encoders", "own_encoder_path", "register", "training", "training_by_weights"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_TRAINING = ".training"
"""Ends the name of the record of a training; no encoder's name ends so."""


def list_encoders(pattern: str = "*") -> list[EncoderSpec]:
    """Every known encoder whose name matches a shell pattern, sorted by name; those of locatlas and the user's own.

    Raises:
        InputError: If the file of a user's encoder is damaged.
    """
    names = sorted({*_shipped(), *_own_names()})
    return [get(name) for name in names if fnmatchcase(name, pattern)]


def get(name: str) -> EncoderSpec:
    """The encoder of that name, as registered: its channel plan is the registered one, its digest may be unknown.

    Raises:
        UnknownNameError: If no encoder has that name; lists those that exist.
        InputError: If the file of a user's encoder is damaged.
    """
    if name in _shipped():
        return _shipped()[name]
    if name in _own_names():
        return _read_own(own_encoder_path(name))
    known = {*_shipped(), *_own_names()}
    raise UnknownNameError("encoder", name, known, hint="`locatlas encoders add` registers your own")


def add(
    name: str,
    *,
    weights: Path,
    architecture: str,
    slots: Sequence[str],
    input_px: int,
    pooling: Pooling | None = None,
    block: int | None = None,
    views: int = 1,
    intensity: Intensity = "percentile",
    percentiles: tuple[float, float] = (0.0, 99.8),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: Resize = "square",
    pixel_size_um: float | None = None,
    precision: Precision = "fp32",
    source: str = "file",
    license: str = "",  # noqa: A002  the spec's own name
    paper: str = "",
    parent: str | None = None,
    notes: str = "",
) -> EncoderSpec:
    """Register a user's own encoder: its weights are checked, converted and copied to $LOCATLAS_HOME/encoders.

    The network is built and the weights are loaded into it, every tensor accounted for, before anything is written.

    Args:
        name: New name, by convention `architecture.weights`.
        weights: A file in any of the layouts of `layouts.convert`; it is not changed and not needed afterwards.
        architecture: As `EncoderSpec`.
        slots: As `EncoderSpec`; as many as the file's patch embedding has inputs.
        input_px: As `EncoderSpec`.
        pooling: As `EncoderSpec`; None takes that of the architecture, `gated_attention` for SubCell, else `cls`.
        block: As `EncoderSpec`.
        views: As `EncoderSpec`.
        intensity: As `EncoderSpec`, and so are the arguments that follow.
        percentiles: See there.
        mean: See there.
        std: See there.
        resize: See there.
        pixel_size_um: See there.
        precision: See there.
        source: See there.
        license: See there.
        paper: See there.
        parent: See there.
        notes: See there.

    Returns:
        The spec as `get` will give it; `weights_sha256` is that of the safetensors file that was written.

    Raises:
        InputError: If the name is taken or cannot be one, or the fields contradict each other.
        WeightsError: If the file cannot be read safely or does not fit the architecture exactly.
        UnknownNameError: If neither locatlas nor timm has the architecture.
    """
    from locatlas.models import vit  # torch: not needed to list names
    from locatlas.models import weights as weights_io

    path = own_encoder_path(name)
    if name in _shipped() or path.exists():
        message = f"encoder {name!r} exists already; choose another name"
        raise InputError(message)
    spec = EncoderSpec(
        name=name,
        architecture=architecture,
        slots=tuple(slots),
        input_px=input_px,
        embedding_dim=1,  # known once the network is built
        pooling=pooling or vit.default_pooling(architecture),
        block=block,
        views=views,
        intensity=intensity,
        percentiles=percentiles,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        resize=resize,
        pixel_size_um=pixel_size_um,
        precision=precision,
        source=source,
        license=license,
        paper=paper,
        parent=parent,
        notes=notes,
    )
    network = vit.build(spec)
    state = weights_io.load_state(weights)
    weights_io.fill_from(network, state, weights)
    digest = weights_io.save(state.tensors, path.with_name(f"{name}.safetensors"))
    spec = spec.with_changes(embedding_dim=vit.embedding_dim(network), weights_sha256=digest)
    _write(path, spec.to_json())
    return spec


def register(spec: EncoderSpec, tensors: Mapping[str, "Tensor"], manifest: TrainingManifest) -> EncoderSpec:
    """Register an encoder that was trained here, with its whole plan and the record of its training.

    The same name, spec, weights and manifest a second time do nothing, so that a run that was killed between training
    and here may be run again.

    Args:
        spec: Its plan; `weights_sha256` is found here.
        tensors: Under the names of `vit.weights_module(network).state_dict()`.
        manifest: `encoder` and `weights_sha256` are filled in here.

    Returns:
        The spec as `get` and `resolve` will give it.

    Raises:
        InputError: If the name is taken by another encoder, or cannot be one.
        WeightsError: If the tensors do not fit the architecture exactly, or are not finite.
    """
    from locatlas.models import vit
    from locatlas.models import weights as weights_io
    from locatlas.models.layouts import Converted

    path = own_encoder_path(spec.name)
    weights = path.with_name(f"{spec.name}.safetensors")
    part = path.with_name(f".{spec.name}.trained.safetensors")
    network = vit.build(spec)
    weights_io.fill_from(network, Converted(dict(tensors), "locatlas", ()), part)
    digest = weights_io.save(tensors, part)
    spec = spec.with_changes(embedding_dim=vit.embedding_dim(network), weights_sha256=digest)
    if spec.name in _shipped() or (path.exists() and _read_own(path) != spec):
        part.unlink()
        message = f"encoder {spec.name!r} exists already and is another one; choose another name"
        raise InputError(message)
    if path.exists():
        part.unlink()
        return spec
    os.replace(part, weights)
    _write(_training_path(spec.name), replace(manifest, encoder=spec.name, weights_sha256=digest).to_json())
    _write(path, spec.to_json())  # last: without it there is no such encoder
    return spec


def training(name: str) -> TrainingManifest | None:
    """What a user's own encoder was trained on; None where it was not trained here.

    Raises:
        InputError: If the record is damaged.
    """
    path = _training_path(name)
    return None if name in _shipped() or not path.is_file() else _read_training(path)


def training_by_weights(weights_sha256: str) -> TrainingManifest | None:
    """What the weights of that digest were trained on, if that was here; they may have been added under other names.

    Raises:
        InputError: If a record is damaged.
    """
    records = (_read_training(path) for path in sorted(encoders_folder().glob(f"*{_TRAINING}.json")))
    return next((known for known in records if known.weights_sha256 == weights_sha256), None)


def _read_training(path: Path) -> TrainingManifest:
    try:
        return TrainingManifest.from_json(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, InputError) as error:
        message = f"{path}: {error}"
        raise InputError(message) from error


def _training_path(name: str) -> Path:
    return own_encoder_path(name).with_name(f"{name}{_TRAINING}.json")


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)


def own_encoder_path(name: str) -> Path:
    """Where the description of a user's encoder lies; the file need not exist.

    Raises:
        InputError: If the name could not be a file name.
    """
    if not _NAME.fullmatch(name) or name.endswith(_TRAINING):
        message = (
            f"encoder name {name!r}: letters, digits, '.', '_' and '-' only, starting with a letter or digit, and not "
            f"ending in {_TRAINING}"
        )
        raise InputError(message)
    return encoders_folder() / f"{name}.json"


def _own_names() -> list[str]:
    names = (path.stem for path in encoders_folder().glob("*.json"))
    return [name for name in names if _NAME.fullmatch(name) and not name.endswith(_TRAINING)]


def _read_own(path: Path) -> EncoderSpec:
    try:
        spec = EncoderSpec.from_json(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, InputError) as error:
        message = f"{path}: not the description of an encoder ({error})"
        raise InputError(message) from error
    if spec.name != path.stem:
        message = f"{path}: describes encoder {spec.name!r}; the file must carry its name"
        raise InputError(message)
    return spec


@functools.cache
def _shipped() -> dict[str, EncoderSpec]:
    """The encoders of encoders.toml by name."""
    text = resources.files("locatlas.models").joinpath("encoders.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return {name: _spec(name, entry, tables["families"]) for name, entry in tables["encoders"].items()}


def _spec(name: str, entry: dict[str, Any], families: dict[str, dict[str, Any]]) -> EncoderSpec:
    """One entry with the fields of its families filled in; a timm encoder's source follows from its name."""
    values = dict(entry)
    while "like" in values:
        values = {**families[values.pop("like")], **values}
    values.setdefault("architecture", name.partition(".")[0])
    values.setdefault("source", f"timm:{name}")
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return EncoderSpec(name=name, **fields)

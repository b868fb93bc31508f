"""Encoder names and what they stand for: those of `encoders.toml` and a user's own. Reads files; imports no torch."""

import functools
import json
import re
import tomllib
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, UnknownNameError
from locatlas.models.home import encoders_folder
from locatlas.models.spec import EncoderSpec

__all__ = ["get", "list_encoders", "own_encoder_path"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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


def own_encoder_path(name: str) -> Path:
    """Where the description of a user's encoder lies; the file need not exist.

    Raises:
        InputError: If the name could not be a file name.
    """
    if not _NAME.fullmatch(name):
        message = f"encoder name {name!r}: letters, digits, '.', '_' and '-' only, starting with a letter or digit"
        raise InputError(message)
    return encoders_folder() / f"{name}.json"


def _own_names() -> list[str]:
    return [path.stem for path in encoders_folder().glob("*.json") if _NAME.fullmatch(path.stem)]


def _read_own(path: Path) -> EncoderSpec:
    try:
        spec = EncoderSpec.from_json(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
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

"""A grid of measurements as a TOML file says it, checked. Reads one file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, get_args

from locatlas.errors import InputError, UnknownNameError
from locatlas.models.training.heads import HeadKind
from locatlas.query.benchmark.cell import CLASSIFIERS, OBJECTIVES, PROTOCOLS
from locatlas.query.benchmark.published import list_published
from locatlas.types import LEVELS

__all__ = ["CURRENT", "EncoderEntry", "Grid", "grid_text", "list_grids", "load_grid"]

CURRENT = "current"
"""Name that stands for the encoder that an atlas uses at the level."""

DEFAULT_KS = (1, 3, 5, 10, 20, 50)

_MAPPINGS, _PASSES, _VOTES = (
    ("natural", "random", "replicate"),
    ("joint", "separate"),
    ("uniform", "distance", "softmax"),
)
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "folds": int,
    "hold_out": (int, float),
    "validation": (int, float),
    "min_groups": int,
    "group": str,
    "map_labels": str,
    "reference": str,
    "query": str,
    "overlap": str,
    "grade_weights": str,
    "temperature": (int, float),
    "threshold": (int, float),
    "where": list,
    "label_source": str,
    "allow_training_groups": bool,
}
_FINETUNE: dict[str, type | tuple[type, ...]] = {
    "epochs": (int, float),
    "steps": int,
    "batch_size": int,
    "lr": (int, float),
    "blocks": int,
    "head": str,
    "validation": (int, float),
}
assert set(get_args(HeadKind)) | {"knn"} == set(CLASSIFIERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEntry:
    """An encoder with the plans that it is measured with.

    Attributes:
        name: Of the registry or of the atlas; `current` for the one that the atlas uses.
        mappings: Channel plans.
        passes: `joint` or `separate`.
        mapping_seeds: Of mapping `random`.
        stains: Channels that are used; () for all.
    """

    name: str
    mappings: tuple[str, ...] = ("natural",)
    passes: tuple[str, ...] = ("joint",)
    mapping_seeds: tuple[int, ...] = (0, 1, 2)
    stains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is measured: every combination of the lists that makes sense.

    Attributes:
        name: Short name.
        title: One line.
        question: What it answers.
        caution: When the answer misleads.
        published: Names of published numbers that it is shown beside.
        encoders: With their plans.
        levels: "fov", "cell", "protein".
        labels: `single`, `multi`.
        protocols: As `cell.Protocol`.
        classifiers: `knn` and kinds of heads.
        ks: Neighborhood sizes of `knn`.
        votes: Of `knn`.
        compare_k: At which encoders are compared; None for the middle one of `ks`.
        fractions: Shares of the groups that may be learned from.
        objectives: `frozen`, and fine-tunings with protocol `protein-holdout`.
        seeds: Repeats.
        settings: As `Cell.settings`.
        finetune: Settings of fine-tuning.
    """

    name: str
    title: str
    encoders: tuple[EncoderEntry, ...]
    protocols: tuple[str, ...]
    question: str = ""
    caution: str = ""
    published: tuple[str, ...] = ()
    levels: tuple[str, ...] = ("fov",)
    labels: tuple[str, ...] = ("single",)
    classifiers: tuple[str, ...] = ("knn",)
    ks: tuple[int, ...] = DEFAULT_KS
    votes: tuple[str, ...] = ("uniform",)
    compare_k: int | None = None
    fractions: tuple[float, ...] = (1.0,)
    objectives: tuple[str, ...] = ("frozen",)
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: Mapping[str, Any] = field(default_factory=dict)
    finetune: Mapping[str, Any] = field(default_factory=dict)

    def with_encoders(self, names: Sequence[str]) -> Self:
        """The same grid for other encoders: each with all the plans that any encoder of the grid has."""
        if not names:
            return self
        mappings = tuple(dict.fromkeys(m for e in self.encoders for m in e.mappings))
        passes = tuple(dict.fromkeys(p for e in self.encoders for p in e.passes))
        seeds = tuple(dict.fromkeys(s for e in self.encoders for s in e.mapping_seeds))
        entries = [
            EncoderEntry(name=n, mappings=mappings, passes=passes, mapping_seeds=seeds) for n in dict.fromkeys(names)
        ]
        return replace(self, encoders=tuple(entries))

    def with_settings(self, given: Mapping[str, Any]) -> Self:
        """The same grid with some settings replaced; None leaves what the grid says."""
        return replace(self, settings={**self.settings, **{k: v for k, v in given.items() if v is not None}})


def list_grids() -> list[str]:
    """Names of the grids that come with locatlas."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def _shipped() -> Any:
    return files("locatlas.query.benchmark").joinpath("grids")


def load_grid(name: str | Path) -> Grid:
    """A grid by its name, or from a file.

    Args:
        name: One of `list_grids`, or the path of a TOML file.

    Raises:
        UnknownNameError: If it is neither.
        InputError: If the file cannot be read, or says what no grid can mean; the message names file and key.
    """
    text, where = grid_text(name)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{where}: not TOML ({error})"
        raise InputError(message) from error
    return _grid(raw, Path(name).name.removesuffix(".toml"), where)


def grid_text(name: str | Path) -> tuple[str, str]:
    """A grid's TOML, and how to name it in a message; arguments and errors as those of `load_grid`."""
    path = Path(name)
    if str(name) in list_grids():
        text, where = _shipped().joinpath(f"{name}.toml").read_text(encoding="utf-8"), f"grid {name}"
    elif path.suffix == ".toml":
        try:
            text, where = path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            message = f"{path}: cannot be read ({error})"
            raise InputError(message) from error
    else:
        raise UnknownNameError("grid", str(name), list_grids(), hint="or the path of a .toml file")
    return text, where


def _grid(raw: dict[str, Any], name: str, where: str) -> Grid:
    said = _Reader(where, raw)
    entries = said.tables("encoders")
    measure, settings, finetune = (
        _Reader(f"{where}, [{key}]", said.table(key)) for key in ("measure", "settings", "finetune")
    )
    grid = Grid(
        name=name,
        title=said.text("title", needed=True),
        question=said.text("question"),
        caution=said.text("caution"),
        published=said.texts("published", [one.name for one in list_published()]),
        encoders=tuple(_entry(entry, f"{where}, [[encoders]] {i}") for i, entry in enumerate(entries, start=1)),
        protocols=measure.texts("protocols", PROTOCOLS, needed=True),
        levels=measure.texts("levels", LEVELS) or ("fov",),
        labels=measure.texts("labels", ("single", "multi")) or ("single",),
        classifiers=measure.texts("classifiers", CLASSIFIERS) or ("knn",),
        ks=measure.numbers("ks", int, least=1) or DEFAULT_KS,
        votes=measure.texts("votes", _VOTES) or ("uniform",),
        compare_k=measure.number("compare_k"),
        fractions=measure.numbers("fractions", float, least=0, most=1) or (1.0,),
        objectives=measure.texts("objectives", OBJECTIVES) or ("frozen",),
        seeds=measure.numbers("seeds", int, least=0) or (0, 1, 2),
        settings=settings.values(_SETTINGS),
        finetune=finetune.values(_FINETUNE),
    )
    for reader in (said, measure):
        reader.done()
    if not grid.encoders:
        message = f"{where}: no [[encoders]]"
        raise InputError(message)
    if grid.compare_k is not None and grid.compare_k not in grid.ks:
        message = f"{where}, [measure]: compare_k = {grid.compare_k} is none of ks"
        raise InputError(message)
    if "transfer" in grid.protocols and not {"reference", "query"} <= grid.settings.keys():
        message = f"{where}: protocol transfer needs reference and query in [settings], the names of two data sets"
        raise InputError(message)
    if set(grid.objectives) - {"frozen"} and "protein-holdout" not in grid.protocols:
        message = f"{where}: objectives {', '.join(grid.objectives)} need protocol protein-holdout"
        raise InputError(message)
    return grid


def _entry(raw: dict[str, Any], where: str) -> EncoderEntry:
    said = _Reader(where, raw)
    entry = EncoderEntry(
        name=said.text("name", needed=True),
        mappings=said.texts("mappings", _MAPPINGS) or ("natural",),
        passes=said.texts("passes", _PASSES) or ("joint",),
        mapping_seeds=said.numbers("mapping_seeds", int, least=0) or (0, 1, 2),
        stains=said.texts("stains"),
    )
    said.done()
    return entry


class _Reader:
    """Takes values out of a table, and tells what is wrong with them, or left over, by file and key."""

    def __init__(self, where: str, raw: dict[str, Any]) -> None:
        self._where, self._raw, self._met = where, raw, set[str]()

    def _refuse(self, key: str, why: str) -> None:
        message = f"{self._where}: {key} {why}"
        raise InputError(message)

    def _take(self, key: str, kind: type | tuple[type, ...], *, needed: bool = False) -> Any:
        self._met.add(key)
        if key not in self._raw:
            if needed:
                self._refuse(key, "is missing")
            return None
        value = self._raw[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._refuse(key, f"= {value!r}: another type needed")
        return value

    def text(self, key: str, *, needed: bool = False) -> str:
        return self._take(key, str, needed=needed) or ""

    def texts(self, key: str, allowed: Sequence[str] = (), *, needed: bool = False) -> tuple[str, ...]:
        values = self._take(key, list, needed=needed) or []
        for value in values:
            if not isinstance(value, str) or (allowed and value not in allowed):
                self._refuse(key, f"holds {value!r}: {', '.join(allowed) if allowed else 'text'} needed")
        if needed and not values:
            self._refuse(key, "is empty")
        return tuple(dict.fromkeys(values))

    def numbers(self, key: str, kind: type, *, least: float, most: float | None = None) -> tuple[Any, ...]:
        values = self._take(key, list) or []
        for value in values:
            fits = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
            if not fits or value < least or (most is not None and not least < value <= most):
                limits = f"from {least} on" if most is None else f"in ({least}, {most}]"
                self._refuse(key, f"holds {value!r}: numbers {limits} needed")
        return tuple(dict.fromkeys(kind(value) for value in values))

    def number(self, key: str) -> int | None:
        value: int | None = self._take(key, int)
        return value

    def table(self, key: str) -> dict[str, Any]:
        return self._take(key, dict) or {}

    def tables(self, key: str) -> list[dict[str, Any]]:
        values = self._take(key, list) or []
        for value in values:
            if not isinstance(value, dict):
                self._refuse(key, "must be tables, [[encoders]]")
        return values

    def values(self, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
        """All values of a table of known keys."""
        found = {key: self._take(key, kind) for key, kind in known.items() if key in self._raw}
        self.done(known)
        return found

    def done(self, known: Mapping[str, Any] | None = None) -> None:
        """Refuse what nobody asked for.

        Raises:
            InputError: If a key is unknown.
        """
        if over := sorted(set(self._raw) - self._met):
            message = f"{self._where}: unknown key {over[0]!r}; known: {', '.join(sorted(known or self._met))}"
            raise InputError(message)

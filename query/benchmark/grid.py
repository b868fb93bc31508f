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
from locatlas.query.benchmark.grid_checks import check_grid
from locatlas.query.benchmark.grid_reader import Reader
from locatlas.query.benchmark.published import list_published
from locatlas.query.benchmark.settings import FINETUNE, SETTINGS
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
    said = Reader(where, raw)
    entries = said.tables("encoders")
    measure, settings, finetune = (
        Reader(f"{where}, [{key}]", said.table(key)) for key in ("measure", "settings", "finetune")
    )
    grid = Grid(
        name=name,
        title=said.text("title", needed=True),
        question=said.text("question"),
        caution=said.text("caution"),
        published=said.texts("published", [one.name for one in list_published()], empty=True),
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
        settings=settings.values(SETTINGS),
        finetune=finetune.values(FINETUNE),
    )
    for reader in (said, measure):
        reader.done()
    if not grid.encoders:
        message = f"{where}: no [[encoders]]"
        raise InputError(message)
    check_grid(grid, where)
    return grid


def _entry(raw: dict[str, Any], where: str) -> EncoderEntry:
    said = Reader(where, raw)
    entry = EncoderEntry(
        name=said.text("name", needed=True),
        mappings=said.texts("mappings", _MAPPINGS) or ("natural",),
        passes=said.texts("passes", _PASSES) or ("joint",),
        mapping_seeds=said.numbers("mapping_seeds", int, least=0) or (0, 1, 2),
        stains=said.texts("stains", empty=True),
    )
    said.done()
    return entry

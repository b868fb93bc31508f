"""What others published, numbers and orderings, with condition and source. Reads one file of the package."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from locatlas.errors import UnknownNameError
from locatlas.query.benchmark.cell import Cell

__all__ = ["Ordering", "Published", "list_orderings", "list_published", "published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A number that was not measured here.

    Attributes:
        name: Short name.
        value: In [0, 1].
        metric: E.g. `macro_f1`.
        label: A few words.
        condition: What it was measured on, in words, with what is not known.
        source: Where it stands.
        spread: The number after its ±; None where there is none. Over what it was taken is told in no source.
        at_least: Whether it is a lower limit.
        level: Of what it was measured on.
        classifier: `knn` or `head`.
        objective: `frozen` or `fine-tuned`.
        evidence: `abstract` of the paper, or `summary` by third parties.
    """

    name: str
    value: float
    metric: str
    label: str
    condition: str
    source: str
    level: str
    classifier: str
    objective: str
    evidence: str
    spread: float | None = None
    at_least: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def fits(self, cell: Cell) -> bool:
        """Whether it may stand beside a measurement: same level, and both nearest neighbors or both heads."""
        return self.level == cell.level and self.classifier == ("knn" if cell.classifier == "knn" else "head")

    @property
    def number(self) -> str:
        """As it was printed, e.g. "0.822 ± 0.007"; the digits of the file, at least three."""
        places = max(3, *(len(repr(x)) - 2 for x in (self.value, self.spread or 0.0)))
        spread = "" if self.spread is None else f" ± {self.spread:.{places}f}"
        return f"{'≥ ' if self.at_least else ''}{self.value:.{places}f}{spread}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """Which of two did better by others, who gave no numbers of both.

    Attributes:
        name: Short name.
        better: What an encoder or plan must have to be the better one, attributes of `Cell`.
        worse: To be the other one; empty for any that is not the better.
        text: In words.
        condition: What it was seen on, with what is not known.
        source: Where it stands.
        evidence: `abstract` of the paper, or `summary` by third parties.
        where: What both must have, attributes of `Cell`, e.g. the level.
    """

    name: str
    text: str
    condition: str
    source: str
    evidence: str
    better: Mapping[str, str] = field(default_factory=dict)
    worse: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def side(self, first: Cell, second: Cell, where: Mapping[str, object]) -> int:
        """1 if it says that the first does better, -1 if the second, 0 if it is about other pairs.

        The two must not differ in what it does not name: encoder, channel plan, stains, fine-tuning.

        Args:
            first: A plan.
            second: Another.
            where: What both have in common, as `Paired.where`.
        """
        if any(where.get(name) != value for name, value in self.where.items()):
            return 0
        named = {*self.better, *self.worse}
        free = {"mapping", "passes", "stains"} if "encoder" in named else set()  # other encoders need other plans
        others = {"encoder", "mapping", "passes", "stains", "objective"} - named - free
        if any(getattr(first, name) != getattr(second, name) for name in others):
            return 0
        if _has(first, self.better) and _has(second, self.worse) and not _has(second, self.better):
            return 1
        if _has(second, self.better) and _has(first, self.worse) and not _has(first, self.better):
            return -1
        return 0


def _has(cell: Cell, said: Mapping[str, str]) -> bool:
    return all(getattr(cell, name) == value for name, value in said.items())


@cache
def _all() -> tuple[dict[str, Published], dict[str, Ordering]]:
    text = files("locatlas.query.benchmark").joinpath("published.toml").read_text(encoding="utf-8")
    said = tomllib.loads(text)
    numbers = {name: Published(name=name, **one) for name, one in said["numbers"].items()}
    return numbers, {name: Ordering(name=name, **one) for name, one in said["orderings"].items()}


def list_published() -> list[Published]:
    """All numbers."""
    return list(_all()[0].values())


def list_orderings() -> list[Ordering]:
    """All orderings."""
    return list(_all()[1].values())


def published(name: str) -> Published:
    """One of the numbers.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in _all()[0]:
        raise UnknownNameError("published number", name, list(_all()[0]))
    return _all()[0][name]

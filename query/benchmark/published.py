"""Numbers that others published, with their condition and source. Reads one file of the package."""

import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from locatlas.errors import UnknownNameError

__all__ = ["Published", "list_published", "published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A number that was not measured here.

    Attributes:
        name: Short name.
        value: In [0, 1].
        metric: E.g. `macro_f1`.
        label: For figures.
        condition: What it was measured on, in words, with what is not known.
        source: Where it stands.
        spread: The number after its ±; None where there is none. Over what it was taken is told in no source.
        at_least: Whether it is a lower limit.
    """

    name: str
    value: float
    metric: str
    label: str
    condition: str
    source: str
    spread: float | None = None
    at_least: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@cache
def _all() -> dict[str, Published]:
    text = files("locatlas.query.benchmark").joinpath("published.toml").read_text(encoding="utf-8")
    return {name: Published(name=name, **said) for name, said in tomllib.loads(text).items()}


def list_published() -> list[Published]:
    """All of them."""
    return list(_all().values())


def published(name: str) -> Published:
    """One of them.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in _all():
        raise UnknownNameError("published number", name, list(_all()))
    return _all()[name]

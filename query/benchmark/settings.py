"""What [settings] and [finetune] of a grid may say. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.labels import get_label_map
from locatlas.models.training.heads import HeadKind
from locatlas.query.asking.filters import parse
from locatlas.query.asking.label_source import LABEL_SOURCES

__all__ = ["DEFAULTS", "FINETUNE", "SETTINGS", "Setting", "grade_weights"]

DEFAULTS: dict[str, Any] = {
    "folds": 5,
    "hold_out": 0.2,
    "validation": 0.2,
    "min_groups": 1,
    "overlap": "remove",
    "allow_training_groups": False,
}
"""Settings of a cell that says nothing of them."""

Kind = type | tuple[type, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """A key, and what it may be.

    Attributes:
        kind: Type of its value.
        needed: What it must be, in words.
        fits: Whether a value of that type is that.
    """

    kind: Kind
    needed: str
    fits: Callable[[Any], bool] = bool

    def why_not(self, value: Any) -> str | None:
        """What is wrong with a value; None if nothing is."""
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            return f"= {value!r}: another type needed"
        return None if self.fits(value) else f"= {value!r}: {self.needed} needed"


def grade_weights(told: str) -> tuple[float, float, float]:
    """Weights of grades 3, 2 and 1 from e.g. "1,0.5,0.25".

    Raises:
        ValueError: If they are not three numbers.
    """
    third, second, first = map(float, told.split(","))
    return third, second, first


def _are_weights(told: str) -> bool:
    try:
        return all(0 <= weight <= 1 for weight in grade_weights(told))
    except ValueError:
        return False


def _is_map(name: str) -> bool:
    try:
        get_label_map(name.replace(":", "->"))
    except UnknownNameError:
        return False
    return True


def _are_filters(values: list[Any] | tuple[Any, ...]) -> bool:
    try:
        return all(isinstance(value, str) and parse(value) is not None for value in values)
    except InputError:
        return False


def _share(value: float) -> bool:
    return 0 < value < 1


def _positive(value: float) -> bool:
    return value > 0 and math.isfinite(value)


def _some(value: int) -> bool:
    return value >= 1


_NUMBER = (int, float)
_SHARE = Setting(_NUMBER, "a share, more than 0 and less than 1,", _share)
_POSITIVE = Setting(_NUMBER, "a number above 0", _positive)
_SOME = Setting(int, "1 or more", _some)
_NAME = Setting(str, "a name")

SETTINGS: dict[str, Setting] = {
    "folds": Setting(int, "2 or more", lambda value: value >= 2),
    "hold_out": _SHARE,
    "validation": _SHARE,
    "min_groups": _SOME,
    "group": _NAME,
    "map_labels": Setting(str, "a map of labels, e.g. 'hpa:opencell',", _is_map),
    "reference": _NAME,
    "query": _NAME,
    "overlap": Setting(str, "remove or keep", lambda value: value in ("remove", "keep")),
    "grade_weights": Setting(str, "three numbers from 0 to 1, of grades 3, 2 and 1, e.g. '1,0.5,0.25',", _are_weights),
    "temperature": _POSITIVE,
    "threshold": Setting(_NUMBER, "a share of the votes, from 0 to 1,", lambda value: 0 <= value <= 1),
    "where": Setting((list, tuple), "a list of filters, e.g. ['dataset=opencell'],", _are_filters),
    "label_source": Setting(str, " or ".join(LABEL_SOURCES), lambda value: value in LABEL_SOURCES),
    "allow_training_groups": Setting(bool, "true or false", lambda _: True),
}

FINETUNE: dict[str, Setting] = {
    "epochs": _POSITIVE,
    "steps": _SOME,
    "batch_size": _SOME,
    "lr": _POSITIVE,
    "blocks": _SOME,
    "head": Setting(str, ", ".join(get_args(HeadKind)), lambda value: value in get_args(HeadKind)),
    "validation": Setting(_NUMBER, "a share, from 0 on and less than 1,", lambda value: 0 <= value < 1),
}

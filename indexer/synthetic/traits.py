"""What is particular about one protein's pattern: four numbers that every drawing function maps to its own ranges."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Traits", "between", "jittered"]


@dataclass(frozen=True, slots=True)
class Traits:
    """Position within the ranges of a pattern, each in [0, 1].

    Attributes:
        size: Of spots, lines or bodies.
        count: How many.
        contrast: How strongly the texture stands out.
        kind: Which variety of the pattern, e.g. microtubules or actin.
    """

    size: float
    count: float
    contrast: float
    kind: float


def between(low: float, high: float, at: float) -> float:
    """The point `at` of the way from `low` to `high`.

    >>> between(2.0, 4.0, 0.5)
    3.0
    """
    return low + (high - low) * at


def jittered(traits: Traits, rng: np.random.Generator, sd: float = 0.08) -> Traits:
    """The traits of one field of view: those of the protein with some variation; `kind` stays."""
    size, count, contrast = np.clip(rng.normal([traits.size, traits.count, traits.contrast], sd), 0, 1)
    return replace(traits, size=float(size), count=float(count), contrast=float(contrast))

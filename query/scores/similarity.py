"""Cosines of pairs within a protein held against pairs between proteins: what is counted, and what it says. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFINITIONS", "Similarity", "Spread", "Tally", "in_words"]

DEFINITIONS = {
    "within": "mean cosine over the pairs of the protein's images that are of different fields, since images of one "
    "field share their imaging",
    "between": "mean and standard deviation (n - 1) of the cosines of the protein's images with those of others",
    "auc": "probability that a pair within is more similar than a pair between, ties counting half: 1 where all are, "
    "0.5 where images resemble those of other proteins as much as their own",
}


@dataclass(slots=True)
class Spread:
    """Count, mean and sum of squared deviations, merged without loss of digits (Chan, Golub and LeVeque 1979).

    Attributes:
        n: Numbers added.
        mean: Of them.
        squares: Their squared deviations from the mean, summed.
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Take more numbers."""
        if not len(values):
            return
        n, mean = len(values), float(values.mean())
        off = values - mean
        apart, total = mean - self.mean, self.n + n
        self.squares += float(off @ off) + apart**2 * self.n * n / total
        self.mean += apart * n / total
        self.n = total

    @property
    def sd(self) -> float | None:
        """Standard deviation (n - 1); None with fewer than two."""
        return float(np.sqrt(self.squares / (self.n - 1))) if self.n > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Cosines within and between proteins, for one protein or all; `DEFINITIONS` says what they are.

    Attributes:
        n_images: Images with a direction.
        n_within: Pairs within that were taken, of different fields.
        within: Their mean cosine in [-1, 1]; None without pairs.
        n_between: Pairs between that were taken.
        between: Their mean cosine; None without pairs.
        between_sd: Their standard deviation (n - 1); None with fewer than two.
        auc: In [0, 1]; None without pairs of both kinds.
        same_plate_within: Share of the pairs within that are of one plate; None where plates are not known.
        same_plate_between: Share of the pairs between that are of one plate.
    """

    n_images: int
    n_within: int
    within: float | None
    n_between: int
    between: float | None
    between_sd: float | None
    auc: float | None
    same_plate_within: float | None = None
    same_plate_between: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {name: getattr(self, name) for name in self.__slots__}


def in_words(protein: str, found: Similarity, level: str) -> str:
    """Whether a list of the protein's neighbors means anything, in one line.

    Args:
        protein: Its name.
        found: Of its images.
        level: What the images are, "fov" or "cell".
    """
    images = "cells" if level == "cell" else "images"
    pairs = "pair" if found.n_within == 1 else "pairs"
    if found.within is None:
        own = f"{images} of {protein} are of one field only, so how much they resemble each other cannot be told"
    else:
        own = f"{images} of {protein} resemble each other {found.within:.2f} ({found.n_within} {pairs} of other fields)"
    if found.between is None:
        return f"{own}; there are none of other proteins"
    others = f"other proteins' {images} {found.between:.2f}"
    others += "" if found.between_sd is None else f" ± {found.between_sd:.2f}"
    if found.auc is None:
        return f"{own}; {others}"
    plates = ""
    if found.same_plate_within and found.same_plate_between is not None:
        plates = (
            f"; {found.same_plate_within:.0%} of these pairs share a plate, {found.same_plate_between:.0%} of those"
        )
    return f"{own}, {others}, AUC {found.auc:.2f} (0.5: no more than others){plates}"


@dataclass(slots=True)
class Tally:
    """What is counted of one protein, or of all.

    Attributes:
        within: Cosines within, sorted.
        same_plate_within: Pairs within that are of one plate.
        n_images: Images with a direction.
        between: Cosines between.
        wins: Twice the (within, between) pairs of which the first is larger, and once those that are equal.
        same_plate_between: Pairs between that are of one plate.
    """

    within: NDArray[np.float64]
    same_plate_within: int
    n_images: int
    between: Spread = field(default_factory=Spread)
    wins: int = 0
    same_plate_between: int = 0

    @classmethod
    def over(cls, tallies: Iterable[Self]) -> Self:
        """One for all of them, before anything between was added."""
        some = list(tallies)
        within = np.sort(np.concatenate([np.empty(0), *(t.within for t in some)]))
        return cls(within, sum(t.same_plate_within for t in some), sum(t.n_images for t in some))

    def add(self, values: NDArray[np.float64], n_same_plate: int) -> None:
        """Take sorted cosines between."""
        self.between.add(values)
        self.same_plate_between += n_same_plate
        if len(self.within) <= len(values):  # the fewer are looked up among the others
            self.wins += _n_below_twice(self.within, values)
        else:
            self.wins += 2 * len(self.within) * len(values) - _n_below_twice(values, self.within)

    def similarity(self, *, with_plates: bool) -> Similarity:
        """What the counts say."""
        n, m = len(self.within), self.between.n
        return Similarity(
            n_images=self.n_images,
            n_within=n,
            within=float(self.within.mean()) if n else None,
            n_between=m,
            between=self.between.mean if m else None,
            between_sd=self.between.sd,
            auc=self.wins / (2 * n * m) if n and m else None,
            same_plate_within=self.same_plate_within / n if with_plates and n else None,
            same_plate_between=self.same_plate_between / m if with_plates and m else None,
        )


def _n_below_twice(looked_up: NDArray[np.float64], among: NDArray[np.float64]) -> int:
    """Over all that are looked up: twice the number below, and once the number of equal ones, among sorted values."""
    below, up_to = (np.searchsorted(among, looked_up, side=side) for side in ("left", "right"))
    return int(below.sum()) + int(up_to.sum())

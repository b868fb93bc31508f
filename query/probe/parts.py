"""What of the rows trains a head, what stops it and what tests it, in each fold and at each fraction. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.models.training.splits import fraction_of, hold_out

__all__ = ["Parts", "check_fractions", "parts_of_fold"]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Row numbers of the three parts; no group is in two of them.

    Attributes:
        fraction: Share of the groups outside the fold that trains and stops.
        train: Of the rows that train.
        validation: Of the rows that stop the training; may be empty.
        test: Of the rows in the fold.
    """

    fraction: float
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Fractions ascending and without repeats.

    Raises:
        InputError: If there is none, or one outside (0, 1].
    """
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        message = f"fractions {', '.join(map(str, fractions)) or 'of nothing'}: numbers in (0, 1] needed"
        raise InputError(message)
    return tuple(sorted(set(fractions)))


def parts_of_fold(
    groups: Sequence[str],
    table: NDArray[np.bool_],
    in_fold: NDArray[np.bool_],
    fractions: Sequence[float],
    *,
    share: float,
    seed: int,
) -> Iterator[Parts]:
    """The parts of one fold at each fraction.

    Validation groups are set aside from the training part first (`splits.hold_out`); the fraction is then drawn of both
    sides alike (`splits.fraction_of`), so that the rows that train at a fraction, and those that stop it, are among
    those of every larger one. Rows in the fold decide nothing of this.

    Args:
        groups: Group of each row.
        table: Classes of the rows, bool (n, n_classes).
        in_fold: bool (n,), the rows to test on; whole groups.
        fractions: As `check_fractions` gives them.
        share: Of the training part's groups that stop the training, in (0, 1).
        seed: Of both draws.
    """
    rows, test = np.flatnonzero(~in_fold), np.flatnonzero(in_fold)
    known, classes = [groups[row] for row in rows.tolist()], table[rows]
    held = hold_out(known, classes, share=share, seed=seed)
    for fraction in fractions:
        train, validation = (
            rows[fraction_of(known, classes, fraction=fraction, seed=seed, among=part)] for part in (~held, held)
        )
        yield Parts(fraction, train, validation, test)

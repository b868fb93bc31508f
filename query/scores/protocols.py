"""Who is evaluated against whom: label sets, hashed orders, grouped folds, lone labels. Pure.

Names carry no order here: ids often follow the class they were made for (`mixed_img0` to `24` are all Cytosol), so
whatever needs an order takes it from a hash of the name, which also makes every split independent of row order.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError

__all__ = ["LabelMode", "LabelTable", "encode_labels", "grouped_folds", "hashed_order", "lone_labels"]

LabelMode = Literal["single", "multi"]


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """Label sets as a table.

    Attributes:
        classes: The classes of the rows in use, sorted by name (an order for columns only).
        table: bool (n, n_classes); rows not in use are all False.
        usable: bool (n,), rows in use.
        left_out: Rows not in use, by reason.
    """

    classes: tuple[str, ...]
    table: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    left_out: dict[str, int]


def encode_labels(labels: Sequence[Collection[str] | None], mode: LabelMode) -> LabelTable:
    """Label sets to a table of classes.

    Args:
        labels: A set of classes for each row; empty or None where not annotated. Repeats count once.
        mode: `single` uses rows with exactly one class, `multi` all rows with at least one.

    Returns:
        The table; rows without label count as "unlabelled", with `single` the others as "several labels".

    Raises:
        InputError: If `mode` is unknown, or a row is a bare string (its letters would be its classes).
    """
    if mode not in get_args(LabelMode):
        message = f"labels = {mode!r}: one of {', '.join(get_args(LabelMode))} needed"
        raise InputError(message)
    if any(isinstance(row, str) for row in labels):
        message = "labels hold a bare string: a collection of class names for each row needed"
        raise InputError(message)
    distinct: dict[frozenset[str], int] = {}  # of millions of rows some hundred
    kind = np.fromiter(
        (distinct.setdefault(frozenset(row or ()), len(distinct)) for row in labels), dtype=np.int64, count=len(labels)
    )
    size = np.array([len(names) for names in distinct], dtype=np.int64)
    used = size == 1 if mode == "single" else size > 0
    classes = tuple(sorted({name for names, use in zip(distinct, used, strict=True) if use for name in names}))
    column = {name: place for place, name in enumerate(classes)}
    table = np.zeros((len(distinct), len(classes)), dtype=np.bool_)
    for row, (names, use) in enumerate(zip(distinct, used, strict=True)):
        if use:
            table[row, [column[name] for name in names]] = True
    n_of, usable = size[kind], used[kind]
    left_out = {"unlabelled": int((n_of == 0).sum()), "several labels": int(((n_of > 1) & ~usable).sum())}
    return LabelTable(classes, table[kind], usable, {reason: count for reason, count in left_out.items() if count})


def _digest(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x00{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def hashed_order(names: Sequence[str], seed: int = 0) -> NDArray[np.int64]:
    """Rows in an order that depends on nothing but the set of names and the seed.

    Args:
        names: Distinct names (equal ones keep their rows' order).
        seed: Another seed, another order.

    Returns:
        A permutation of the rows, int64 (n,).
    """
    digests = np.fromiter((_digest(seed, name) for name in names), dtype="S16", count=len(names))
    return np.argsort(digests, kind="stable")


def grouped_folds(
    groups: Sequence[str | None], *, folds: int, seed: int = 0, table: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Folds that no group is split over, alike in size and, where possible, in classes.

    Groups are taken by size, largest first, equal ones in hashed order, and each goes to the fold where the sum over
    classes (and over rows as one more class) of squared counts, relative to the class' total, grows least; equal
    folds are taken by a hash of the group, too.

    Args:
        groups: Group of each row; None or "" has none.
        folds: Number of folds, 2 to the number of groups.
        seed: Decides the hashes.
        table: Classes of the rows, bool (n, n_classes), to balance them; None balances sizes only.

    Returns:
        Fold of each row, int64 (n,), 0 <= fold < folds; -1 for rows without a group. It does not depend on the
        order of the rows.

    Raises:
        InputError: If `folds` is out of range.
    """
    names = sorted({name for name in groups if name})
    if not 2 <= folds <= len(names):
        message = f"folds = {folds}: 2 to {len(names)} possible, the number of groups"
        raise InputError(message)
    place = {name: number for number, name in enumerate(names)}
    codes = np.fromiter((place[name] if name else -1 for name in groups), dtype=np.int64, count=len(groups))
    there = codes >= 0
    sizes = np.bincount(codes[there], minlength=len(names))
    profile = sizes[:, None].astype(np.float64)
    if table is not None:
        of_classes = np.empty((len(names), table.shape[1]))
        for column in range(table.shape[1]):
            of_classes[:, column] = np.bincount(codes[there & table[:, column]], minlength=len(names))
        profile = np.hstack([profile, of_classes])
    relative = profile / np.maximum(profile.sum(axis=0), 1.0)
    digests = [_digest(seed, name) for name in names]
    order = sorted(range(len(names)), key=lambda group: (-int(sizes[group]), digests[group]))
    filled = np.zeros((folds, profile.shape[1]))
    fold_of = np.empty(len(names), dtype=np.int64)
    for group in order:
        # (filled + own)^2 - filled^2, less what is the same for all folds
        growth = filled @ relative[group]
        best = np.flatnonzero(growth <= growth.min() + 1e-12)
        fold = int(best[int.from_bytes(digests[group][:8], "big") % len(best)])
        fold_of[group] = fold
        filled[fold] += profile[group]
    return np.where(there, fold_of[codes], -1)


def lone_labels(
    table: NDArray[np.bool_], blocks: NDArray[np.int64], asking: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Rows per class that no vote can get right: nobody outside the row's block has the class.

    Args:
        table: Classes of the rows, bool (n, n_classes).
        blocks: What is excluded together: a fold or a group for each row, >= 0, (n,).
        asking: Rows that are counted, bool (n,); None for all. The others vote.

    Returns:
        int64 (n_classes,).
    """
    n_blocks = int(blocks.max(initial=-1)) + 1

    def count(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows, classes = np.nonzero(marks)
        counts = np.bincount(blocks[rows] * table.shape[1] + classes, minlength=n_blocks * table.shape[1])
        shaped: NDArray[np.int64] = counts.reshape(n_blocks, table.shape[1]).astype(np.int64)
        return shaped

    per_block = count(table)
    asked = per_block if asking is None else count(table & asking[:, None])
    alone = per_block == per_block.sum(axis=0)
    return np.where(alone, asked, 0).sum(axis=0).astype(np.int64)

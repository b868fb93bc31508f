"""Who is scored, who votes or trains, and who never meets, under each protocol (docs/protocols.md). Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, LeakageError
from locatlas.indexer.store.trainings import group_value
from locatlas.indexer.training.rows import TrainingRows, split
from locatlas.models.training.splits import hold_out
from locatlas.query.benchmark.arena import Arena
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.settings import DEFAULTS
from locatlas.query.probe.parts import Parts, parts_of_fold
from locatlas.query.scores.protocols import grouped_folds
from locatlas.query.search.exclude import encode_names
from locatlas.query.sweep.rows import Rows, choose_rows

__all__ = ["Split", "make_split"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """The rows of one protocol with one seed and one fraction.

    Attributes:
        rows: Those that take part, in hashed order of their ids.
        asked: Rows that are scored, bool (n,).
        voting: Rows that may vote or train, bool (n,).
        blocks: Rows of equal numbers never meet, int64 (n,): groups or folds.
        folds: Fold of each row, int64 (n,); None where there is one part to train on.
        keys: What heads must not split, one name a row: groups, or fields.
        trained: Rows that train and that stop a head where there are no folds, bool (n,) each.
        notes: What a reader must know.
    """

    rows: Rows
    asked: NDArray[np.bool_]
    voting: NDArray[np.bool_]
    blocks: NDArray[np.int64]
    folds: NDArray[np.int64] | None
    keys: Sequence[str]
    trained: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None
    notes: tuple[str, ...] = ()

    @property
    def mean_references(self) -> float:
        """Rows that an asked row may meet, in the mean."""
        own = np.bincount(self.blocks, weights=self.voting, minlength=int(self.blocks.max()) + 1)
        return float(self.voting.sum() - own[self.blocks[self.asked]].mean())

    @property
    def least_references(self) -> int:
        """Rows that the asked row with the fewest may meet."""
        own = np.bincount(self.blocks, weights=self.voting, minlength=int(self.blocks.max()) + 1)
        return int(self.voting.sum() - own[self.blocks[self.asked]].max())

    def parts(self, fractions: Sequence[float], *, share: float, seed: int) -> Iterator[Parts]:
        """What trains a head, what stops it and what it is tested on, fold by fold, ascending by fraction in each.

        Args:
            fractions: Ascending; only 1 where there are no folds, whose fraction is drawn already.
            share: Of the training part's groups that stop the training, in (0, 1).
            seed: Of the draws.
        """
        if self.trained is not None:
            train, stop = (np.flatnonzero(part) for part in self.trained)
            yield Parts(fractions[-1], train, stop, np.flatnonzero(self.asked))
            return
        assert self.folds is not None
        for fold in range(int(self.folds.max()) + 1):
            inside = self.folds == fold
            for parts in parts_of_fold(self.keys, self.rows.table, inside, fractions, share=share, seed=seed):
                test = parts.test[self.asked[parts.test]]
                yield Parts(parts.fraction, parts.train, parts.validation, test)


def make_split(arena: Arena, cell: Cell) -> Split:
    """Divide rows as a cell's protocol says.

    Args:
        arena: The rows.
        cell: Its labels, protocol, fraction, seed and settings decide; encoder, classifier and k do not.

    Raises:
        LeakageError: If the encoder was trained on rows that would be scored, and nothing allows it.
        InputError: If nothing is left to score or to learn from, or settings do not fit.
    """
    settings = {**DEFAULTS, **dict(cell.settings)}
    labels, small = _of_large_classes(arena, cell, int(settings["min_groups"]))
    rows = choose_rows(arena.vectors, labels, arena.groups, arena.ids, cell.labels, {})
    for name, n in small.items():
        rows.left_out[name] = n
    made = _PROTOCOLS[cell.protocol](arena, rows, cell, settings)
    met = np.asarray(arena.seen)[rows.chosen] & made.asked
    if met.any() and not settings["allow_training_groups"]:
        groups = {rows.groups[row] for row in np.flatnonzero(met).tolist()}
        message = (
            f"{cell.encoder} was trained on {len(groups)} groups ({arena.group}) that {cell.protocol} would score, "
            f"{int(met.sum())} of {int(made.asked.sum())} rows: that is no score of new images; leave the encoder out, "
            "or set allow_training_groups = true in the grid"
        )
        raise LeakageError(message)
    return made


def _of_large_classes(arena: Arena, cell: Cell, least: int) -> tuple[list[frozenset[str]], dict[str, int]]:
    """Labels without those of classes that have fewer than `least` groups (single labels only), and how many went."""
    labels = [frozenset(names) for names in arena.labels]
    if least <= 1 or cell.labels != "single":
        return labels, {}
    met: defaultdict[str, set[str]] = defaultdict(set)
    scored = _asked_datasets(arena, cell)
    for names, group, asked in zip(labels, arena.groups, scored, strict=True):
        if len(names) == 1 and group and asked:
            met[next(iter(names))].add(group)
    large = {name for name, groups in met.items() if len(groups) >= least}
    if met and not large:
        most = max(len(groups) for groups in met.values())
        message = (
            f"level {arena.level}: no class has {least} groups ({arena.group}), the largest has {most}; "
            f"min_groups (--min-groups) decides which classes take part"
        )
        raise InputError(message)
    small = [len(names) == 1 and not names <= large for names in labels]
    kept = [frozenset() if gone else names for names, gone in zip(labels, small, strict=True)]
    return kept, {f"class of fewer than {least} groups": sum(small)} if any(small) else {}


def _asked_datasets(arena: Arena, cell: Cell) -> list[bool]:
    query = cell.setting("query")
    return [cell.protocol != "transfer" or name == query for name in arena.datasets]


def _all(rows: Rows) -> NDArray[np.bool_]:
    return np.ones(len(rows.ids), dtype=np.bool_)


def _protein_out(arena: Arena, rows: Rows, cell: Cell, settings: dict[str, Any]) -> Split:
    everyone, groups = _all(rows), encode_names(rows.groups)[0]
    return Split(rows=rows, asked=everyone, voting=everyone, blocks=groups, folds=None, keys=rows.groups, trained=None)


def _kfold(arena: Arena, rows: Rows, cell: Cell, settings: dict[str, Any]) -> Split:
    keys = rows.groups
    if cell.protocol == "fov-kfold":
        fovs = [arena.fovs[row] for row in rows.chosen]
        if not all(fovs):
            message = f"protocol fov-kfold: {fovs.count(None)} of {len(fovs)} rows have no field (level {arena.level})"
            raise InputError(message)
        keys = [str(name) for name in fovs]
    folds = grouped_folds(keys, folds=int(settings["folds"]), seed=cell.seed, table=rows.table)
    everyone = _all(rows)
    return Split(rows=rows, asked=everyone, voting=everyone, blocks=folds, folds=folds, keys=keys, trained=None)


def _holdout(arena: Arena, rows: Rows, cell: Cell, settings: dict[str, Any]) -> Split:
    """The parts that fine-tuning with the same group, share, fraction and seed has."""
    parts = split(
        TrainingRows(
            level=arena.level,
            ids=arena.ids,
            datasets=arena.datasets,
            labels=[frozenset(names) for names in arena.labels],
            columns={arena.group: arena.groups},
        ),
        group=arena.group,
        labels=cell.labels,
        share=float(settings["hold_out"]),
        fraction=cell.fraction,
        validation=float(settings["validation"]),
        seed=cell.seed,
    )
    held = set(parts.held_out)
    values = [group_value(arena.group, arena.datasets[row], str(arena.groups[row])) for row in rows.chosen]
    asked = np.array([value in held for value in values], dtype=np.bool_)
    train, stop = (np.isin(np.array(rows.ids), list(ids)) for ids in (parts.train, parts.validation))
    if not asked.any():
        message = f"nothing to score: no {arena.group} could be held out, since every class keeps one"
        raise InputError(message)
    groups = encode_names(rows.groups)[0]
    return Split(
        rows=rows, asked=asked, voting=train | stop, blocks=groups, folds=None, keys=rows.groups, trained=(train, stop)
    )


def _transfer(arena: Arena, rows: Rows, cell: Cell, settings: dict[str, Any]) -> Split:
    """References of one data set, queries of another; proteins of both leave the references, or are told."""
    names = [settings.get("reference"), settings.get("query")]
    of = [arena.datasets[row] for row in rows.chosen]
    asked, voting = (np.array([name == wanted for name in of], dtype=np.bool_) for wanted in reversed(names))
    if not asked.any() or not voting.any():
        there = ", ".join(sorted(set(of)))
        message = (
            f"protocol transfer from {names[0]!r} to {names[1]!r}: labelled rows of both needed; there are: {there}"
        )
        raise InputError(message)
    known = [(arena.proteins[row], arena.ensembl_ids[row]) for row in rows.chosen]
    symbols, codes = (
        frozenset().union(*(pair[part] for pair, mine in zip(known, asked.tolist(), strict=True) if mine))
        for part in (0, 1)
    )
    both = np.array([bool(own & symbols or ids & codes) for own, ids in known], dtype=np.bool_) & voting
    shared = len({known[row] for row in np.flatnonzero(both).tolist()})
    notes: tuple[str, ...] = ()
    if settings["overlap"] == "remove":
        voting &= ~both
        if not voting.any():
            message = f"protocol transfer: all proteins of {names[0]} are also in {names[1]}: no reference is left"
            raise InputError(message)
        if shared:
            notes = (f"{shared} proteins of {names[0]} are also in {names[1]} and are no references",)
    elif shared:
        notes = (f"{shared} proteins of {names[0]} are also in {names[1]} and are references: scores may be too high",)
    # references and queries are apart, and nothing else keeps two rows from meeting
    blocks = np.where(voting, 0, 1).astype(np.int64)
    stop = np.zeros(len(of), dtype=np.bool_)
    at = np.flatnonzero(voting)
    stop[at] = hold_out(
        [rows.groups[row] for row in at.tolist()], rows.table[at], share=float(settings["validation"]), seed=cell.seed
    )
    return Split(
        rows=rows,
        asked=asked,
        voting=voting,
        blocks=blocks,
        folds=None,
        keys=rows.groups,
        trained=(voting & ~stop, stop),
        notes=notes,
    )


_PROTOCOLS = {
    "protein-out": _protein_out,
    "protein-kfold": _kfold,
    "fov-kfold": _kfold,
    "protein-holdout": _holdout,
    "transfer": _transfer,
}

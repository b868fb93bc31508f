"""Score many cells of a grid on one set of vectors; what cells share is done once. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locatlas.query.answers.vote import DEFAULT_TEMPERATURE, predict_multi, predict_single, votes
from locatlas.query.benchmark.arena import Arena
from locatlas.query.benchmark.calibration import N_BINS, tally
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.settings import DEFAULTS, grade_weights
from locatlas.query.benchmark.splits import Split, make_split
from locatlas.query.scores.metrics import Counts, confusion_matrix
from locatlas.query.search import exact
from locatlas.query.search.exclude import encode_names
from locatlas.query.search.within import search_within
from locatlas.types import Neighbors

__all__ = ["Skipped", "score_cells"]

_OF_NO_SPLIT = ("encoder", "mapping", "mapping_seed", "passes", "stains", "objective", "classifier", "k", "votes")

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """The scored rows of a split, which all of its cells share.

    Attributes:
        table: (n, classes) bool.
        groups: Sorted.
        codes: (n,) number of each row's group.
    """

    table: NDArray[np.bool_]
    groups: tuple[str, ...]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, split: Split) -> "_Asked":
        """Those of a split."""
        of_rows = [split.rows.groups[row] for row in np.flatnonzero(split.asked).tolist()]
        groups = tuple(sorted(set(of_rows)))
        codes = encode_names([*groups, *of_rows])[0][len(groups) :]
        return cls(split.rows.table[split.asked], groups, codes)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A cell that cannot be measured on these rows, and why."""

    cell: Cell
    reason: str


def score_cells(
    arena: Arena, cells: Sequence[Cell], *, device: str = "cpu", tell: Told | None = None
) -> Iterator[Scored | Skipped]:
    """Score cells of one encoder, one after the other, in an order that lets them share searches and heads.

    Cells with the same labels, protocol, fraction, seed and settings share one search at their largest k; heads of one
    kind, protocol and seed share the folds.

    Args:
        arena: The rows.
        cells: Any of one encoder.
        device: Where searches and heads run.
        tell: Told what is searched or trained.

    Yields:
        What each cell was worth, or why it has no score: a k that exceeds the references.

    Raises:
        LeakageError: As `splits.make_split`; so is InputError.
        TrainingStoppedError: If a head's training diverges.
    """
    alike: defaultdict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        alike[cell.without(*_OF_NO_SPLIT)].append(cell)
    for group in alike.values():
        split = make_split(arena, group[0])
        asked = _Asked.of(split)
        near = [cell for cell in group if cell.classifier == "knn"]
        if near:
            yield from _by_neighbors(arena, split, asked, near, device, tell)
        for kind in dict.fromkeys(cell.classifier for cell in group if cell.classifier != "knn"):
            for cell in (cell for cell in group if cell.classifier == kind):
                yield _by_head(arena, split, asked, cell, device, tell)


def _by_neighbors(
    arena: Arena, split: Split, asked: _Asked, cells: Sequence[Cell], device: str, tell: Told | None
) -> Iterator[Scored | Skipped]:
    most = split.least_references  # known before anything is searched: what is skipped costs no search in a later run
    for cell in cells:
        if int(cell.k or 0) > most:
            yield Skipped(cell, f"k = {cell.k}: some query has only {most} references")
    cells = [cell for cell in cells if int(cell.k or 0) <= most]
    if not cells:
        return
    if tell is not None:
        tell(f"search: {int(split.asked.sum())} of {len(split.rows.ids)} rows, {cells[0].protocol}")
    near = _search(split, max(int(cell.k or 0) for cell in cells), device)
    labels, table = cells[0].labels, _voted_table(arena, split, cells[0])
    temperature = float(cells[0].setting("temperature", DEFAULT_TEMPERATURE))
    for kind in dict.fromkeys(str(cell.votes) for cell in cells):
        mine = sorted((cell for cell in cells if cell.votes == kind), key=lambda cell: int(cell.k or 0))
        ks = sorted({int(cell.k or 0) for cell in mine})
        n, n_classes = len(near.indices), table.shape[1]
        chosen = np.empty((len(ks), n), np.int64) if labels == "single" else np.empty((len(ks), n, n_classes), np.bool_)
        sure = np.zeros((len(ks), n)) if labels == "single" else None
        rule = {"weights": kind, "temperature": temperature}
        for rows, scores in votes(near, table, ks=ks, **rule):  # type: ignore[arg-type]
            some = Neighbors(near.indices[rows], near.similarities[rows])
            for step, k in enumerate(ks):
                if sure is not None:
                    chosen[step, rows] = predict_single(scores[step], some, split.rows.table, k=k)
                    sure[step, rows] = scores[step].max(axis=1)
                else:
                    threshold = float(cells[0].setting("threshold", 0.5))
                    chosen[step, rows] = predict_multi(scores[step], threshold=threshold, top_if_none=True)
        for cell in mine:
            at = ks.index(int(cell.k or 0))
            certain = None if sure is None else sure[at]
            yield _scored(arena, split, asked, cell, chosen[at], certain, split.mean_references)


def _search(split: Split, k: int, device: str) -> Neighbors:
    """The k nearest of each asked row among those that may vote outside its block; indices are rows of the split."""
    vectors, blocks = split.rows.prepared, split.blocks
    if split.asked.all() and split.voting.all():
        return search_within(vectors, k=k, exclude=[blocks], device=device)
    at = np.flatnonzero(split.voting)
    pairs = [(blocks[split.asked], blocks[at])]
    found = exact.search(vectors.take(split.asked), vectors.take(at), k=k, exclude=pairs, device=device)
    return Neighbors(np.where(found.indices >= 0, at[found.indices], -1), found.similarities)


def _voted_table(arena: Arena, split: Split, cell: Cell) -> NDArray[np.bool_]:
    """What a neighbor carries for each class: 1, or with `grade_weights` less for lower grades; targets stay.

    `grade_weights` are the weights of grades 3, 2 and 1, e.g. "1,0.5,0.25" (marrlab/mae3d-opencell).
    """
    told = cell.setting("grade_weights")
    if told is None or cell.labels == "single":
        return split.rows.table
    weights = dict(zip((3, 2, 1), grade_weights(str(told)), strict=True))
    place = {name: column for column, name in enumerate(split.rows.classes)}
    carried = split.rows.table.astype(np.float64)
    for row, origin in enumerate(split.rows.chosen):
        for name, grade in arena.graded[origin].items():
            if name in place:
                carried[row, place[name]] = weights.get(int(grade), 0.0)
    return carried  # type: ignore[return-value]  # votes take any numbers in [0, 1]


def _by_head(arena: Arena, split: Split, asked: _Asked, cell: Cell, device: str, tell: Told | None) -> Scored:
    from locatlas.models.training.fit_head import HeadPlan, fit_head
    from locatlas.models.training.heads import HeadSpec

    if tell is not None:
        tell(f"train: {cell.classifier} head, {cell.protocol}, fraction {cell.fraction:g}, seed {cell.seed}")
    assert cell.classifier != "knn"
    threshold = float(cell.setting("threshold", 0.5))
    plan = HeadPlan(head=HeadSpec(kind=cell.classifier), labels=cell.labels, threshold=threshold)
    single, table = cell.labels == "single", split.rows.table
    chosen = np.full(len(table), -1, np.int64) if single else np.zeros(table.shape, np.bool_)
    sure = np.zeros(len(table))
    sizes = []
    share = float(cell.setting("validation", DEFAULTS["validation"]))
    for parts in split.parts([cell.fraction], share=share, seed=cell.seed):
        train, stop = ((split.rows.prepared.raw(part), table[part]) for part in (parts.train, parts.validation))
        head = fit_head(*train, plan, validation=stop if len(stop[0]) else None, seed=cell.seed, device=device)
        scores = head.scores(split.rows.prepared.raw(parts.test))
        sure[parts.test] = scores.max(axis=1)
        chosen[parts.test] = (
            scores.argmax(axis=1) if single else predict_multi(scores, threshold=threshold, top_if_none=True)
        )
        sizes.append(len(parts.train))
    rows = split.asked
    return _scored(arena, split, asked, cell, chosen[rows], sure[rows] if single else None, float(np.mean(sizes)))


def _scored(
    arena: Arena,
    split: Split,
    asked: _Asked,
    cell: Cell,
    chosen: NDArray[np.int64] | NDArray[np.bool_],
    sure: NDArray[np.float64] | None,
    n_references: float,
) -> Scored:
    """Count what was predicted for the asked rows, by group."""
    table, groups, codes = asked.table, asked.groups, asked.codes
    n_classes = table.shape[1]
    predicted = chosen if chosen.ndim == 2 else chosen[:, None] == np.arange(n_classes)
    right = (predicted == table).all(axis=1)
    confusion = confidence = None
    if cell.labels == "single":
        confusion = confusion_matrix(table.argmax(axis=1), chosen.astype(np.int64), n_classes)
    if sure is not None:
        confidence = tally(sure, right, n_bins=N_BINS)
    return Scored(
        cell=cell,
        fingerprint=arena.fingerprint,
        data_digest=arena.digest,
        classes=split.rows.classes,
        groups=groups,
        counts=Counts.by_group(table, predicted.astype(np.bool_), codes, len(groups)),
        n_right=np.bincount(codes, weights=right, minlength=len(groups)).astype(np.int64),
        n_rows=np.bincount(codes, minlength=len(groups)).astype(np.int64),
        n_references=n_references,
        confusion=confusion,
        confidence=confidence,
        left_out={name: n for name, n in split.rows.left_out.items() if n},
        notes=tuple(dict.fromkeys([*arena.notes, *split.notes])),
    )

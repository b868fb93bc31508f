"""The images of an atlas that a training may take, and their parts: held out, trained on, stopped by. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.files.planes import plural
from locatlas.indexer.store.trainings import group_value
from locatlas.models.training.splits import fraction_of, hold_out

__all__ = ["Parts", "TrainingRows", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRows:
    """Images of one level, sorted by id; one value a row in each sequence.

    Attributes:
        level: "fov" or "cell".
        ids: Of the images.
        datasets: Theirs.
        labels: Localizations, by the source and in the vocabulary in question; empty where there are none.
        columns: Values of the columns that can be groups, None where unknown; the group in question is among them.
        left_out: Images of the level that are not among the rows, by reason.
        notes: What a user must know of them.
    """

    level: str
    ids: Sequence[str]
    datasets: Sequence[str]
    labels: Sequence[frozenset[str]]
    columns: Mapping[str, Sequence[str | None]]
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def take(self, keep: NDArray[np.bool_], reason: str) -> Self:
        """The rows to keep; the others are counted under the reason."""
        rows = np.flatnonzero(keep).tolist()
        lost = len(self.ids) - len(rows)
        return replace(
            self,
            ids=[self.ids[r] for r in rows],
            datasets=[self.datasets[r] for r in rows],
            labels=[self.labels[r] for r in rows],
            columns={name: [values[r] for r in rows] for name, values in self.columns.items()},
            left_out={**self.left_out, **({reason: self.left_out.get(reason, 0) + lost} if lost else {})},
        )

    def of(self, ids: Sequence[str]) -> Self:
        """The rows of these ids, as far as they are there, in their order here; nothing is counted."""
        wanted = set(ids)
        kept = self.take(np.array([i in wanted for i in self.ids], dtype=np.bool_), "")
        return replace(kept, left_out=self.left_out)

    def values(self, column: str) -> tuple[str, ...]:
        """Distinct values of a group column as manifests hold them, sorted."""
        pairs = {(d, v) for d, v in zip(self.datasets, self.columns[column], strict=True) if v}
        return tuple(sorted({group_value(column, d, v) for d, v in pairs}))

    def groups(self, column: str) -> list[str | None]:
        """The group of each row, as manifests hold it."""
        values = zip(self.datasets, self.columns[column], strict=True)
        return [group_value(column, d, v) if v else None for d, v in values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a training takes.

    Attributes:
        train: Ids that it learns from.
        validation: Ids by which it is stopped.
        held_out: Values of the group that were set aside, sorted.
        n_held_out: Images of these.
        left_out: Images that are in no part, by reason.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]
    n_held_out: int
    left_out: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "train": list(self.train),
            "validation": list(self.validation),
            "held_out": list(self.held_out),
            "n_held_out": self.n_held_out,
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The reverse."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)


def split(
    rows: TrainingRows,
    *,
    group: str,
    labels: str | None,
    share: float,
    fraction: float,
    validation: float,
    seed: int,
    kept_out: Sequence[str] | None = None,
) -> Parts:
    """Divide images by group.

    First the held-out groups are drawn, among those with annotated images where there are any, by all of their
    localizations: whatever is learned and whether from labels or not, the same seed sets the same groups aside. Then
    the fraction of the others, then the validation part of that.

    Args:
        rows: What there is.
        group: Column that is not split.
        labels: `single` or `multi`; None to train without labels.
        share: Of the groups that is held out, in [0, 1).
        fraction: Of the others, in (0, 1].
        validation: Share of the fraction, in [0, 1); without labels none is taken.
        seed: Of all three.
        kept_out: Groups to hold out in place of drawing some.

    Raises:
        InputError: If nothing is left to train on.
    """
    groups, table = rows.groups(group), _table(rows.labels)
    names = np.array([name or "" for name in groups], dtype=object)
    held = _drawn(names, table, share, seed) if kept_out is None else np.isin(names, list(kept_out))
    left_out: dict[str, int] = dict(rows.left_out)
    usable = ~held
    whole = labels is None and fraction == 1 and not held.any()
    reasons = [("no group", np.ones(len(names), dtype=np.bool_) if whole else names != "")]
    if labels is not None:
        counts = table.sum(axis=1)
        reasons += [("no localization", counts > 0)]
        reasons += [("several localizations", counts < 2)] if labels == "single" else []
    for reason, fine in reasons:
        if n := int((usable & ~fine).sum()):
            left_out[reason] = n
        usable &= fine
    chosen = usable if whole else fraction_of(groups, table, fraction=fraction, seed=seed, among=usable)
    if n := int((usable & ~chosen).sum()):
        left_out["not in the fraction"] = n
    if not chosen.any():
        listed = ", ".join(f"{n} {why}" for why, n in left_out.items()) or "no images"
        hint = "; labels 'multi' takes images with several localizations" if "several localizations" in left_out else ""
        message = f"nothing to train on among {plural(len(names), 'image')}: {listed}{hint}"
        raise InputError(message)
    looked = np.zeros(len(names), dtype=np.bool_)
    if labels is not None and validation > 0:
        at = np.flatnonzero(chosen)
        looked[at] = hold_out([groups[r] for r in at], table[at], share=validation, seed=seed)
    return Parts(
        train=_ids(rows, chosen & ~looked),
        validation=_ids(rows, looked),
        held_out=tuple(sorted({name for name in names[held].tolist() if name})),
        n_held_out=int(held.sum()),
        left_out=left_out,
    )


def _ids(rows: TrainingRows, at: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(rows.ids[r] for r in np.flatnonzero(at).tolist())


def _table(labels: Sequence[frozenset[str]]) -> NDArray[np.bool_]:
    """(n, n_classes), classes sorted by name."""
    classes = sorted(frozenset().union(*labels))
    place = {name: c for c, name in enumerate(classes)}
    table = np.zeros((len(labels), len(classes)), dtype=np.bool_)
    for row, names in enumerate(labels):
        table[row, [place[name] for name in names]] = True
    return table


def _drawn(names: NDArray[Any], table: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Rows of the groups that are held out."""
    if share == 0:
        return np.zeros(len(names), dtype=np.bool_)
    known = table.any(axis=1) & (names != "")
    at = np.flatnonzero(known if known.any() else names != "")
    if not len(at):
        return np.zeros(len(names), dtype=np.bool_)
    drawn = hold_out([str(name) for name in names[at]], table[at], share=share, seed=seed)
    return np.isin(names, list({str(name) for name in names[at][drawn]}))

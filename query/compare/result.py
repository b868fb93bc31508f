"""What a comparison of two encoders found, with what its numbers mean. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.query.compare.neighbors import DEPTH, Agreement
from locatlas.query.compare.scores import PairedScores
from locatlas.query.scores.protocols import hashed_order

__all__ = ["DEFINITIONS", "Classified", "Comparison", "Moved", "moved_most"]

DEFINITIONS = {
    "overlap": "mean over the scored rows of the share of their k nearest neighbors by one encoder that are among the "
    "k nearest by the other; both search the same rows, the query's own group and what else is excluded left out; "
    "overlap_sd is the sample standard deviation (n - 1) over rows",
    "overlap_ci95": "95 % percentile bootstrap over groups as queries, the references being kept",
    "chance": "overlap that two unrelated rankings are expected to have: mean of k / (references that a row may meet)",
    "rank_change": "mean of |rank by one - rank by the other| over the k nearest by either encoder; ranks are followed "
    f"among the {DEPTH} k nearest, what is further away counts as standing just behind them",
    "moved": "1 - overlap, over the rows of a protein (or group); sorted by it, then by rank change, then by a hash of "
    "the name",
    "macro_f1": "mean F1 over the classes present in the scored rows; k-NN vote with the query's own group left out",
    "difference": "new - old on the same rows",
    "difference_ci95": "95 % percentile bootstrap over groups as queries, the same groups drawn for both encoders and "
    "the references kept; of the mean over classes over the same classes as the score (one that a replicate does not "
    "draw keeps its counts); of one class over the replicates that draw it, null where fewer than two groups have it",
    "per_class_f1": "2 TP / (2 TP + FP + FN) over the scored rows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far the rows of a protein or group moved.

    Attributes:
        name: Of the protein or group.
        n_rows: Its scored rows.
        overlap: Their mean overlap.
        rank_change: Their mean rank change.
    """

    name: str
    n_rows: int
    overlap: float
    rank_change: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "n_rows": self.n_rows,
            "moved": 1 - self.overlap,
            "overlap": self.overlap,
            "rank_change": self.rank_change,
        }


def moved_most(found: Agreement, names: Sequence[str | None]) -> tuple[Moved, ...]:
    """Proteins or groups, those that moved most first; ties by a hash of the name, as names may tell the class.

    Args:
        found: Of the rows.
        names: Protein or group of each row; None is left out.
    """
    known = sorted({name for name in names if name})
    place = {name: number for number, name in enumerate(known)}
    code = np.array([place[name] if name else -1 for name in names], dtype=np.int64)
    n_of = np.bincount(code[code >= 0], minlength=len(known))
    common = np.bincount(code[code >= 0], weights=found.common[code >= 0], minlength=len(known))
    change = np.bincount(code[code >= 0], weights=found.rank_change[code >= 0], minlength=len(known))
    order = np.empty(len(known), dtype=np.int64)
    order[hashed_order(known)] = np.arange(len(known))
    moved = [
        Moved(
            name=name,
            n_rows=int(n_of[i]),
            overlap=float(common[i] / (found.k * n_of[i])),
            rank_change=float(change[i] / n_of[i]),
        )
        for i, name in enumerate(known)
    ]
    ranked = sorted(moved, key=lambda one: (one.overlap, -one.rank_change, int(order[place[one.name]])))
    return tuple(ranked)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Classified:
    """The votes by both encoders.

    Attributes:
        scores: Of the same rows.
        labels: `single` or `multi`.
        weights: Of the votes.
        n: Rows scored.
        n_voters: Labelled rows that vote.
        left_out: Rows without a label that fits, by reason.
    """

    scores: PairedScores
    labels: str
    weights: str
    n: int
    n_voters: int
    left_out: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "labels": self.labels,
            "weights": self.weights,
            "n": self.n,
            "n_voters": self.n_voters,
            "macro_f1": self.scores.macro_f1.to_dict(),
            "per_class_f1": {name: one.to_dict() for name, one in self.scores.per_class_f1.items()},
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Comparison:
    """Two encoders on the same rows of one atlas.

    Attributes:
        k: Neighbors that are compared, and that vote.
        group: What a group is.
        by: What moves: "protein", or the group.
        ids: Of the scored rows, in hashed order.
        found: Their neighbors by both.
        overlap_ci95: Of the mean overlap; None with fewer than two groups.
        chance: Mean overlap of unrelated rankings.
        moved: Proteins or groups, those that moved most first.
        classified: Votes by both; None where there is nothing to vote on.
        n_rows: Rows that both encoders have and that are references.
        n_groups: Groups of the scored rows.
        left_out: Rows that take no part, by reason.
        excluded: What else never meets.
        seed: Of the bootstrap.
        context: Level, encoders, training, notes, ..., as `with_context` was told.
    """

    k: int
    group: str
    by: str
    ids: tuple[str, ...] = field(repr=False)
    found: Agreement
    overlap_ci95: tuple[float, float] | None
    chance: float
    moved: tuple[Moved, ...] = field(repr=False)
    classified: Classified | None
    n_rows: int
    n_groups: int
    left_out: dict[str, int]
    excluded: tuple[str, ...]
    seed: int
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def overlap(self) -> NDArray[np.float64]:
        """Share of common neighbors of each of `ids`, (n,), in [0, 1]."""
        return self.found.overlap

    def with_context(self, **context: Any) -> Self:
        """The same that also says where its vectors come from; the keys appear in `to_dict`."""
        return replace(self, context=self.context | context)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `locatlas compare --json`."""
        share = self.overlap
        return self.context | {
            "k": self.k,
            "group": self.group,
            "by": self.by,
            "n_rows": self.n_rows,
            "n_queries": len(self.ids),
            "n_groups": self.n_groups,
            "neighbors": {
                # from whole numbers: exactly 1 where all neighbors are the same
                "overlap": float(self.found.common.sum() / (self.k * len(self.ids))),
                "overlap_sd": float(np.std(share, ddof=1)) if len(share) > 1 else None,
                "overlap_ci95": None if self.overlap_ci95 is None else list(self.overlap_ci95),
                "chance": self.chance,
                "rank_change": float(self.found.rank_change.mean()),
            },
            "classification": None if self.classified is None else self.classified.to_dict(),
            "moved": [one.to_dict() for one in self.moved],
            "left_out": dict(self.left_out),
            "excluded": list(self.excluded),
            "seed": self.seed,
            "definitions": dict(DEFINITIONS),
        }

    def to_arrow(self) -> Any:
        """A pyarrow table of `moved`: name, n_rows, moved, overlap, rank_change."""
        import pyarrow as pa

        columns = [("name", pa.string()), ("n_rows", pa.int64())]
        columns += [(name, pa.float64()) for name in ("moved", "overlap", "rank_change")]
        return pa.Table.from_pylist([one.to_dict() for one in self.moved], schema=pa.schema(columns))

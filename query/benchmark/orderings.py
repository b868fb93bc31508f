"""Orderings of others beside the differences that were measured here. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from locatlas.query.benchmark.paired import LEVEL, Paired, plan_name
from locatlas.query.benchmark.published import Ordering, list_orderings
from locatlas.query.benchmark.scored import Scored

__all__ = ["SeenOrdering", "see_orderings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOrdering:
    """An ordering of others, and the difference that it is about.

    Attributes:
        ordering: What others say.
        better: The plan that should do better, in words.
        worse: The other one.
        pair: Their comparison, in whichever direction.
        difference: Macro F1 of the one that should do better less that of the other.
        ci95: Of the difference.
    """

    ordering: Ordering
    better: str
    worse: str
    pair: Paired
    difference: float
    ci95: tuple[float, float] | None

    @property
    def verdict(self) -> Literal["as published", "the opposite", "not told apart"]:
        """What the corrected test says; two that are not told apart may still differ (see `Paired.detectable`)."""
        if self.pair.p_holm is None or self.pair.p_holm >= LEVEL:
            return "not told apart"
        return "as published" if self.difference > 0 else "the opposite"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        where = {name: self.pair.where[name] for name in ("level", "labels", "protocol", "classifier", "k", "fraction")}
        return {
            "name": self.ordering.name,
            "text": self.ordering.text,
            "condition": self.ordering.condition,
            "source": self.ordering.source,
            "evidence": self.ordering.evidence,
            "better": self.better,
            "worse": self.worse,
            **where,
            "difference": self.difference,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "p_holm": self.pair.p_holm,
            "verdict": self.verdict,
        }


def see_orderings(
    pairs: Iterable[Paired], scored: Sequence[Scored], orderings: Sequence[Ordering] | None = None
) -> list[SeenOrdering]:
    """Find the comparisons that orderings of others are about.

    Args:
        pairs: Comparisons of a grid.
        scored: What they were made of.
        orderings: Of others; None for all that are known.
    """
    cells = {plan_name(one): one.cell for one in scored}
    found = []
    comparisons = list(pairs)
    for one in list_orderings() if orderings is None else orderings:
        for pair in comparisons:
            side = one.side(cells[pair.first], cells[pair.second], pair.where)
            if not side:
                continue
            low, high = pair.ci95 or (0.0, 0.0)
            ends = (low, high) if side > 0 else (-high, -low)
            found.append(
                SeenOrdering(
                    ordering=one,
                    better=pair.first if side > 0 else pair.second,
                    worse=pair.second if side > 0 else pair.first,
                    pair=pair,
                    difference=side * pair.difference,
                    ci95=None if pair.ci95 is None else ends,
                )
            )
    return found

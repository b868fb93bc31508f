"""How far annotators agree with each other and with inherited labels: Cohen's kappa, shares, disputes. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

__all__ = ["NO_CLASS", "Holds", "Kappa", "Pair", "agreement", "inherited_labels_hold", "kappa", "pairs_of"]

NO_CLASS = "none"
"""The class of a decision that there is nothing to be seen."""


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa, or why there is none.

    Attributes:
        value: In [-1, 1]; 1: the two agree throughout, 0: as by chance. None where it is undefined.
        n: Images that both looked at.
        reason: Why there is no value; None where there is.
    """

    value: float | None
    n: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Agreement of two annotators on what both looked at.

    Attributes:
        first: The one.
        second: The other.
        n: Images that both looked at.
        equal: Share on which they chose exactly the same localizations; None where n is 0.
        single: Kappa over classes, on the images where both chose at most one localization ("none" is a class).
        per_class: Kappa of each class that either chose, "seen" against "not seen", on all images.
        mean: Mean of the defined `per_class`, each class alike; None where none is.
    """

    first: str
    second: str
    n: int
    equal: float | None
    single: Kappa
    per_class: dict[str, Kappa] = field(default_factory=dict)
    mean: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the JSON of `annotate report` has it."""
        undefined = None if self.per_class else "neither chose a localization"
        if self.per_class and self.mean is None:
            undefined = "undefined for every class"
        return {
            "annotators": [self.first, self.second],
            "n": self.n,
            "equal": self.equal,
            "single_label": _said(self.single),
            "multi_label": {
                "kappa": self.mean,
                "n": self.n,
                "reason": undefined if self.n else "no image that both looked at",
                "per_class": {name: _said(one) for name, one in self.per_class.items()},
            },
        }


def _said(one: Kappa) -> dict[str, Any]:
    return {"kappa": one.value, "n": one.n, "reason": one.reason}


def kappa(first: Sequence[str], second: Sequence[str]) -> Kappa:
    """Cohen's kappa of two annotators' classes, one class an image (Cohen 1960, doi:10.1177/001316446002000104).

    By scikit-learn's `cohen_kappa_score`, unweighted. Where both always chose the one same class, agreement by chance
    is certain and kappa undefined (0 / 0).

    Args:
        first: Classes that the one chose, one an image.
        second: Those of the other, in the same order.

    Raises:
        ValueError: If their lengths differ.
    """
    if len(first) != len(second):
        message = f"{len(first)} and {len(second)} decisions: one of each an image needed"
        raise ValueError(message)
    classes = sorted({*first, *second})
    if not classes:
        return Kappa(None, 0, "no image that both looked at")
    if len(classes) == 1:
        return Kappa(None, len(first), f"both always chose {classes[0]!r}")
    from sklearn.metrics import cohen_kappa_score

    return Kappa(float(cohen_kappa_score(list(first), list(second), labels=classes)), len(first))


def agreement(first: str, second: str, said: Sequence[tuple[Collection[str], Collection[str]]]) -> Pair:
    """How far two annotators agree.

    Args:
        first: Name of the one.
        second: Name of the other.
        said: (localizations of the one, of the other) of each image that both looked at; empty: none seen.
    """
    both = [(frozenset(a), frozenset(b)) for a, b in said]
    one_each = [(a, b) for a, b in both if len(a) <= 1 and len(b) <= 1]
    single = kappa(*([next(iter(pair[side]), NO_CLASS) for pair in one_each] for side in (0, 1)))
    if not single.n and both:
        single = Kappa(None, 0, "no image on which both chose at most one localization")
    per_class = {}
    for name in sorted(frozenset().union(*(a | b for a, b in both))):
        seen = [["seen" if name in pair[side] else "not seen" for pair in both] for side in (0, 1)]
        per_class[name] = kappa(*seen)
    defined = [one.value for one in per_class.values() if one.value is not None]
    return Pair(
        first,
        second,
        len(both),
        sum(a == b for a, b in both) / len(both) if both else None,
        single,
        per_class,
        sum(defined) / len(defined) if defined else None,
    )


def pairs_of(decisions: Mapping[str, Mapping[Any, Collection[str]]]) -> list[Pair]:
    """Agreement of every two annotators, by name.

    Args:
        decisions: By annotator: localizations by whatever names the image as it was seen.
    """
    found = []
    for first, second in combinations(sorted(decisions), 2):
        both = sorted(decisions[first].keys() & decisions[second].keys())
        found.append(agreement(first, second, [(decisions[first][i], decisions[second][i]) for i in both]))
    return found


@dataclass(frozen=True, slots=True)
class Holds:
    """How often an inherited label holds for the image itself.

    Attributes:
        n: Annotated images that inherit it.
        holds: Of these, those that annotators saw it in.
        seen_elsewhere: Annotated images that it was seen in though they do not inherit it.
    """

    n: int
    holds: int
    seen_elsewhere: int

    @property
    def share(self) -> float | None:
        """`holds` / `n`; None where n is 0."""
        return self.holds / self.n if self.n else None


def inherited_labels_hold(images: Sequence[tuple[Collection[str], Collection[str]]]) -> dict[str, Holds]:
    """For each class, how often an image that inherits it has it by its own annotation.

    Args:
        images: (inherited, annotated) localizations of each image on which its annotators agree.

    Returns:
        By class, those that are inherited or annotated anywhere, sorted.
    """
    sets = [(frozenset(inherited), frozenset(own)) for inherited, own in images]
    classes = sorted(frozenset().union(*(inherited | own for inherited, own in sets)))
    return {
        name: Holds(
            n=sum(name in inherited for inherited, _ in sets),
            holds=sum(name in inherited and name in own for inherited, own in sets),
            seen_elsewhere=sum(name not in inherited and name in own for inherited, own in sets),
        )
        for name in classes
    }

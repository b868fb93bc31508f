"""Which images stand for a localization: those that the vote is surest of, right and wrong; and proteins. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locatlas.query.asking.view import View

__all__ = ["Chosen", "as_table", "choose_images", "choose_proteins"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """One image of a gallery.

    Attributes:
        id: Of the image.
        predicted: The class whose score is meant, None where there was no vote.
        confidence: That score, in [0, 1].
    """

    id: str
    predicted: str | None
    confidence: float


def as_table(predicted: NDArray[np.int64] | NDArray[np.bool_], n_classes: int) -> NDArray[np.bool_]:
    """Predictions as bool (n, n_classes): class numbers (-1 for none) as one column a class; a table stays as it is."""
    if predicted.ndim == 2:
        return predicted.astype(np.bool_)
    return predicted[:, None] == np.arange(n_classes)


def choose_images(
    classes: Sequence[str],
    targets: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    scores: NDArray[np.float64],
    ids: Sequence[str],
    groups: Mapping[str, str | None],
    *,
    n: int,
) -> dict[str, tuple[list[Chosen], list[Chosen]]]:
    """The most typical and the most confused images of each class.

    Typical are those that have the class and are predicted to, by its score. Confused are those that have it and are
    not predicted to, by the highest score of a class that they are predicted to have and do not. Equal scores go by
    turns of the groups, then by id.

    Args:
        classes: Names of the columns.
        targets: Annotated, bool (n_rows, n_classes).
        predicted: bool (n_rows, n_classes).
        scores: Shares of the vote, float64 (n_rows, n_classes).
        ids: Of the rows.
        groups: Group of each id.
        n: Images of each kind, at most.

    Returns:
        Typical and confused ones by class, in the order of `classes`; classes that no row has are left out.
    """
    claimed = np.where(predicted & ~targets, scores, -1.0)
    wrong_class = claimed.argmax(axis=1).tolist()
    wrong_score = claimed.max(axis=1)
    found = {}
    for column, name in enumerate(classes):
        if not targets[:, column].any():
            continue
        right = [
            Chosen(ids[row], name, float(scores[row, column]))
            for row in np.flatnonzero(targets[:, column] & predicted[:, column]).tolist()
        ]
        wrong = [
            Chosen(ids[row], classes[wrong_class[row]], float(wrong_score[row]))
            if wrong_score[row] >= 0
            else Chosen(ids[row], None, 0.0)
            for row in np.flatnonzero(targets[:, column] & ~predicted[:, column]).tolist()
        ]
        found[name] = (_surest(right, groups, n), _surest(wrong, groups, n))
    return found


def _surest(images: Sequence[Chosen], groups: Mapping[str, str | None], n: int) -> list[Chosen]:
    met: Counter[tuple[float, str | None]] = Counter()
    ordered = []
    for one in sorted(images, key=lambda one: (-one.confidence, one.id)):
        key = (one.confidence, groups[one.id])
        ordered.append((-one.confidence, met[key], one.id, one))
        met[key] += 1
    return [one for *_, one in sorted(ordered, key=lambda entry: entry[:3])[:n]]


def choose_proteins(view: View, *, n: int) -> list[str]:
    """One protein of each localization, the most frequent localization first: that with most images, then by name.

    Args:
        view: Images.
        n: Proteins at most.

    Returns:
        Distinct proteins; () where no image has a protein and a localization.
    """
    images: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for protein, names in zip(view.names("protein"), view.localizations, strict=True):
        if protein:
            for name in names:
                images[name][protein] += 1
    chosen: list[str] = []
    for name in sorted(images, key=lambda name: (-images[name].total(), name)):
        left = [protein for protein in images[name] if protein not in chosen]
        if left:
            chosen.append(min(left, key=lambda protein: (-images[name][protein], protein)))
    return chosen[:n]

"""What scores are scores of: rows that take part, their groups, those an encoder was trained on. Reads the store."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.asking.leakage import Overlap, Part, training_overlap
from locatlas.query.asking.scope import Scope, Seen, look
from locatlas.query.asking.selection import filters_of, known_groups
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.scores.protocols import LabelMode, encode_labels
from locatlas.query.search.unit import norms

__all__ = ["Scored", "scored"]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What scores are computed from.

    Attributes:
        seen: What was loaded.
        view: Its rows that pass the filters.
        overlap: Their groups, and which of them the encoder was trained on.
    """

    seen: Seen
    view: View
    overlap: Overlap

    def usable(self, labels: LabelMode) -> NDArray[np.bool_]:
        """Rows that could be scored, bool (n,): with a label that fits, a group and a vector that is not zero."""
        grouped = np.fromiter((bool(name) for name in self.overlap.groups), dtype=np.bool_, count=len(self.view))
        fits = encode_labels(self.view.localizations, labels).usable
        return fits & grouped & (norms(self.view.vectors) > 0)

    def context(self, could: NDArray[np.bool_], part: Part) -> dict[str, Any]:
        """What a result says of where its numbers come from.

        Args:
            could: Rows that could be scored, bool (n,).
            part: What of them was.
        """
        scope = self.seen.scope
        return {
            **self.seen.said(),
            "trained_on": self.overlap.said(could, part),
            "where": [str(one) for one in filters_of(scope.where)],
            "map_labels": scope.map_labels,
        }


def scored(shelf: Shelf, scope: Scope, group: str) -> Scored:
    """The rows of a question that scores may be computed from.

    Args:
        shelf: What is loaded.
        scope: Which rows take part.
        group: Column whose values must not be split.

    Raises:
        UnknownNameError: If the group's column or the encoder is not in the atlas.
        InputError: If the group is unknown for all rows.
    """
    seen = look(shelf, scope, Subject())
    overlap = training_overlap(shelf.store, seen.loaded.encoder.spec, seen.view, group, images=seen.loaded.view)
    view = seen.view
    if seen.allowed is not None:
        passing = np.flatnonzero(seen.allowed)
        view, overlap = view.take(passing), overlap.take(passing)
    if all(name is None for name in overlap.groups):
        message = (
            f"group {group!r} is unknown for all {len(view)} images; groups that are known: {known_groups(view)}; "
            "--group names one"
        )
        raise InputError(message)
    return Scored(seen, view, overlap)

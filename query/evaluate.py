"""The answer of `sweep` on an atlas: which rows take part, and what the scores are scores of. Reads the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from locatlas.errors import InputError
from locatlas.query.classify_units import Together, check_cells
from locatlas.query.notes import mixed_vocabularies
from locatlas.query.scope import Scope, look
from locatlas.query.selection import filters_of, further_exclusions, known_groups
from locatlas.query.shelf import Shelf
from locatlas.query.subjects import Subject
from locatlas.query.sweep import SweepResult, sweep

__all__ = ["evaluate"]


def evaluate(
    shelf: Shelf,
    scope: Scope,
    *,
    ks: Sequence[int] | None,
    group: str,
    exclude: str,
    together: Together | None,
    **how: Any,
) -> SweepResult:
    """Score k-NN localization at every k.

    Args:
        shelf: What is loaded.
        scope: Which rows take part.
        ks: Neighborhood sizes.
        group: Column whose values must not be split.
        exclude: What else never votes: "self", "fov" or "protein".
        together: What cells are put together to, and how; None evaluates rows.
        how: Further arguments of `sweep.sweep`.

    Raises:
        UnknownNameError: If the group's column or the encoder is not in the atlas.
        InputError: If the group is unknown for all rows, or as `sweep.sweep`.
    """
    seen = look(shelf, check_cells(scope, together.by) if together else scope, Subject())
    view = seen.view if seen.allowed is None else seen.view.take(np.flatnonzero(seen.allowed))
    groups = view.names(group)
    if all(name is None for name in groups):
        message = f"group {group!r} is unknown for all {len(view)} images; groups that are known: {known_groups(view)}"
        raise InputError(message)
    if together is not None:
        how |= {"units": view.names(together.by), "by": together.by, "how": together.how, "top": together.top}
    return sweep(
        view.vectors,
        view.localizations,
        groups,
        view.ids,
        ks=ks,
        group=group,
        exclude=further_exclusions(view, exclude, group),
        **how,
    ).with_context(
        **seen.said(),
        where=[str(f) for f in filters_of(scope.where)],
        map_labels=scope.map_labels,
        notes=seen.notes(mixed_vocabularies(view, None)),
    )

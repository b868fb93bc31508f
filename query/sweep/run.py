"""The answer of `sweep` on an atlas: which rows take part, and what the scores are scores of. Reads the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.files.planes import plural
from locatlas.query.answers.classify_units import Together, check_cells
from locatlas.query.answers.notes import mixed_vocabularies
from locatlas.query.asking.leakage import Part
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.scoring import scored
from locatlas.query.asking.selection import further_exclusions
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.view import View
from locatlas.query.scores.protocols import hashed_order
from locatlas.query.sweep.every_k import SweepResult, sweep
from locatlas.types import ROW

__all__ = ["evaluate"]


def evaluate(
    shelf: Shelf,
    scope: Scope,
    *,
    ks: Sequence[int] | None,
    group: str,
    exclude: str,
    together: Together | None,
    part: Part = "unseen",
    sample: int | None = None,
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
        part: What is scored, if the encoder was trained on some of it.
        sample: Rows that are asked and scored, drawn by the seed from those that would be; None for all.
        how: Further arguments of `sweep.sweep`.

    Raises:
        UnknownNameError: If the group's column or the encoder is not in the atlas.
        LeakageError: If the encoder was trained on what would be scored, and `part` does not say what to do.
        InputError: If the group is unknown for all rows, or as `sweep.sweep`.
    """
    asked = scored(shelf, check_cells(scope, together.by) if together else scope, group)
    view, overlap = asked.view, asked.overlap
    groups = overlap.groups
    if together is not None:
        how |= {"units": view.names(together.by), "by": together.by, "how": together.how, "top": together.top}
    further, notes = further_exclusions(view, exclude, group), []
    if together is not None and how.get("protocol") != "kfold":  # which splits no unit
        notes = _own_voters(view, together.by, [groups, *further.values()])
    notes += [*_dependent_groups(view, group, groups), *overlap.notes]
    could = asked.usable(how.get("labels_mode", "single"))
    chosen = overlap.choose(could, part)
    if sample is not None:
        if together is not None:
            message = f"a sample of images cannot score a {together.by}, whose images are all needed"
            raise InputError(message)
        if sample < int(chosen.sum()):
            rows = np.flatnonzero(chosen)
            ids = view.ids
            drawn = hashed_order([ids[row] for row in rows], how.get("seed", 0))[:sample]
            chosen = np.zeros_like(chosen)
            chosen[rows[drawn]] = True
            notes += _of_sample(view, rows, rows[drawn])
    return sweep(
        view.vectors,
        view.localizations,
        groups,
        view.ids,
        ks=ks,
        group=group,
        exclude=further,
        queries=None if np.array_equal(chosen, could) else chosen,
        **how,
    ).with_context(
        **asked.context(could, part),
        notes=asked.seen.notes(notes, mixed_vocabularies(view, None)),
    )


def _of_sample(view: View, rows: NDArray[np.int64], drawn: NDArray[np.int64]) -> list[str]:
    """That only some rows are asked, and which classes are lost by that: macro F1 is a mean over those that are not."""
    labels = view.localizations
    of_all, of_sample = (frozenset().union(*{labels[row] for row in some}) for some in (rows, drawn))
    notes = [f"{len(drawn)} of {plural(len(rows), ROW[view.level])} are asked, drawn by the seed; all vote"]
    if lost := sorted(of_all - of_sample):
        notes.append(
            f"{len(lost)} of {len(of_all)} classes have no image in the sample ({', '.join(lost[:5])}"
            f"{', ...' if len(lost) > 5 else ''}): macro F1 is over the others and, rare classes being hard, "
            "usually higher than that of all images; accuracy is not affected"
        )
    return notes


def _dependent_groups(view: View, group: str, groups: Sequence[str | None]) -> list[str]:
    """That groups of one protein are alike, while the interval draws them as if they were independent."""
    if group == "protein" or "protein" not in view.meta.column_names:
        return []
    met: dict[str, set[str]] = {}
    for protein, name, labels in zip(view.names("protein"), groups, view.localizations, strict=True):
        if protein and name and labels:
            met.setdefault(protein, set()).add(name)
    n = sum(len(names) > 1 for names in met.values())
    if not n:
        return []
    return [
        f"{n} of {len(met)} proteins stand in several groups ({group}), which the interval draws as if they were "
        f"independent: it is too narrow"
    ]


def _own_voters(view: View, by: str, apart: Sequence[Sequence[str | None]]) -> list[str]:
    """That cells of a unit may vote on each other, which makes its score too good.

    Args:
        view: Who takes part.
        by: Column of the units.
        apart: Columns whose equals never meet.
    """
    values: dict[str, list[set[str | int]]] = {}
    for row, (unit, labels) in enumerate(zip(view.names(by), view.localizations, strict=True)):
        if unit and labels:
            for column, met in zip(apart, values.setdefault(unit, [set() for _ in apart]), strict=True):
                met.add(column[row] or row)  # what is unknown meets all
    n = sum(all(len(met) > 1 for met in columns) for columns in values.values())
    if not n:
        return []
    return [
        f"cells of {n} of {len(values)} units ({by}) vote on cells of their own unit, since group and exclude do not "
        f"hold them apart: scores are too high; use --group {by}"
    ]

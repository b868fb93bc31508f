"""The answer of `probe` on an atlas: which rows train heads, and which are scored. Reads the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.store.ledger import versions
from locatlas.models.training.fit_head import HeadPlan
from locatlas.query.answers.notes import mixed_vocabularies
from locatlas.query.asking.leakage import Part, training_overlap
from locatlas.query.asking.scope import Scope, look
from locatlas.query.asking.selection import filters_of, known_groups
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.probe.heads import probe
from locatlas.query.probe.result import ProbeResult
from locatlas.query.scores.protocols import encode_labels
from locatlas.query.search.unit import norms

__all__ = ["probe_atlas"]


def probe_atlas(
    shelf: Shelf, scope: Scope, *, plan: HeadPlan, group: str, part: Part = "unseen", **how: Any
) -> ProbeResult:
    """Score heads trained on the vectors of one encoder.

    Args:
        shelf: What is loaded.
        scope: Which rows take part.
        plan: The head and its training.
        group: Column whose values must not be split.
        part: What is scored, if the encoder was trained on some of it; the heads may be trained on all.
        how: Further arguments of `probe.probe`.

    Raises:
        UnknownNameError: If the group's column or the encoder is not in the atlas.
        LeakageError: If the encoder was trained on what would be scored, and `part` does not say what to do.
        InputError: If the group is unknown for all rows, or as `probe.probe`.
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
    could = _takes_part(view, overlap.groups, plan)
    chosen = overlap.choose(could, part)
    return probe(
        view.vectors,
        view.localizations,
        overlap.groups,
        view.ids,
        plan=plan,
        group=group,
        scored=None if np.array_equal(chosen, could) else chosen,
        **how,
    ).with_context(
        **seen.said(),
        trained_on=overlap.said(could, part),
        where=[str(f) for f in filters_of(scope.where)],
        map_labels=scope.map_labels,
        notes=seen.notes(_split_proteins(view, group, overlap.groups), overlap.notes, mixed_vocabularies(view, None)),
        versions=versions(),
    )


def _takes_part(view: View, groups: Sequence[str | None], plan: HeadPlan) -> NDArray[np.bool_]:
    """Rows that a probe takes: with a label that fits, a group and a vector that is not zero; bool (n,)."""
    grouped = np.fromiter((bool(name) for name in groups), dtype=np.bool_, count=len(view))
    return encode_labels(view.localizations, plan.labels).usable & grouped & (norms(view.vectors) > 0)


def _split_proteins(view: View, group: str, groups: Sequence[str | None]) -> list[str]:
    """That heads may be tested on proteins, or on cells of fields, that they were trained on."""
    notes = []
    wholes = {"protein": "proteins"} if "protein" in view.meta.column_names else {}
    if view.level == "cell":
        wholes["fov"] = "fields"
    wholes.pop(group, None)
    for column, words in wholes.items():
        met: dict[str, set[str]] = {}
        for name, of, labels in zip(view.names(column), groups, view.localizations, strict=True):
            if name and of and labels:
                met.setdefault(name, set()).add(of)
        n = sum(len(names) > 1 for names in met.values())
        if n:
            notes.append(
                f"{n} of {len(met)} {words} stand in several groups ({group}), so that heads meet {words} in the test "
                "that they were trained on: scores are too high, and the interval is too narrow"
            )
    return notes

"""The answer of `probe` on an atlas: which rows train heads, and which are scored. Reads the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from locatlas.indexer.store.ledger import versions
from locatlas.models.training.fit_head import HeadPlan
from locatlas.query.answers.notes import mixed_vocabularies
from locatlas.query.asking.leakage import Part
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.scoring import scored
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.view import View
from locatlas.query.probe.heads import probe
from locatlas.query.probe.result import ProbeResult

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
    asked = scored(shelf, scope, group)
    view, overlap = asked.view, asked.overlap
    could = asked.usable(plan.labels)
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
        **asked.context(could, part),
        notes=asked.seen.notes(
            _split_proteins(view, group, overlap.groups), overlap.notes, mixed_vocabularies(view, None)
        ),
        versions=versions(),
    )


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

"""A sweep at one k as a measurement of a grid, so that the figures of grids draw it. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec
from locatlas.query.benchmark.calibration import tally
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.cell import Protocol as GridProtocol
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import Summary, summarize
from locatlas.query.report.choice import as_table
from locatlas.query.scores.metrics import Counts
from locatlas.query.search.exclude import encode_names
from locatlas.query.sweep.result import KResult, SweepResult

__all__ = ["class_rows", "summary_of"]

_PROTOCOLS: Mapping[str, GridProtocol] = {"leave-group-out": "protein-out", "kfold": "protein-kfold"}


def summary_of(sweep: SweepResult, at_k: KResult, spec: EncoderSpec, groups: Mapping[str, str | None]) -> Summary:
    """The measurement.

    Args:
        sweep: Of rows, not of units.
        at_k: One of its results, with predictions.
        spec: Of the encoder.
        groups: Group of each evaluated id.

    Raises:
        InputError: If predictions were not kept.
    """
    if at_k.predicted is None or at_k.scores is None or sweep.targets is None:
        message = "a sweep that kept its predictions is needed"
        raise InputError(message)
    of_rows = [groups[name] or "" for name in sweep.ids]
    names = tuple(sorted(set(of_rows)))
    codes = encode_names([*names, *of_rows])[0][len(names) :]
    table = as_table(at_k.predicted, len(sweep.classes))
    right = (table == sweep.targets).all(axis=1)
    single = sweep.labels == "single"
    imported = spec.architecture == "imported"
    cell = Cell(
        encoder=spec.name,
        mapping=None if imported else spec.mapping,
        mapping_seed=spec.mapping_seed,
        passes=None if imported else spec.passes,
        stains=spec.stains,
        level=sweep.context["level"],
        labels="single" if single else "multi",
        protocol=_PROTOCOLS[sweep.protocol],
        k=at_k.k,
        votes=at_k.weights,
        settings=(("group", sweep.group),),
    )
    scored = Scored(
        cell=cell,
        fingerprint=spec.fingerprint,
        data_digest="",
        classes=sweep.classes,
        groups=names,
        counts=Counts.by_group(sweep.targets, table, codes, len(names)),
        n_right=np.bincount(codes, weights=right, minlength=len(names)).astype(np.int64),
        n_rows=np.bincount(codes, minlength=len(names)).astype(np.int64),
        n_references=float(sweep.n_rows),
        confusion=at_k.confusion,
        confidence=tally((at_k.scores * table).max(axis=1), right) if single else None,
    )
    return summarize([scored], n_bootstrap=0)[0]


def class_rows(sweep: SweepResult, at_k: KResult, summary: Summary) -> list[dict[str, Any]]:
    """What a table says of each class, the most frequent first: rows, groups, counts, F1, what it is taken for most.

    Args:
        sweep: As in `summary_of`.
        at_k: As in `summary_of`.
        summary: As it gave.
    """
    (scored,) = summary.cells
    n_groups = (scored.counts.support > 0).sum(axis=0)
    rows = []
    for column, name in enumerate(sweep.classes):
        taken, n_taken = None, 0
        if at_k.confusion is not None:
            others = at_k.confusion[column, :-1].copy()
            others[column] = 0
            if others.any():
                taken, n_taken = sweep.classes[int(others.argmax())], int(others.max())
        rows.append(
            {
                "localization": name,
                "rows": int(at_k.counts.support[column]),
                "groups": int(n_groups[column]),
                "f1": summary.per_class_f1[name],
                "tp": int(at_k.counts.tp[column]),
                "fp": int(at_k.counts.fp[column]),
                "fn": int(at_k.counts.fn[column]),
                "taken_for": taken,
                "taken_for_rows": n_taken,
                "lone": sweep.lone_labels.get(name, 0),
            }
        )
    return sorted(rows, key=lambda row: (-int(row["rows"]), row["localization"]))

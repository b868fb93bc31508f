"""Routes of measures: stored sweeps and benchmarks, a sweep now, how much images of proteins resemble each other."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as InPath

from locatlas.errors import one_line
from locatlas.query.answers import tables as answers
from locatlas.query.benchmark.result import DEFINITIONS
from locatlas.query.benchmark.rows import from_row
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import Summary, summarize
from locatlas.query.documents.asking import ProteinsDocument, SweepDocument
from locatlas.query.plain import plain
from locatlas.query.serve.arrow import wants_arrow
from locatlas.query.serve.asked import ResemblanceAsked, SweepAsked
from locatlas.query.serve.context import ERRORS, Context
from locatlas.query.serve.measured_documents import MeasuredDocument, StoredBenchmarks, StoredSweeps
from locatlas.query.serve.reading import Desk
from locatlas.query.serve.routes_answers import AS_ARROW, kept_table

__all__ = ["measures_router"]

_TABLE = "benchmarks"


def measures_router(context: Context) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/api/v1", tags=["measures"], responses=ERRORS)
    desk = context.desk

    @router.get("/sweeps", response_model=StoredSweeps)
    async def sweeps() -> Any:
        """Scores over the neighborhood size k that `locatlas benchmark` stored, a curve for each encoder and plan."""
        return await context.document(lambda: {"curves": _curves(desk), "definitions": DEFINITIONS})

    @router.get("/benchmarks", response_model=StoredBenchmarks)
    async def benchmarks(
        limit: Annotated[int, Query(ge=1, le=5000)] = 1000, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
    ) -> Any:
        """Everything that `locatlas benchmark` stored, over its seeds; the best first."""

        def page() -> dict[str, Any]:
            found = _summaries(desk)
            chosen = [_summary(one, ids) for one, ids in found[offset : offset + limit]]
            return {"total": len(found), "offset": offset, "summaries": chosen, "definitions": DEFINITIONS}

        return await context.document(page)

    @router.get("/benchmarks/{cell}", response_model=MeasuredDocument)
    async def measured(cell: Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]) -> Any:
        """One stored measurement by its id: scores by class, and the confusion matrix."""
        return await context.document(_measured, desk, cell)

    @router.get("/sweep", response_model=SweepDocument)
    async def sweep(asked: Annotated[SweepAsked, Query()]) -> Any:
        """Scores over k by the encoder's vectors as they are now, leaving one protein (or group) out; kept."""
        arguments = asked.arguments()
        key = ("sweep", tuple(sorted(arguments.items())))
        found = await context.heavy.run(
            lambda: desk.once(key, lambda: desk.atlas.sweep(**arguments).to_dict(), size=lambda _: 100_000)
        )
        return plain(found)

    @router.get("/resemblance", response_model=ProteinsDocument, responses=AS_ARROW)
    async def resemblance(request: Request, asked: Annotated[ResemblanceAsked, Query()]) -> Any:
        """How much the images of each protein resemble each other, against those of other proteins."""
        arguments = asked.arguments()
        table = await context.heavy.run(lambda: kept_table(context, "resemblance", desk.atlas.proteins, arguments))
        return context.table(table) if wants_arrow(request) else plain(answers.proteins_document(table))

    return router


def _stored(desk: Desk) -> dict[str, Scored]:
    """What is stored, by id."""

    def make() -> dict[str, Scored]:
        return {row["id"]: from_row(row) for row in desk.store.read(_TABLE).to_pylist()}

    return desk.once(_TABLE, make, size=lambda found: 20_000 * len(found), tables=(_TABLE,))


def _summaries(desk: Desk) -> list[tuple[Summary, list[str]]]:
    """Over seeds, of the same rows and vectors only; with the ids of what they are of."""

    def make() -> list[tuple[Summary, list[str]]]:
        alike: defaultdict[str, list[Scored]] = defaultdict(list)
        ids: dict[int, str] = {}
        for name, one in _stored(desk).items():
            alike[one.data_digest].append(one)
            ids[id(one)] = name
        found = [one for group in alike.values() for one in summarize(group, n_bootstrap=0)]
        found.sort(key=lambda one: (-one.scores["macro_f1"].mean, str(one.cell)))
        return [(one, [ids[id(cell)] for cell in one.cells]) for one in found]

    return desk.once("summaries", make, size=lambda found: 5_000 * len(found), tables=(_TABLE,))


def _summary(one: Summary, ids: Sequence[str]) -> dict[str, Any]:
    return {**one.to_dict(), "data_digest": one.cells[0].data_digest, "cells": list(ids)}


def _curves(desk: Desk) -> list[dict[str, Any]]:
    """Summaries that differ in k alone, as curves; the best first."""
    return desk.once("curves", lambda: _curves_of(_summaries(desk)), size=_size_of_curves, tables=(_TABLE,))


def _size_of_curves(found: list[dict[str, Any]]) -> int:
    return sum(1_000 + 500 * len(curve["points"]) for curve in found)


def _curves_of(summaries: Sequence[tuple[Summary, list[str]]]) -> list[dict[str, Any]]:
    curves: defaultdict[Any, list[tuple[Summary, list[str]]]] = defaultdict(list)
    for one, ids in summaries:
        if one.cell.k is not None:
            curves[one.cells[0].data_digest, one.cell.without("k", "seed", "mapping_seed")].append((one, ids))
    found = []
    for points in curves.values():
        points.sort(key=lambda point: point[0].cell.k or 0)
        said = _summary(*points[0])
        plan = {name: said[name] for name in _PLAN}
        rows = _rows(cell for one, _ in points for cell in one.cells)
        found.append({**plan, "rows": rows, "points": [_point(one, ids) for one, ids in points]})
    return sorted(found, key=lambda curve: -max(point["macro_f1"] for point in curve["points"]))


def _rows(cells: Iterable[Scored]) -> str:
    """Equal where the scored groups and classes are, with as many rows of each class in each group.

    Which rows they were is stored with the vectors alone, in one digest that two encoders never have in common.
    """
    told = set()
    for one in cells:
        digest = hashlib.blake2b(json.dumps([one.classes, one.groups]).encode(), digest_size=16)
        for counts in (one.n_rows, one.counts.tp + one.counts.fn):
            digest.update(np.ascontiguousarray(counts, dtype="<i8").tobytes())
        told.add(digest.hexdigest())
    return hashlib.blake2b("\n".join(sorted(told)).encode(), digest_size=8).hexdigest()


_PLAN = (
    "encoder", "fingerprints", "mapping", "passes", "stains", "objective", "level", "labels", "protocol", "votes",
    "fraction", "n", "n_groups", "n_classes", "data_digest",
)  # fmt: skip
_POINT = ("k", "n_seeds", "macro_f1", "macro_f1_sd", "micro_f1", "accuracy", "balanced_accuracy")


def _point(one: Summary, ids: Sequence[str]) -> dict[str, Any]:
    said = _summary(one, ids)
    return {**{name: said[name] for name in _POINT}, "cells": said["cells"]}


def _measured(desk: Desk, name: str) -> dict[str, Any]:
    found = _stored(desk).get(name)
    if found is None:
        raise HTTPException(404, f"no measurement has the id {one_line(repr(name))}; /benchmarks lists them")
    (one,) = summarize([found], n_bootstrap=0)
    return {
        **_summary(one, [name]),
        "classes": list(found.classes),
        "confusion": None if found.confusion is None else found.confusion.tolist(),
        "left_out": dict(found.left_out),
        "notes": list(found.notes),
        "definitions": DEFINITIONS,
    }

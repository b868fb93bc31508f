"""Routes of whole levels as Arrow tables - a map, votes on all rows, vectors - and of two encoders side by side."""

from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query
from starlette.responses import Response

from locatlas.errors import InputError
from locatlas.query.answers import tables as answers
from locatlas.query.plain import plain
from locatlas.query.serve.arrow import ARROW
from locatlas.query.serve.asked import CompareAsked, ConfidenceAsked, EmbeddingsAsked, PointsAsked
from locatlas.query.serve.context import ERRORS, Context
from locatlas.query.serve.documents import CompareQueriesDocument
from locatlas.query.serve.failures import without_paths
from locatlas.query.serve.points import points_table
from locatlas.query.serve.reading import Desk
from locatlas.query.serve.routes_names import catalogue

__all__ = ["points_router"]

_TABLE: dict[int | str, dict[str, Any]] = {
    200: {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}
}


_NO_NAMES = pa.array([], pa.string()).dictionary_encode()


def points_router(context: Context) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/api/v1", tags=["points"], responses=ERRORS)
    desk = context.desk

    @router.get("/points", response_class=Response, responses=_TABLE)
    async def points(asked: Annotated[PointsAsked, Query()]) -> Response:
        """A stored 2-D map: id, x, y, protein, dataset, localization, n_localizations, placed. An Arrow IPC stream."""
        key = ("points", tuple(sorted(asked.arguments().items())))

        def made() -> pa.Table:
            return points_table(desk, catalogue(desk), asked)

        table = await context.ask(desk.once, key, made, size=lambda found: found.nbytes)
        # notes name the command with the atlas' folder, which is nobody's business
        told = {name: without_paths(value.decode(), desk.hidden()) for name, value in table.schema.metadata.items()}
        return context.table(table.replace_schema_metadata(told))

    @router.get("/points/confidence", response_class=Response, responses=_TABLE)
    async def confidence(asked: Annotated[ConfidenceAsked, Query()]) -> Response:
        """What the neighbors of other proteins vote on every row: id, predicted, confidence. An Arrow IPC stream.

        Both are null where there is no vote, as for rows whose protein is unknown; the metadata counts these
        (`n_without_protein`).
        """
        key = ("confidence", tuple(sorted(asked.arguments().items())))
        table = await context.heavy.run(
            lambda: desk.once(key, lambda: _confidence(desk, asked), size=lambda found: found.nbytes)
        )
        return context.table(table)

    @router.get("/embeddings", response_class=Response, responses=_TABLE)
    async def embeddings(asked: Annotated[EmbeddingsAsked, Query()]) -> Response:
        """All ids, ascending, and their vectors, float32 and not normalised. An Arrow IPC stream."""
        return context.table(await context.heavy.run(lambda: _embeddings(desk, asked)))

    @router.get("/compare", response_model=CompareQueriesDocument)
    async def compare(asked: Annotated[CompareAsked, Query()]) -> Any:
        """The neighbors of a protein, or of each of some images, by two encoders side by side."""
        return plain(await context.heavy.run(lambda: _compared(desk, asked)))

    return router


def _confidence(desk: Desk, asked: ConfidenceAsked) -> pa.Table:
    """The vote on each row that leaves its own protein out.

    A row whose protein is unknown is of the protein of any other for all one knows: it gets no vote and has none, as in
    sweeps.

    Raises:
        UnknownNameError: If there is no such level or encoder.
        InputError: If k does not fit or nothing labelled may vote.
    """
    view = desk.atlas.view(asked.level, encoder=asked.encoder)
    named = np.array([bool(name) for name in view.names("protein")], dtype=np.bool_)
    if not named.any():
        none = pa.table(
            {"id": pa.array([], pa.string()), "predicted": _NO_NAMES, "confidence": pa.array([], pa.float32())}
        )
        said: dict[str, Any] = {"level": asked.level, "exclude": "protein", "notes": []}
        return _with_the_unnamed(answers.with_context(none, **said), view.ids)
    # proteins are made of the images that pass, which are the named ones anyway
    where = () if named.all() or asked.level == "protein" else "protein!="  # which null does not pass, either
    table = desk.atlas.classify(
        level=asked.level,
        k=asked.k,
        encoder=asked.encoder,
        exclude="protein",
        map_labels=asked.map_labels,
        where=where,
    )
    scores = table["scores"].combine_chunks()
    # best first: the first of each row, where it has any
    has = np.diff(scores.offsets.to_numpy()) > 0
    first = scores.offsets.to_numpy()[:-1][has]
    best = scores.values.take(pa.array(first))
    names = np.full(len(table), None, dtype=object)
    shares = np.full(len(table), np.nan)
    names[has] = best.field("localization").to_pylist()
    shares[has] = best.field("score").to_numpy()
    columns = {
        "id": table["id"].combine_chunks(),
        "predicted": pa.array(names, pa.string()).dictionary_encode(),
        "confidence": pa.array(shares.astype(np.float32), mask=~has),
    }
    voted = pa.table(columns).replace_schema_metadata(table.schema.metadata)
    return voted if named.all() else _with_the_unnamed(voted, view.ids)


def _with_the_unnamed(voted: pa.Table, ids: list[str]) -> pa.Table:
    """All rows by id; those without a protein have no vote, and are counted."""
    said = answers.context(voted)
    place = pc.index_in(pa.array(ids, pa.string()), value_set=voted["id"].combine_chunks())
    n = place.null_count
    columns = {
        "id": pa.array(ids, pa.string()),
        "predicted": voted["predicted"].combine_chunks().take(place),
        "confidence": voted["confidence"].combine_chunks().take(place),
    }
    note = f"no vote on or by the {n} of {len(ids)} whose protein is unknown: others of it could not be left out"
    return answers.with_context(pa.table(columns), **said | {"n_without_protein": n, "notes": [*said["notes"], note]})


def _embeddings(desk: Desk, asked: EmbeddingsAsked) -> pa.Table:
    ids, vectors = desk.atlas.embeddings(level=asked.level, encoder=asked.encoder)
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    columns = [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])]
    return pa.table(columns, names=["id", "vector"])


def _compared(desk: Desk, asked: CompareAsked) -> dict[str, Any]:
    queries = [{"protein": asked.protein}] if asked.protein is not None else [{"id": one} for one in asked.ids]
    found = [_compare_one(desk, query, asked) for query in queries]
    overlaps = [one["overlap"] for one in found if one["overlap"] is not None]
    return {
        **{side: found[0][side]["encoder"] for side in ("a", "b")},
        "queries": found,
        "overlap": sum(overlaps) / len(overlaps) if overlaps else None,
    }


def _compare_one(desk: Desk, query: dict[str, Any], asked: CompareAsked) -> dict[str, Any]:
    shared: dict[str, Any] = {"level": asked.level, "k": asked.k, "exclude": asked.exclude, "where": tuple(asked.where)}
    sides = {
        side: answers.neighbors_document(desk.atlas.neighbors(**query, **shared, encoder=encoder))
        for side, encoder in (("a", asked.a), ("b", asked.b))
    }
    if sides["a"]["level"] != sides["b"]["level"]:
        message = f"{asked.a} has vectors at level {sides['a']['level']}, {asked.b} at {sides['b']['level']}: name one"
        raise InputError(message)
    first, second = ([hit["id"] for hit in sides[side]["hits"]] for side in ("a", "b"))
    k = min(len(first), len(second))
    in_both = [one for one in first[:k] if one in set(second[:k])]
    return {"query": query, **sides, "k": k, "in_both": in_both, "overlap": len(in_both) / k if k else None}

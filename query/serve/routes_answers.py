"""Routes that answer questions about one protein or image: neighbors, classify."""

from collections.abc import Callable
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request

from locatlas.query.answers import tables as answers
from locatlas.query.documents.asking import ClassifyDocument, NeighborsDocument
from locatlas.query.plain import plain
from locatlas.query.serve.arrow import ARROW, wants_arrow
from locatlas.query.serve.asked import ClassifyAsked, NeighborsAsked
from locatlas.query.serve.context import ERRORS, Context

__all__ = ["AS_ARROW", "answers_router", "kept_table"]

AS_ARROW: dict[int | str, dict[str, Any]] = {200: {"content": {ARROW: {}}}}
"""What a route says that gives a table, too."""


def answers_router(context: Context) -> APIRouter:
    """The routes. Asked with `Accept: application/vnd.apache.arrow.stream` they give the façade's Arrow table."""
    router = APIRouter(prefix="/api/v1", tags=["answers"], responses=ERRORS)
    atlas = context.desk.atlas

    @router.get("/neighbors", response_model=NeighborsDocument, responses=AS_ARROW)
    async def neighbors(request: Request, asked: Annotated[NeighborsAsked, Query()]) -> Any:
        """The k images, or at level protein the proteins, most similar to a protein or an image, nearest first."""
        table = await context.ask(kept_table, context, "neighbors", atlas.neighbors, asked.arguments())
        return context.table(table) if wants_arrow(request) else plain(answers.neighbors_document(table))

    @router.get("/classify", response_model=ClassifyDocument, responses=AS_ARROW)
    async def classify(request: Request, asked: Annotated[ClassifyAsked, Query()]) -> Any:
        """Where a protein or an image is localized, by the vote of its k nearest labelled neighbors."""
        table = await context.ask(kept_table, context, "classify", atlas.classify, asked.arguments())
        return context.table(table) if wants_arrow(request) else plain(answers.classify_document(table))

    return router


def kept_table(context: Context, name: str, method: Callable[..., pa.Table], asked: dict[str, Any]) -> pa.Table:
    """The façade's answer, kept until a table changes."""
    key = (name, tuple(sorted(asked.items())))
    return context.desk.once(key, lambda: method(**asked), size=lambda table: 1000 + table.nbytes)

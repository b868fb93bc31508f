"""What the routes of one server share: the atlas, the lanes that work runs in, the limits. No I/O of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from locatlas.query.plain import plain
from locatlas.query.serve.arrow import TableResponse
from locatlas.query.serve.documents import ErrorDocument
from locatlas.query.serve.limits import Budget, Lane, ServeLimits
from locatlas.query.serve.reading import Desk

__all__ = ["ERRORS", "MOST_TEXT", "Context"]

Answer = TypeVar("Answer")

MOST_TEXT = 500
"""Characters of a name, id or filter in a request."""

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorDocument, "description": "What was asked for does not fit the atlas."},
    401: {"model": ErrorDocument, "description": "The token is missing or wrong."},
    403: {"model": ErrorDocument, "description": "Asked by a page of another site."},
    404: {"model": ErrorDocument, "description": "Nothing has this name."},
    422: {"model": ErrorDocument, "description": "A parameter or an uploaded image cannot be used."},
    503: {"model": ErrorDocument, "description": "Busy, or the atlas cannot be read now."},
}
"""Answers that every route may give instead of its own."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the routes of one server share.

    Attributes:
        desk: The atlas.
        quick: Look-ups and pictures.
        heavy: Uploads, and what looks at all rows.
        limits: Of requests.
        sending: Bytes of tables that are being sent.
    """

    desk: Desk
    quick: Lane
    heavy: Lane
    limits: ServeLimits
    sending: Budget

    def table(self, table: pa.Table) -> TableResponse:
        """The answer that sends a table."""
        return TableResponse(table, self.sending)

    async def ask(self, work: Callable[..., Answer], *given: Any, **asked: Any) -> Answer:
        """What a look-up gives, off the event loop."""
        return await self.quick.run(partial(work, *given, **asked))

    async def document(self, work: Callable[..., Any], *given: Any, **asked: Any) -> Any:
        """The same as JSON has it."""
        return plain(await self.ask(work, *given, **asked))

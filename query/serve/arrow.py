"""Tables over HTTP as Arrow IPC streams, piece by piece, so that a slow reader holds no more than its table."""

import asyncio

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from locatlas.query.serve.limits import Budget

__all__ = ["ARROW", "TableResponse", "wants_arrow"]

ARROW = "application/vnd.apache.arrow.stream"
"""Media type of the IPC stream, as IANA has it."""

_PIECE = 256 * 2**10
"""Bytes handed to the connection at once; the next wait until these are nearly sent."""


def wants_arrow(request: Request) -> bool:
    """Whether the client prefers a table to the JSON document."""
    return ARROW in request.headers.get("accept", "")


class TableResponse(Response):
    """The table, its metadata included, as one stream.

    Args:
        table: What is sent.
        budget: Bytes that all tables that are being sent may take together; held until the last one is sent.
    """

    media_type = ARROW

    def __init__(self, table: pa.Table, budget: Budget) -> None:
        super().__init__()
        self._table, self._budget = table, budget
        del self.headers["content-length"]  # known when it is written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            BusyError: If too much is being sent already; nothing of this was, then.
        """
        with self._budget.take(self._table.nbytes):
            # hundreds of megabytes, which would stop all other answers for as long
            body = await asyncio.to_thread(self._written)
            self.headers["content-length"] = str(len(body))
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(body), _PIECE):
                await send(
                    {"type": "http.response.body", "body": bytes(body[start : start + _PIECE]), "more_body": True}
                )
            await send({"type": "http.response.body", "body": b""})

    def _written(self) -> memoryview:
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, self._table.schema) as stream:
            stream.write_table(self._table)
        return memoryview(out.getvalue())

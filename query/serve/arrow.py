"""Tables over HTTP as Arrow IPC streams. Pure."""

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["ARROW", "arrow_response", "wants_arrow"]

ARROW = "application/vnd.apache.arrow.stream"
"""Media type of the IPC stream, as IANA has it."""


def wants_arrow(request: Request) -> bool:
    """Whether the client prefers a table to the JSON document."""
    return ARROW in request.headers.get("accept", "")


def arrow_response(table: pa.Table, headers: dict[str, str] | None = None) -> Response:
    """The table, its metadata included, as one stream."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    # without a second copy: vectors of an atlas are hundreds of megabytes
    return Response(memoryview(out.getvalue()), media_type=ARROW, headers=headers)

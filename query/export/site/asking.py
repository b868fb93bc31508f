"""The HTTP API asked without a network: the very routes, in this process. What they answer is what a server answers."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from locatlas.query.serve.app import create_app
from locatlas.query.serve.limits import ServeLimits
from locatlas.query.serve.reading import Desk

__all__ = ["Answered", "Api", "api_of"]

_LIMITS = ServeLimits(quick_waiting=10_000, quick_seconds=3600, heavy_seconds=24 * 3600)
"""Nobody waits for an answer here but the writer of files."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer.

    Attributes:
        status: 200, or why there is none.
        headers: By lower-case name.
        body: Its bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """The JSON document."""
        return json.loads(self.body)


class Api:
    """Asks an app.

    Attributes:
        notes: What answers so far say of the atlas as a whole, each once.
    """

    def __init__(self, app: Any, notes: list[str]) -> None:
        self._app, self.notes = app, notes

    @property
    def desk(self) -> Desk:
        """The atlas that answers."""
        return self._app.state.context.desk

    async def get(self, path: str, **parameters: Any) -> Answered:
        """The answer to GET /api/v1/PATH with those parameters that are not None."""
        return await self._ask(f"/api/v1/{path}", parameters)

    async def picture(self, image_id: str, **parameters: Any) -> Answered:
        """The answer to GET /thumb/ID."""
        return await self._ask(f"/thumb/{image_id}", parameters)

    async def _ask(self, path: str, parameters: Mapping[str, Any]) -> Answered:
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": quote(path).encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 0), "server": ("localhost", 80),
        }  # fmt: skip
        head: dict[str, Any] = {}
        parts: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            else:
                parts.append(bytes(message.get("body", b"")))

        await self._app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head["headers"]}
        return Answered(head["status"], headers, b"".join(parts))


@asynccontextmanager
async def api_of(atlas: Path) -> AsyncIterator[Api]:
    """The API of an atlas, for as long as the context lasts.

    Raises:
        InputError: If there is no atlas.
    """
    app = create_app(atlas, limits=_LIMITS)
    with _collected("locatlas.query.answers.notes") as notes:
        async with app.router.lifespan_context(app):
            yield Api(app, notes)


@contextmanager
def _collected(name: str) -> Iterator[list[str]]:
    """What a logger says, each line once and not logged: notes on an atlas are those of a thousand answers of it."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        if line not in said:
            said.append(line)
        return False

    logger = logging.getLogger(name)
    kept = list(logger.filters)
    # before those that let nothing through
    logger.filters = [keep, *kept]
    try:
        yield said
    finally:
        logger.filters = kept

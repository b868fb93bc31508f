"""The HTTP API of one atlas as an ASGI app: its routes, and what becomes of errors."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from locatlas.errors import LocatlasError
from locatlas.indexer.store.ledger import versions
from locatlas.query.serve.context import Context
from locatlas.query.serve.failures import said_of, without_paths
from locatlas.query.serve.limits import Budget, BusyError, Lane, ServeLimits, TooLongError, one_blas_thread
from locatlas.query.serve.parameters import said_of_parameter
from locatlas.query.serve.reading import Desk
from locatlas.query.serve.routes_answers import answers_router
from locatlas.query.serve.routes_measures import measures_router
from locatlas.query.serve.routes_names import names_router
from locatlas.query.serve.routes_pictures import page_router, pictures_router
from locatlas.query.serve.routes_points import points_router
from locatlas.query.serve.routes_upload import upload_router
from locatlas.query.serve.security import LOOPBACK, Guard
from locatlas.query.serve.uploads import TooLargeError

__all__ = ["create_app"]

logger = logging.getLogger(__name__)


def create_app(
    atlas_path: str | Path,
    *,
    token: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    addresses: bool = False,
    limits: ServeLimits | None = None,
) -> FastAPI:
    """The app that answers from one atlas. Nothing that is asked changes the atlas or is kept.

    Args:
        atlas_path: Folder of the atlas.
        token: What every request must show; None for none.
        hosts: Names that the server may be called by.
        addresses: Whether any IP address will do as well.
        limits: Of requests; None for the usual ones.

    Raises:
        InputError: If there is no atlas, or the token is no good one.
    """
    limits = ServeLimits() if limits is None else limits
    desk = Desk(Path(atlas_path), kept_bytes=limits.kept_bytes)
    quick = Lane("quick", jobs=limits.quick_jobs, waiting=limits.quick_waiting, seconds=limits.quick_seconds)
    heavy = Lane("heavy", jobs=limits.heavy_jobs, waiting=limits.heavy_waiting, seconds=limits.heavy_seconds)
    context = Context(desk, quick, heavy, limits, Budget(limits.sending_bytes))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        before = one_blas_thread()
        try:
            yield
        finally:
            quick.close()
            heavy.close()
            before.restore_original_limits()

    # its pages of documentation fetch scripts from elsewhere
    app = _Guarded(
        partial(Guard, hosts=hosts, addresses=addresses, token=token),
        title="locatlas",
        version=versions().get("locatlas", "not installed"),
        description="Neighbors, localizations and pictures from one atlas. Read-only; the atlas never changes by it.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = context
    app.include_router(names_router(context))
    app.include_router(answers_router(context))
    app.include_router(points_router(context))
    app.include_router(measures_router(context))
    app.include_router(upload_router(context))
    app.include_router(pictures_router(context))
    app.include_router(page_router())
    _tell_errors(app, desk, limits)
    return app


class _Guarded(FastAPI):
    """An app whose guard stands before all else, so that answers to unexpected errors pass it, too."""

    def __init__(self, guard: Callable[[ASGIApp], ASGIApp], **how: Any) -> None:
        super().__init__(**how)
        self._guard = guard
        guard(self)  # a bad token is refused now, not with the first request

    def build_middleware_stack(self) -> ASGIApp:
        """The layers around the routes."""
        return self._guard(super().build_middleware_stack())


def _tell_errors(app: FastAPI, desk: Desk, limits: ServeLimits) -> None:
    """Turn errors into one line without paths; the rest goes to the log."""

    async def failed(request: Request, error: Exception) -> Response:
        said = said_of(error, desk.hidden())
        if said is None:
            logger.error("%s: not expected", request.url.path, exc_info=error)
            return _said(500, "an error that was not expected; the server's log has it")
        status, line = said
        if status == 503 and not isinstance(error, BusyError | TooLongError):
            logger.warning("%s: %s", request.url.path, error)
        return _said(status, line, {"Retry-After": "5"} if status == 503 else None)

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _said(error.status_code, without_paths(str(error.detail)), dict(error.headers or {}))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        parts = [said_of_parameter(one) for one in error.errors()[:5]]
        return _said(422, "; ".join(parts))

    async def too_large(_: Request, __: Exception) -> Response:
        return _said(413, f"the upload is too large: at most {limits.upload_bytes} bytes may come in")

    app.add_exception_handler(TooLargeError, too_large)
    for kind in (LocatlasError, BusyError, TooLongError, OSError):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, failed)


def _said(status: int, line: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": line}, status_code=status, headers=headers)

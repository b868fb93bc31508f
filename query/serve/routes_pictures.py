"""Routes of what a browser shows: pictures of images, and the page's own files."""

from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from locatlas.errors import UnknownNameError, escaped
from locatlas.query.serve.context import ERRORS, MOST_TEXT, Context
from locatlas.query.serve.failures import without_paths
from locatlas.query.serve.thumbs import MOST_PX, Fields, Look, etag_of, picture, row_of

__all__ = ["page_router", "pictures_router"]

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
}
"""Files of the page that are served, by suffix."""

Percentile = Annotated[float | None, Query(ge=0, le=100, allow_inf_nan=False)]


def pictures_router(context: Context) -> APIRouter:
    """The route of pictures."""
    router = APIRouter(tags=["pictures"], responses=ERRORS)
    fields = Fields(context.limits.kept_pixels)
    desk = context.desk
    webp: dict[int | str, dict[str, Any]] = {200: {"content": {"image/webp": {}}}, 304: {"description": "As before."}}

    @router.get("/thumb/{image_id:path}", response_class=Response, responses=webp)
    async def thumb(
        request: Request,
        image_id: Annotated[str, InPath(max_length=MOST_TEXT)],
        channels: Annotated[
            str | None, Query(max_length=MOST_TEXT, description="nucleus:0000ff,protein:00ff00")
        ] = None,
        low: Percentile = None,
        high: Percentile = None,
        size: Annotated[int, Query(ge=16, le=MOST_PX, description="longest edge in pixels")] = 256,
        v: Annotated[
            str | None, Query(max_length=MOST_TEXT, description="the image's digest: may be kept for good")
        ] = None,
    ) -> Response:
        """An image as WebP. `X-Locatlas-Pixels` says whether of its source or the stored thumbnail."""
        look = Look.asked(channels, low, high, size)
        level, row = await context.ask(row_of, desk, image_id)
        etag = etag_of(row, look)
        # the address of an image stays when its pixels change; with their digest in it, it does not
        keep = "private, max-age=31536000, immutable" if v == row["source_digest"] else "private, no-cache"
        headers = {"ETag": etag, "Cache-Control": keep}
        if etag in (one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        shown = await context.ask(picture, desk, fields, level, row, look)
        headers["X-Locatlas-Pixels"] = shown.origin
        if shown.reason is not None:
            # the images may come back: what is shown instead is not kept
            headers = {"Cache-Control": "no-store", "X-Locatlas-Pixels": shown.origin}
            said = escaped(without_paths(shown.reason, desk.hidden()))
            headers["X-Locatlas-Reason"] = said.encode("ascii", "backslashreplace").decode()
        return Response(shown.webp, media_type="image/webp", headers=headers)

    return router


@cache
def _page() -> dict[str, bytes]:
    """The page's files by their names below its folder, read once: nothing else can be asked for."""
    found: dict[str, bytes] = {}

    def add(folder: Any, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                add(entry, f"{prefix}{entry.name}/")
            elif "." in entry.name and f".{entry.name.rpartition('.')[2]}" in _KINDS:
                found[f"{prefix}{entry.name}"] = entry.read_bytes()

    add(files("locatlas.query.serve") / "page", "")
    return found


def page_router() -> APIRouter:
    """The routes of the page: `/` and `/page/NAME`, of a fixed list of names."""
    router = APIRouter(include_in_schema=False)

    def served(name: str) -> Response:
        if name not in _page():
            raise UnknownNameError("file of the page", name, ())
        kind = _KINDS[f".{name.rpartition('.')[2]}"]
        return Response(_page()[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    @router.get("/")
    async def index() -> Response:
        return served("index.html")

    @router.get("/page/{name:path}")
    async def page(name: str) -> Response:
        return served(name)

    return router

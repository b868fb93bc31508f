"""The route that takes an image: its neighbors, and where its neighbors say it is localized. Keeps nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from locatlas.errors import ImageRejectedError, InputError
from locatlas.query.answers import tables as answers
from locatlas.query.plain import plain
from locatlas.query.serve.asked import MOST_K, Text
from locatlas.query.serve.context import ERRORS, Context
from locatlas.query.serve.documents import ErrorDocument, QueryDocument
from locatlas.query.serve.limits import Places
from locatlas.query.serve.parameters import said_of_parameter
from locatlas.query.serve.routes_names import catalogue
from locatlas.query.serve.uploads import on_disk, received

__all__ = ["UploadAsked", "upload_router"]


class UploadAsked(BaseModel):
    """Text fields beside the files."""

    model_config = ConfigDict(extra="forbid")

    channels: str = Field(max_length=500, description="meanings of the planes or files in order: nucleus,protein")
    pixel_size_um: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    at: str | None = Field(default=None, max_length=60, description="Y,X in pixels: a cell of the image, to be cut out")
    level: Literal["fov", "cell", "protein"] | None = None
    k: int | None = Field(default=None, ge=1, le=MOST_K)
    exclude: Text = "protein"
    encoder: Text | None = None
    answer: Literal["both", "neighbors", "classification"] = "both"

    def arguments(self) -> dict[str, Any]:
        """As the façade's methods take them.

        Raises:
            InputError: If the place of a cell is no two numbers.
        """
        said = self.model_dump(exclude={"answer"})
        said["channels"] = tuple(part.strip() for part in self.channels.split(",") if part.strip())
        if self.at is not None:
            try:
                y, x = (float(part) for part in self.at.split(","))
            except ValueError:
                message = "at: two numbers Y,X in pixels needed, e.g. 120,340"
                raise InputError(message) from None
            said["at"] = (y, x)
        return said


_FORM = {
    "type": "object",
    "required": ["files", "channels"],
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
        **UploadAsked.model_json_schema()["properties"],
    },
}


def upload_router(context: Context) -> APIRouter:
    """The route."""
    too_large: dict[int | str, dict[str, Any]] = {
        413: {"model": ErrorDocument, "description": "More than may come in."}
    }
    router = APIRouter(prefix="/api/v1", tags=["answers"], responses={**ERRORS, **too_large})
    places = Places(context.limits.heavy_jobs + context.limits.heavy_waiting)
    body = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}

    @router.post("/query", response_model=QueryDocument, openapi_extra=body)
    async def query(request: Request) -> Any:
        """Neighbors and localizations of an uploaded image: one TIFF or PNG with all channels, or one a channel."""
        # a place before the first byte: what comes in lies on the disk, and would before any lane counted it
        with places.one():
            async with received(request, context.limits) as uploaded:
                asked = _asked(uploaded.fields)
                work = _Question(context, uploaded.files, uploaded.names, asked)
                return plain(await context.heavy.run(work.answered))

    return router


def _asked(fields: Mapping[str, str]) -> UploadAsked:
    try:
        return UploadAsked.model_validate({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        raise HTTPException(422, said_of_parameter(dict(error.errors()[0]))) from error


class _Question:
    """One upload with what is asked of it."""

    def __init__(self, context: Context, files: Sequence[UploadFile], names: list[str], asked: UploadAsked) -> None:
        self._context, self._files, self._names, self._asked = context, files, names, asked

    def answered(self) -> dict[str, Any]:
        """The document; paths of this machine are in no part of it.

        Raises:
            ImageRejectedError: If the image cannot be used, by the name that its owner knows it by.
            InputError: If what is asked does not fit.
        """
        neighbors = classification = None
        with on_disk(self._files) as paths:
            try:
                if self._asked.answer != "classification":
                    neighbors = self._neighbors(paths)
                if self._asked.answer == "classification" or (self._asked.answer == "both" and self._may_vote()):
                    classification = self._classification(paths)
            except (ImageRejectedError, InputError) as error:
                raise type(error)(self._renamed(str(error), paths)) from error
        return {"neighbors": neighbors, "classification": classification, "kept": "nothing"}

    def _may_vote(self) -> bool:
        return bool(catalogue(self._context.desk).localizations)

    def _neighbors(self, paths: list[Path]) -> dict[str, Any]:
        table = self._context.desk.atlas.neighbors(image=paths, **self._asked.arguments())
        document = answers.neighbors_document(table)
        return {**document, "query": {**document["query"], "image": self._names}}

    def _classification(self, paths: list[Path]) -> dict[str, Any]:
        document = answers.classify_document(self._context.desk.atlas.classify(image=paths, **self._asked.arguments()))
        return {**document, "items": [{**item, "id": self._names[0]} for item in document["items"]]}

    def _renamed(self, said: str, paths: Sequence[Path]) -> str:
        for path, name in zip(paths, self._names, strict=True):
            said = said.replace(str(path.resolve()), name).replace(str(path), name)
        return said

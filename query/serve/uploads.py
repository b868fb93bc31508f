"""Uploaded images: counted while they come in, kept in a folder of their own for as long as one question takes. I/O."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.types import Message

from locatlas.errors import InputError, one_line
from locatlas.query.serve.limits import ServeLimits, TooLongError

__all__ = ["TooLargeError", "Uploaded", "on_disk", "received"]

_FIELDS = 32
"""Most fields of a form beside its files."""

_FIELD_BYTES = 16 * 2**10


class TooLargeError(Exception):
    """An upload has more bytes than may come in."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What came in.

    Attributes:
        files: Still open; closed with the request.
        fields: Text fields by name; the last one of a name.
    """

    files: tuple[UploadFile, ...]
    fields: dict[str, str]

    @property
    def names(self) -> list[str]:
        """What the files are called where they come from, without folders."""
        return [_base_name(file.filename, i) for i, file in enumerate(self.files)]


@asynccontextmanager
async def received(request: Request, limits: ServeLimits) -> AsyncIterator[Uploaded]:
    """The files and fields of a multipart form.

    Args:
        request: Its body is read no further than the limit.
        limits: Of requests.

    Raises:
        TooLongError: If it takes too long to come in.
        TooLargeError: As soon as more bytes come, or are announced, than may.
        InputError: If it is no multipart form, or has no file.
        HTTPException: 400, if the form is broken, or has too many files or fields.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limits.upload_bytes:
        raise TooLargeError
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        message = "an image is uploaded as multipart/form-data, in fields named files"
        raise InputError(message)
    form = await _form(_counted(request, limits.upload_bytes), limits)
    try:
        yield _uploaded(form, limits)
    finally:
        await form.close()


def _counted(request: Request, most: int) -> Request:
    """The request, whose body ends with an error where it gets too large: a length may be announced falsely."""
    n = 0

    async def receive() -> Message:
        nonlocal n
        message = await request.receive()
        n += len(message.get("body", b""))
        if n > most:
            raise TooLargeError
        return message

    return Request(request.scope, receive)


async def _form(request: Request, limits: ServeLimits) -> FormData:
    try:
        async with asyncio.timeout(limits.upload_seconds):
            return await request.form(max_files=limits.upload_files, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    except TimeoutError:
        raise TooLongError from None


def _uploaded(form: FormData, limits: ServeLimits) -> Uploaded:
    files = [value for value in form.getlist("files") if isinstance(value, UploadFile)]
    others = [name for name, value in form.multi_items() if isinstance(value, UploadFile) and name != "files"]
    if others:
        message = f"file field {one_line(repr(others[0]))}: files belong into fields named files"
        raise InputError(message)
    if not files:
        message = "no image: at least one field named files is needed"
        raise InputError(message)
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return Uploaded(tuple(files), fields)


@contextmanager
def on_disk(files: Sequence[UploadFile]) -> Iterator[list[Path]]:
    """The files where the decoder reads them, under names of ours; gone at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="locatlas-upload-") as folder:
        paths = []
        for i, file in enumerate(files):
            path = Path(folder) / f"image-{i}"
            with path.open("xb") as out:
                file.file.seek(0)
                copyfileobj(file.file, out, 2**20)
            paths.append(path)
        yield paths


def _base_name(name: str | None, i: int) -> str:
    base = (name or "").replace("\\", "/").rpartition("/")[2]
    return one_line(base) or f"image {i + 1}"

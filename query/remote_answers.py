"""What a served atlas is sent and sends: forms with images, documents as the façade's tables. Reads image files."""

import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from locatlas.errors import InputError
from locatlas.query.answers import tables as answers
from locatlas.query.answers.localize import Localized

__all__ = ["classified_from", "multipart_form", "neighbors_from"]


def multipart_form(boundary: str, fields: Mapping[str, Any], paths: Sequence[Path]) -> bytes:
    """A multipart body with text fields and files named `files`.

    Args:
        boundary: That occurs in none of them.
        fields: Text by name.
        paths: Files, in order.

    Raises:
        InputError: If a file cannot be read.
    """
    parts = []
    for name, value in fields.items():
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for path in paths:
        try:
            data = path.expanduser().read_bytes()
        except OSError as error:
            message = f"{path}: {error.strerror or error}"
            raise InputError(message) from error
        called = "".join("_" if c in '"\\\r\n' or not c.isprintable() else c for c in path.name)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{called}"\r\n'
        parts.append(f"{head}Content-Type: {kind}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def neighbors_from(document: dict[str, Any]) -> pa.Table:
    """The table that a document of `neighbors` was made of."""
    schema = pa.schema(
        [
            ("rank", pa.int64()),
            ("id", pa.string()),
            ("protein", pa.string()),
            ("similarity", pa.float32()),
            ("localizations", pa.list_(pa.string())),
            ("dataset", pa.string()),
        ]
    )
    said = {name: value for name, value in document.items() if name != "hits"}
    return answers.with_context(pa.Table.from_pylist(document["hits"], schema=schema), **said)


def classified_from(document: dict[str, Any]) -> pa.Table:
    """The table that a document of `classify` of images was made of."""

    def pairs(scores: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
        return [(one["localization"], one["score"]) for one in scores]

    items = [
        Localized(
            name=item["id"],
            protein=item["protein"],
            annotated=item["annotated"],
            predicted=pairs(item["predicted"]),
            scores=pairs(item["scores"]),
            neighbors=item["neighbors"],
            similarities=item["similarities"],
        )
        for item in document["items"]
    ]
    said = {name: value for name, value in document.items() if name not in ("items", "units")}
    return answers.localized_table(items, **said)

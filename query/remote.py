"""An atlas that is served elsewhere, asked over HTTP with the methods of `Atlas`. Reads the network."""

import http.client
import json
import secrets
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError, LocatlasError, UnknownNameError
from locatlas.query.remote_answers import classified_from, multipart_form, neighbors_from
from locatlas.types import Level

__all__ = ["RemoteAtlas"]

ARROW = "application/vnd.apache.arrow.stream"

TIMEOUT_S = 300.0
"""Longest wait for an answer; the server itself gives up before."""

MOST_BYTES = 16 * 2**30
"""Longest answer that is taken."""


class RemoteAtlas:
    """Answers from an atlas that `locatlas serve` serves; the tables are those that `Atlas` gives there.

    Args:
        address: E.g. "http://127.0.0.1:8765".
        token: What the server wants to be shown; None for none.

    Attributes:
        address: Without a path.
    """

    def __init__(self, address: str, *, token: str | None = None) -> None:
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            port, parts = None, urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            message = f"{address}: not the address of a served atlas, e.g. http://127.0.0.1:8765"
            raise InputError(message)
        if parts.username or parts.query or parts.fragment:
            message = f"{parts.scheme}://{parts.hostname}: give the token as token=, not in the address"
            raise InputError(message)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self._token = token

    def __repr__(self) -> str:
        return f"RemoteAtlas({self.address!r})"

    def status(self) -> dict[str, Any]:
        """What the atlas holds, as /api/v1/status says it."""
        return self._json("status")

    def levels(self) -> list[str]:
        """Image levels that have vectors, FOVs before cells."""
        return [one["level"] for one in self.status()["levels"] if one["vectors"]]

    def neighbors(
        self,
        *,
        protein: str | None = None,
        id: str | None = None,  # noqa: A002 (the word of the design)
        image: str | Path | Sequence[str | Path] | None = None,
        channels: Sequence[str] = (),
        pixel_size_um: float | None = None,
        at: tuple[float, float] | None = None,
        level: Level | None = None,
        k: int | None = None,
        exclude: str = "protein",
        encoder: str | None = None,
        **further: Any,
    ) -> pa.Table:
        """As `Atlas.neighbors`; a new image is uploaded, and not kept there.

        Args:
            protein: As there.
            id: As there.
            image: As there; a file of this machine.
            channels: As there.
            pixel_size_um: As there.
            at: As there.
            level: As there.
            k: As there, at most 1000.
            exclude: As there.
            encoder: As there.
            further: map_labels, where, label_source, profile, of, exact; not with an image.

        Raises:
            UnknownNameError: If the server knows no such name.
            InputError: If the question or the image cannot be used there.
            LocatlasError: If the server cannot be reached, or not answer now.
        """
        asked = {"protein": protein, "id": id, "level": level, "k": k, "exclude": exclude, "encoder": encoder}
        if image is None:
            return self._table("neighbors", {**asked, **further})
        document = self._upload(image, channels, pixel_size_um, at, asked, further, "neighbors")["neighbors"]
        return neighbors_from(document)

    def classify(
        self,
        *,
        protein: str | None = None,
        id: str | None = None,  # noqa: A002 (the word of the design)
        image: str | Path | Sequence[str | Path] | None = None,
        channels: Sequence[str] = (),
        pixel_size_um: float | None = None,
        at: tuple[float, float] | None = None,
        level: Level | None = None,
        k: int | None = None,
        exclude: str = "protein",
        encoder: str | None = None,
        **further: Any,
    ) -> pa.Table:
        """As `Atlas.classify` of a protein, an id or a new image.

        Args:
            protein: As there.
            id: As there.
            image: As there; a file of this machine.
            channels: As there.
            pixel_size_um: As there.
            at: As there.
            level: As there.
            k: As there, at most 1000.
            exclude: As there.
            encoder: As there.
            further: weights, temperature, threshold, by, how, top, map_labels, where, label_source, profile, of, exact;
                not with an image.

        Raises:
            UnknownNameError: If the server knows no such name.
            InputError: If the question or the image cannot be used there.
            LocatlasError: If the server cannot be reached, or not answer now.
        """
        asked = {"protein": protein, "id": id, "level": level, "k": k, "exclude": exclude, "encoder": encoder}
        if image is None:
            return self._table("classify", {**asked, **further})
        answer = self._upload(image, channels, pixel_size_um, at, asked, further, "classification")
        return classified_from(answer["classification"])

    def proteins(self, **asked: Any) -> pa.Table:
        """As `Atlas.proteins`, without mean average precision."""
        return self._table("resemblance", asked)

    def sweep(self, *, ks: Sequence[int] | None = None, **asked: Any) -> dict[str, Any]:
        """The JSON document of `Atlas.sweep`."""
        return self._json("sweep", {"ks": None if ks is None else ",".join(map(str, ks)), **asked})

    def embeddings(
        self, *, level: Level | None = None, encoder: str | None = None
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Ids, ascending, and their vectors (n, d) float32, not normalised."""
        table = self._table("embeddings", {"level": level, "encoder": encoder})
        vectors = table["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        return table["id"].to_pylist(), flat.reshape(len(table), vectors.type.list_size).astype(np.float32, copy=False)

    def points(self, level: Level, *, encoder: str | None = None, method: str | None = None) -> pa.Table:
        """A stored 2-D map: id, x, y, protein, dataset, localization, n_localizations, placed."""
        return self._table("points", {"level": level, "encoder": encoder, "method": method})

    def protein(self, name: str) -> dict[str, Any]:
        """One protein with its first 5,000 images, as /api/v1/proteins/NAME says it."""
        return self._json(f"proteins/{quote(name, safe='')}", {"limit": 5000})

    def thumbnail(self, image_id: str, **look: Any) -> bytes:
        """A picture of an image, WebP; `channels`, `low`, `high`, `size` as /thumb takes them."""
        return self._get(f"/thumb/{quote(image_id, safe='/')}", look, "image/webp")

    def _json(self, route: str, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._get(f"/api/v1/{route}", asked or {}, "application/json"))
        return found

    def _table(self, route: str, asked: Mapping[str, Any]) -> pa.Table:
        return pa.ipc.open_stream(self._get(f"/api/v1/{route}", asked, ARROW)).read_all()

    def _get(self, path: str, asked: Mapping[str, Any], accept: str) -> bytes:
        given = [(name, _text(one)) for name, value in asked.items() for one in _many(value)]
        return self._ask("GET", f"{path}?{urlencode(given)}" if given else path, accept)

    def _upload(
        self,
        image: str | Path | Sequence[str | Path],
        channels: Sequence[str],
        pixel_size_um: float | None,
        at: tuple[float, float] | None,
        asked: Mapping[str, Any],
        further: Mapping[str, Any],
        answer: Literal["neighbors", "classification"],
    ) -> dict[str, Any]:
        if asked["protein"] is not None or asked["id"] is not None:
            message = "one query needed: a protein, an id or an image"
            raise InputError(message)
        if further:
            message = f"{', '.join(sorted(further))}: not with an image that is uploaded"
            raise InputError(message)
        fields = {name: value for name, value in asked.items() if name not in ("protein", "id") and value is not None}
        fields |= {"channels": ",".join(channels), "answer": answer}
        fields |= {} if pixel_size_um is None else {"pixel_size_um": repr(float(pixel_size_um))}
        fields |= {} if at is None else {"at": f"{at[0]!r},{at[1]!r}"}
        paths = [Path(image)] if isinstance(image, str | Path) else [Path(one) for one in image]
        boundary = secrets.token_hex(16)
        body = multipart_form(boundary, fields, paths)
        kind = f"multipart/form-data; boundary={boundary}"
        found: dict[str, Any] = json.loads(self._ask("POST", "/api/v1/query", "application/json", body, kind))
        return found

    def _ask(self, method: str, path: str, accept: str, body: bytes | None = None, kind: str = "") -> bytes:
        headers = {"Accept": accept}
        headers |= {"Content-Type": kind} if kind else {}
        headers |= {"Authorization": f"Bearer {self._token}"} if self._token is not None else {}
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=ssl.create_default_context())
            if self._secure
            else http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        )
        try:
            # a server may turn an upload down before it has read all of it, and says why
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read(MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            message = f"{self.address}: cannot be asked ({error or type(error).__name__})"
            raise LocatlasError(message) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise _failure(self.address, answer.status, data)
        return data


class _UnknownThereError(UnknownNameError):
    """A name that nothing carries on the server, in the server's words."""

    def __init__(self, message: str) -> None:
        self.kind, self.name, self.known = "name", "", []
        LocatlasError.__init__(self, message)


def _failure(address: str, status: int, data: bytes) -> LocatlasError:
    """What the server said, as the error that `Atlas` would have raised."""
    try:
        reason = str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        reason = f"answered with status {status}; is it a `locatlas serve`?"
    if status == 404:
        return _UnknownThereError(f"{address}: {reason}")
    kind = InputError if status in (400, 413, 422) else LocatlasError
    return kind(f"{address}: {reason}")


def _many(value: Any) -> list[Any]:
    """The values of a parameter: none of None, several of a list, filters of a mapping."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [f"{name}={one}" for name, one in value.items()]
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Download weights by name: whole or not at all, and checked. Uses the network and writes files."""

import hashlib
import http.client
import os
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from locatlas.errors import WeightsError
from locatlas.models.spec import EncoderSpec

__all__ = ["download", "url_of"]

_CHUNK = 1 << 20
_LINKED_DIGEST = "X-Linked-ETag"
"""Hugging Face answers with the sha256 of a large file here, before it redirects to where the bytes are."""


def url_of(spec: EncoderSpec) -> str | None:
    """Where a spec's weights can be downloaded; None where its source is no address.

    `timm:<name>` is timm's repository of that name on Hugging Face, or on the mirror in $HF_ENDPOINT.
    """
    if spec.source.startswith("timm:"):
        host = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
        return f"{host}/timm/{spec.source.removeprefix('timm:')}/resolve/main/model.safetensors"
    return spec.source if spec.source.startswith(("https://", "http://")) else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, remember the digest that was promised on the way, never leave https for http."""

    def __init__(self) -> None:
        self.promised: str | None = None

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """As the base class; the digest of the first answer is kept."""
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            message = f"{req.full_url} redirects to the unprotected {newurl}"
            raise WeightsError(message)
        self.promised = self.promised or headers.get(_LINKED_DIGEST)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, *, sha256: str | None = None, timeout_s: float = 30) -> None:
    """Fetch a file to `target`; it appears there complete and checked, or not at all.

    The number of bytes must be that announced, and the digest that given; where none is given, the one that the server
    announces (Hugging Face does). A file without any digest is taken over https only.

    Args:
        url: https, or http where `sha256` is given.
        target: Written by renaming a finished temporary file beside it; its folder is made.
        sha256: Expected digest, 64 hex digits; None where unknown.
        timeout_s: Longest silence of the server in seconds.

    Raises:
        WeightsError: If the machine is offline ($LOCATLAS_OFFLINE counts as such), the server does not give the file,
            or what arrives is not what was announced.
    """
    if os.environ.get("LOCATLAS_OFFLINE", "0") not in ("", "0"):
        message = "LOCATLAS_OFFLINE is set"
        raise WeightsError(message)
    if urlsplit(url).scheme != "https" and not (urlsplit(url).scheme == "http" and sha256):
        message = f"{url} is not https and there is no digest to check it by"
        raise WeightsError(message)
    target.parent.mkdir(parents=True, exist_ok=True)
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    request = urllib.request.Request(url, headers={"User-Agent": "locatlas"})  # noqa: S310  scheme checked above
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, opener.open(request, timeout=timeout_s) as answer:
            digest, size = hashlib.sha256(), 0
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            announced = answer.headers.get("Content-Length")
            promised = redirects.promised or answer.headers.get(_LINKED_DIGEST)
        if announced is not None and int(announced) != size:
            message = f"{url}: {size} bytes arrived of {announced}"
            raise WeightsError(message)
        expected = sha256 or _as_sha256(promised)
        if expected is not None and digest.hexdigest() != expected:
            message = f"{url}: sha256 is {digest.hexdigest()}, expected {expected}"
            raise WeightsError(message)
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{url}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _as_sha256(etag: str | None) -> str | None:
    """The digest in an entity tag, if it has the form of one; small files carry git's shorter hash."""
    value = (etag or "").strip('"').lower()
    return value if len(value) == 64 and set(value) <= set("0123456789abcdef") else None

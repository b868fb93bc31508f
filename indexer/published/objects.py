"""A folder of an object store (S3, Google, Azure) with the few operations that are needed. Reaches the network.

Credentials, region and endpoint come from the environment, as for other clients: `AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, ...
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from locatlas.errors import AtlasLockedError, InputError, LocatlasError

__all__ = ["Listed", "Objects", "OvertakenError", "Seen", "Tag", "uri_of"]

_URI = re.compile(r"(s3|gs|az):/{1,2}(?=[^/])")

RETRIES = 5

PATIENCE = timedelta(seconds=60)
"""How long a request is tried again."""


def uri_of(path: str | Path) -> str | None:
    """The address in an object store that a path means; None for a path.

    >>> uri_of(Path("s3://atlases/hpa")), uri_of("atlas")
    ('s3://atlases/hpa', None)
    """
    text = str(path)
    found = _URI.match(text)
    return None if found is None else f"{found[1]}://{text[found.end() :].rstrip('/')}"


Tag = dict[str, str | None]
"""What tells one version of an object from the next, as the store gave it (`e_tag`, `version`)."""


class OvertakenError(AtlasLockedError):
    """An object is not any more as it was seen: somebody else wrote it."""


class Seen(NamedTuple):
    """An object as it was read.

    Attributes:
        data: Its bytes.
        tag: Of this version of it.
        at: When it was put, by the store's clock.
    """

    data: bytes
    tag: Tag
    at: datetime


class Listed(NamedTuple):
    """An object as a list has it.

    Attributes:
        size: Bytes.
        at: When it was put, by the store's clock.
    """

    size: int
    at: datetime


class Objects:
    """Objects below an address.

    Attributes:
        uri: The address.
    """

    def __init__(self, uri: str, store: Any) -> None:
        self.uri = uri
        self._store = store

    @classmethod
    def at(cls, uri: str) -> Self:
        """Those below an address; nothing is asked yet.

        Raises:
            InputError: If the package is not installed, or the address is none.
        """
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            message = f"{uri}: object stores need obstore: pip install 'locatlas[s3]'"
            raise InputError(message) from error
        try:
            store = from_url(
                uri,
                # an endpoint of one's own (AWS_ENDPOINT_URL) may be one without TLS
                client_options={"allow_http": True},
                retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
            )
        except (BaseError, ValueError) as error:
            message = f"{uri}: {_first(error)}"
            raise InputError(message) from error
        return cls(uri, store)

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (FileNotFoundError, LocatlasError):
            raise
        except (BaseError, OSError) as error:
            known = _known(str(error))
            message = f"{self.uri}/{name}: {_first(error)}" if known is None else f"{self.uri}: {known}"
            raise InputError(message) from error

    def read(self, name: str) -> Seen | None:
        """An object; None where there is none."""
        try:
            with self._asking(name):
                found = self._store.get(name)
                meta = found.meta
                return Seen(bytes(found.bytes()), _tag(meta), meta["last_modified"])
        except FileNotFoundError:
            return None

    def put_at(self, name: str) -> datetime:
        """When an object was put, by the store's clock.

        Raises:
            FileNotFoundError: If there is none.
        """
        with self._asking(name):
            put_at: datetime = self._store.head(name)["last_modified"]
            return put_at

    def blocks(self, name: str) -> Iterator[bytes]:
        """An object in pieces.

        Raises:
            FileNotFoundError: If there is none.
        """
        with self._asking(name):
            for block in self._store.get(name).stream():
                yield bytes(block)

    def listed(self, below: str) -> dict[str, Listed]:
        """Every object below a folder."""
        with self._asking(below):
            pages = self._store.list(below)
            return {one["path"]: Listed(int(one["size"]), one["last_modified"]) for page in pages for one in page}

    def remove(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        with suppress(FileNotFoundError), self._asking(names[0] if names else ""):
            if names:
                self._store.delete(list(names))

    def write(self, name: str, source: IO[bytes] | bytes) -> None:
        """Put an object, whose name tells its bytes."""
        try:
            with self._asking(name):
                self._store.put(name, source)
        except FileNotFoundError as error:
            message = f"{self.uri}: no such bucket"
            raise InputError(message) from error

    def replace(self, name: str, data: bytes, *, tag: Tag | None) -> Tag:
        """Put an object if it is still as it was seen: of two who write, one fails.

        A store must honor `If-None-Match: *` and `If-Match`, as S3 does (`lease.require_conditions` finds out).

        Args:
            name: Of the object.
            data: Its bytes, which nobody else would put.
            tag: Of the version that was seen; None where there was none.

        Returns:
            The tag of what was put.

        Raises:
            OvertakenError: If somebody else wrote meanwhile.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._asking(name):
                try:
                    mode = "create" if tag is None else tag
                    return _tag(self._store.put(name, data, mode=mode, use_multipart=False))
                except (AlreadyExistsError, PreconditionError) as error:
                    # a request is sent again when its answer was lost, and then meets what it has put itself
                    there = self.read(name)
                    if there is not None and there.data == data:
                        return there.tag
                    message = f"{self.uri}: somebody else wrote {name} meanwhile"
                    raise OvertakenError(message) from error
        except FileNotFoundError as error:
            message = f"{self.uri}: no such bucket"
            raise InputError(message) from error


def _tag(said: Any) -> Tag:
    return {key: said[key] for key in ("e_tag", "version") if said.get(key) is not None}


def _known(said: str) -> str | None:
    """Words for what goes wrong at the first try: the client's own are those of its innermost request."""
    if "NoSuchBucket" in said:
        return "no such bucket"
    if "http://169.254.169.254/" in said:  # asked where nothing in the environment says who asks
        return "no credentials; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY needed (profiles are not read)"
    if "kind: Connect" in said and (address := re.search(r"https?://[^/\s]+", said)):
        return f"nobody answers at {address[0]} (AWS_ENDPOINT_URL says where)"
    return None


def _first(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__

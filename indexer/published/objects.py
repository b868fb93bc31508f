"""A folder of an object store (S3, Google, Azure) with the few operations that are needed. Reaches the network.

Credentials, region and endpoint come from the environment, as for other clients: `AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, ...
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Self

from locatlas.errors import AtlasLockedError, InputError, LocatlasError

__all__ = ["Objects", "uri_of"]

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
            message = f"{self.uri}/{name}: {_first(error)}"
            if "NoSuchBucket" in str(error):
                message = f"{self.uri}: no such bucket"
            raise InputError(message) from error

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Bytes of an object and the tag of this version of it; None where there is none."""
        try:
            with self._asking(name):
                found = self._store.get(name)
                return bytes(found.bytes()), str(found.meta["e_tag"])
        except FileNotFoundError:
            return None

    def blocks(self, name: str) -> Iterator[bytes]:
        """An object in pieces.

        Raises:
            FileNotFoundError: If there is none.
        """
        with self._asking(name):
            for block in self._store.get(name).stream():
                yield bytes(block)

    def sizes(self, below: str) -> dict[str, int]:
        """Bytes of every object below a folder."""
        with self._asking(below):
            return {one["path"]: int(one["size"]) for page in self._store.list(below) for one in page}

    def write(self, name: str, source: IO[bytes]) -> None:
        """Put an object, whose name tells its bytes."""
        try:
            with self._asking(name):
                self._store.put(name, source)
        except FileNotFoundError as error:
            message = f"{self.uri}: no such bucket"
            raise InputError(message) from error

    def replace(self, name: str, data: bytes, *, tag: str | None) -> None:
        """Put an object if it is still as it was seen: of two who write, one fails.

        A store must honour `If-None-Match: *` and `If-Match`, as S3 does.

        Args:
            name: Of the object.
            data: Its bytes.
            tag: Of the version that was seen; None where there was none.

        Raises:
            AtlasLockedError: If somebody else wrote meanwhile.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._asking(name):
                try:
                    self._store.put(name, data, mode="create" if tag is None else {"e_tag": tag}, use_multipart=False)
                except (AlreadyExistsError, PreconditionError) as error:
                    message = f"{self.uri}: somebody else published there meanwhile; look, and publish again"
                    raise AtlasLockedError(message) from error
        except FileNotFoundError as error:
            message = f"{self.uri}: no such bucket"
            raise InputError(message) from error


def _first(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__

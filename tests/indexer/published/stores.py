"""What tests of atlases in an object store share: what lies there, other machines, and machines that die."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from locatlas.indexer.published import held
from locatlas.indexer.published.objects import Objects

BUCKET = "atlases"


def served(host: str, port: int) -> Any:
    """A client of a server."""
    import boto3

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    return boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)


def keys(client: Any, uri: str) -> dict[str, str]:
    """Tag of every object below an address, by its name."""
    prefix = uri.removeprefix(f"s3://{BUCKET}/") + "/"
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {one["Key"].removeprefix(prefix): one["ETag"] for one in found}


def held_by(client: Any, uri: str) -> dict[str, bytes]:
    """All objects below an address."""
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    return {name: client.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read() for name in keys(client, uri)}


def put_back(client: Any, uri: str, held: dict[str, bytes]) -> None:
    """Let these objects be all that there are below an address."""
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    for name in keys(client, uri).keys() - held.keys():
        removed(client, uri, name)
    for name, data in held.items():
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=data)


def changed(client: Any, uri: str, name: str, *, at: int = -1) -> None:
    """Flip a bit of an object."""
    key = f"{uri.removeprefix(f's3://{BUCKET}/')}/{name}"
    data = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    data[at] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(data))


def removed(client: Any, uri: str, name: str) -> None:
    """Delete an object."""
    client.delete_object(Bucket=BUCKET, Key=f"{uri.removeprefix(f's3://{BUCKET}/')}/{name}")


@contextmanager
def machine(home: Path) -> Iterator[None]:
    """Another machine, with a home of its own, for the length of a block; it knows nothing of what goes on here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCATLAS_HOME", str(home))
        patch.setattr(held, "_HELD", {})
        yield


class Killed(BaseException):
    """The process is dead."""


class Death:
    """Kills before or after the n-th request that changes something, and lets none through from then on.

    Attributes:
        requests: How many there were.
        is_dead: Whether it has happened.
    """

    def __init__(self, n: int | None = None, *, after: bool = False) -> None:
        self.n, self.after = n, after
        self.requests, self.is_dead = 0, False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Watch the requests for the length of a block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write", "replace", "remove"):
                patch.setattr(Objects, name, self._watched(getattr(Objects, name)))
            yield

    def _watched(self, real: Any) -> Any:
        def request(*args: Any, **kwargs: Any) -> Any:
            if self.is_dead:
                raise Killed
            self.requests += 1
            self.is_dead = self.requests == self.n
            if self.is_dead and not self.after:
                raise Killed
            result = real(*args, **kwargs)
            if self.is_dead:
                raise Killed
            return result

        return request

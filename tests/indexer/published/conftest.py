"""A real S3 server on this machine (moto), and an address of its own for each test."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.indexer.published.stores import BUCKET, served


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """A client of an S3 server."""
    pytest.importorskip("obstore", reason="obstore is not installed (pip install 'locatlas[s3]')")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    client = served(*running.get_host_and_port())
    client.create_bucket(Bucket=BUCKET)
    yield client
    running.stop()


@pytest.fixture
def client(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.meta.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return server


@pytest.fixture
def uri(client: Any, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of its own for each test."""
    return f"s3://{BUCKET}/{request.node.name[:40]}-{tmp_path.name}"

"""Servers on this machine, and a session that does not wait."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fetching.http import Session
from fetching.pace import Pace

sys.path.insert(0, str(Path(__file__).parent))
from flaky_server import FlakyServer


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    flaky = FlakyServer()
    thread = threading.Thread(target=flaky.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield flaky
    flaky.released.set()
    flaky.shutdown()
    flaky.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are on this machine, whatever the environment says of the network."""
    monkeypatch.delenv("LOCATLAS_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def make_session(slept: list[float]) -> Callable[..., Session]:
    """Sessions whose waits are noted and not made."""

    def make(**options: object) -> Session:
        return Session(Pace(1e6, sleep=slept.append), **{"timeout_s": 5, **options})

    return make


@pytest.fixture
def session(make_session: Callable[..., Session]) -> Session:
    return make_session()


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[str, object]]:
    """A real S3 server (moto) and a client of it."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x"
    )
    yield url, client
    running.stop()

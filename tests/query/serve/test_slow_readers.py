"""Readers who take an answer in slowly, or not at all."""

import asyncio
import socket
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.responses import JSONResponse

from locatlas.query.serve.arrow import TableResponse
from locatlas.query.serve.limits import Budget, BusyError
from tests.query.serve.patient import patient_server

TABLE = pa.table({"x": np.arange(4_000_000, dtype=np.int64)})  # 32 MB: more than the buffers of two sockets hold
BUDGET = Budget(TABLE.nbytes + 1000)


async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    try:
        await TableResponse(TABLE, BUDGET)(scope, receive, send)
    except BusyError:
        await JSONResponse({"error": "busy"}, 503)(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that gives a reader half a second for 64 KiB."""
    with patient_server(app, SEND_S=0.5) as bound:
        yield bound


def asking(port: int) -> socket.socket:
    asked = socket.socket()
    asked.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    asked.settimeout(20)
    asked.connect(("127.0.0.1", port))
    asked.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return asked


def rest_of(asked: socket.socket, *, pause_s: float = 0.0) -> bytes:
    """What comes until the other side ends, or breaks off."""
    parts = []
    try:
        while part := asked.recv(1 << 18):
            parts.append(part)
            time.sleep(pause_s)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_who_reads_gets_all_and_who_does_not_is_given_up_and_frees_the_place(port: int) -> None:
    with asking(port) as idle:
        assert idle.recv(12) == b"HTTP/1.1 200"
        # its table is all that may be held
        with asking(port) as second:
            assert rest_of(second).startswith(b"HTTP/1.1 503")
        deadline = time.monotonic() + 10
        while True:
            with asking(port) as third:
                got = rest_of(third)
            if got.startswith(b"HTTP/1.1 200") or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        head, _, body = got.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert pa.ipc.open_stream(body).read_all().equals(TABLE)
        assert len(rest_of(idle)) < TABLE.nbytes


def test_who_reads_slowly_but_steadily_is_waited_for(port: int) -> None:
    with asking(port) as slow:
        got = rest_of(slow, pause_s=0.001)
    assert pa.ipc.open_stream(got.partition(b"\r\n\r\n")[2]).read_all().equals(TABLE)


def test_one_table_may_be_larger_than_all_may_be_together() -> None:
    budget = Budget(10)
    with budget.take(1000), pytest.raises(BusyError), budget.take(1):
        pass
    with budget.take(6), budget.take(4), pytest.raises(BusyError), budget.take(1):
        pass
    with budget.take(1000):
        pass


def test_what_fails_to_be_sent_is_given_back() -> None:
    budget = Budget(10)

    async def send(message) -> None:  # type: ignore[no-untyped-def]
        raise ConnectionResetError

    async def receive():  # type: ignore[no-untyped-def]
        return {"type": "http.disconnect"}

    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            asyncio.run(TableResponse(TABLE, budget)({"type": "http"}, receive, send))

"""Connections on which no whole request comes."""

import socket
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")
from tests.query.serve.patient import patient_server

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that waits 0.3 s for a head."""
    with patient_server(app, HEAD_S=0.3) as bound:
        yield bound


@pytest.mark.parametrize(
    "sent", [[], [b"GET"], [HEAD], [HEAD, *[b"X: y\r\n"] * 40]], ids=("none", "word", "head", "drip")
)
def test_half_a_head_is_given_up(port: int, sent: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as half:
        began = time.monotonic()
        try:
            for part in sent:
                half.sendall(part)
                time.sleep(0.05)
            assert half.recv(100) == b""
        except ConnectionError:  # closed while more was sent
            pass
        assert 0.2 < time.monotonic() - began < 2


def test_whole_heads_are_answered_and_bodies_and_next_requests_may_take_their_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as asked:
        for _ in range(2):
            asked.sendall(HEAD + b"Content-Length: 2\r\n\r\n1")
            time.sleep(0.5)
            asked.sendall(b"2")
            assert asked.recv(1000).startswith(b"HTTP/1.1 204")
            time.sleep(0.5)
        # the second half of a head that comes in time
        asked.sendall(HEAD)
        time.sleep(0.1)
        asked.sendall(b"\r\n")
        assert asked.recv(1000).startswith(b"HTTP/1.1 204")
        # and another one after it that does not
        asked.sendall(HEAD)
        assert asked.recv(1000) == b""

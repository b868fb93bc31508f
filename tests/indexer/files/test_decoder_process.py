"""What passes between this process and one that decodes: long requests, answers that are none, pipes as they are."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files import decoder_process as module
from locatlas.indexer.files import decoding
from locatlas.indexer.files.decoders import Decoders
from locatlas.interrupts import StopRequested
from tests.indexer.files.test_decoders import Dying, dying, write
from tests.indexer.made import pixels

__all__ = ["dying"]


DEAF = "import os, struct, time\nos.write(1, struct.pack('<Q', 2) + b'{}'); time.sleep(600)"


LONG = {"what": "image", "sources": ["x" * 2_000_000]}
"""A request that no pipe holds."""


def test_a_decoder_that_was_stopped_before_it_reads_a_long_request_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", "decoder_seconds=1")
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    found = Decoders((sys.executable, "-c", DEAF))
    with _ends_within(20), pytest.raises(ImageRejectedError, match=r"f\.tif: no answer within 1 s"):
        found.ask(LONG, named="f.tif")
    assert found._idle == []


def test_a_stop_is_taken_while_a_long_request_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_POLL_S", 0.01)
    found = Decoders((sys.executable, "-c", DEAF))
    found._give_back(found._take(anew=True))  # started before the stop
    monkeypatch.setattr("locatlas.interrupts._asked", [signal.SIGINT])
    with _ends_within(20), pytest.raises(StopRequested):
        found.ask(LONG, named="f.tif")


def test_a_long_request_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCATLAS_LIMITS", raising=False)
    counting = (
        "import os, struct, sys\n"
        "def say(body): sys.stdout.buffer.write(struct.pack('<Q', len(body)) + body); sys.stdout.buffer.flush()\n"
        "say(b'{}'); n, = struct.unpack('<Q', sys.stdin.buffer.read(8)); body = sys.stdin.buffer.read(n)\n"
        "say(b'{\"got\": %d, \"end\": %d}' % (len(body), body.endswith(b'}')))\n"
    )
    found = Decoders((sys.executable, "-c", counting))
    sent = json.dumps({**LONG, "named": "f.tif", "limits": ""})
    assert found.ask(LONG, named="f.tif")[0] == {"got": len(sent), "end": 1}
    found.close()


@contextmanager
def _ends_within(seconds: int) -> Iterator[None]:
    """Fail, rather than hang, where a call is blocked within the system."""

    def fail(*_: object) -> None:
        raise AssertionError(seconds)

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif("sys.platform != 'linux'", reason="only there pipes are made larger")
def test_a_decoder_works_with_a_pipe_as_it_is_where_the_user_has_no_larger_ones_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dying: Dying
) -> None:
    refused: list[int] = []

    def refuse(_: int, command: int, *__: int) -> int:
        refused.append(command)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.fcntl, "fcntl", refuse)
    dying()
    np.testing.assert_array_equal(decoding.read_image(write(tmp_path, "good"))[0].pixels, pixels(1))
    assert refused == [module._F_SETPIPE_SZ]


ANSWERING = (
    "import os, struct, sys\n"
    "def say(body): os.write(1, struct.pack('<Q', len(body)) + body)\n"
    "say(b'{}'); os.read(0, 65536); say(bytes.fromhex(sys.argv[1])); os.read(0, 1)"
)


def answering(body: bytes) -> Decoders:
    """Decoders that a file took over: whatever is asked, this is answered."""
    return Decoders((sys.executable, "-c", ANSWERING, body.hex()))


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"5",
        b'{"shape": [NaN], "dtype": "<u2"}',
        b'{"shape": [1], "dtype": "zzz"}',
        b'{"shape": [1], "dtype": "<u3"}',
        b'{"shape": [1]}',
        b'{"shape": [4611686018427387904, 0], "dtype": "<u2", "digest": ""}',
        b'{"shape": [' + b"1," * 99 + b'1], "dtype": "<u2"}',
        b"[" * 20_000,
        b"{}",
        b'{"shape": [0], "dtype": "<u2", "digest": ""}',
    ],
    ids=range(11),
)
def test_an_answer_that_is_none_rejects_its_image(body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = answering(body)
    monkeypatch.setattr(decoding, "decoders", lambda: found)
    record = write(tmp_path, "bad")
    with pytest.raises(ImageRejectedError, match=r"bad\.tif: the decoder gave an answer that is none$"):
        decoding.read_image(record)
    found.close()


def test_a_reason_from_a_decoder_stands_on_one_line_without_control_characters(tmp_path: Path) -> None:
    found = answering(json.dumps({"rejected": "a\nb\x1b[31m" + "c" * 500}).encode())
    with pytest.raises(ImageRejectedError) as caught:
        found.ask({"what": "image"}, named="f.tif")
    assert str(caught.value) == "a\\nb\\x1b[31m" + "c" * 500
    found.close()

"""`locatlas serve` as a process: it answers, tells its address, and ends within seconds of a signal."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import locatlas
from locatlas.cli.documents import DOCUMENTS
from locatlas.query.remote import RemoteAtlas
from tests.cli.asking import run
from tests.query.made_atlas import make_atlas

pytest.importorskip("fastapi", reason="extra serve is not installed")

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(atlas: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and the first line that it printed."""
    command = [sys.executable, "-m", "locatlas", "serve", "--atlas", str(atlas), "--port", "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1])
        yield process, line
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_a_served_atlas_answers_as_a_folder_does_and_ends_with_sigterm(tmp_path: Path) -> None:
    atlas = make_atlas(tmp_path / "atlas")
    with serving(atlas) as (process, line):
        where, address = line.strip().split(": ", 1)
        assert where == str(atlas)
        assert address.startswith("http://127.0.0.1:")
        there, here = locatlas.open(address.rstrip("/")), locatlas.open(atlas)
        assert isinstance(there, RemoteAtlas)
        for asked in ({"protein": "P1", "k": 5}, {"id": "d/10/0", "level": "cell"}):
            assert there.neighbors(**asked).equals(here.neighbors(**asked), check_metadata=True)
            assert there.classify(**asked).equals(here.classify(**asked), check_metadata=True)
        # a connection that is kept open does not hold it up
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        idle = http.client.HTTPConnection(host, int(port))
        idle.request("GET", "/api/v1/suggest")
        assert idle.getresponse().read() == b"[]"
        half = socket.create_connection((host, int(port)))
        half.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: loc")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
        assert process.stderr is not None
        assert process.stderr.read() == "locatlas: stopped by SIGTERM\n"
        idle.close()
        half.close()


@pytest.mark.slow
def test_with_a_token_and_json_it_ends_with_ctrl_c_while_it_works(tmp_path: Path) -> None:
    atlas = make_atlas(tmp_path / "atlas")
    with serving(atlas, "--token", "auto", "--json") as (process, line):
        assert process.stdout is not None
        document = line
        while document.count("{") != document.count("}"):
            document += process.stdout.readline()
        said = json.loads(document)
        DOCUMENTS["serve"].model_validate(said)
        assert said["page"] == f"{said['address']}/?token={said['token']}"
        there = locatlas.open(said["address"], token=said["token"])
        assert there.levels() == ["fov", "cell"]
        with pytest.raises(locatlas.errors.LocatlasError, match="a token is needed"):
            locatlas.open(said["address"]).levels()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "192.0.2.1"], "cannot listen there"),
        (["--token", "short"], "at least 16"),
        (["--port", "70000"], "70000"),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, arguments: list[str], told: str) -> None:
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",))
    done = run("serve", "--atlas", atlas, *arguments)
    assert done.exit_code in (1, 2)
    assert told in f"{done.output}{done.exception}"


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("serve", "--atlas", make_atlas(tmp_path / "atlas", levels=("fov",)))
    assert "uvicorn is missing; install the extra: pip install 'locatlas[serve]'" in str(done.exception)


def test_no_atlas_is_told(tmp_path: Path) -> None:
    done = run("serve", "--atlas", tmp_path / "none")
    assert "not an atlas" in str(done.exception)


def test_work_in_a_thread_does_not_hold_the_end_up(tmp_path: Path) -> None:
    # a process whose lane is busy for ten minutes; the signal must end it all the same
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",))
    program = f"""
import sys, threading
from locatlas.query.serve import routes_names
routes_names._status = lambda context: threading.Event().wait(600)
from locatlas.cli import main
main(["serve", "--atlas", {str(atlas)!r}, "--port", "0"])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip().rpartition(": ")[2].rstrip("/")
        host, port = address.removeprefix("http://").split(":")
        asked = http.client.HTTPConnection(host, int(port))
        asked.request("GET", "/api/v1/status")
        # the next answer tells that the first question is at work
        other = http.client.HTTPConnection(host, int(port))
        other.request("GET", "/api/v1/suggest")
        assert other.getresponse().status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
        asked.close()
        other.close()
    finally:
        process.kill()
        out, _ = process.communicate()
    assert out == ""

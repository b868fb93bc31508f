import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fetching.errors import FetchError
from fetching.plan import Plan, Remote, in_words
from fetching.receipt import noted_sizes, write_receipt
from fetching.run import Outcome, fetch_all
from flaky_server import FlakyServer, Handler, serve, status, truncate

ROOT = Path(__file__).resolve().parents[3]


def body(number: int) -> bytes:
    return bytes([number]) * (1000 + number)


def plan_of(server: FlakyServer, n: int) -> Plan:
    for number in range(n):
        server.files[f"/{number}.tif"] = body(number)
    return Plan.of(
        Remote(f"{server.url}/{i}.tif", f"raw/{i}.tif", 1000 + i, f"md5:{hashlib.md5(body(i)).hexdigest()}")
        for i in range(n)
    )


def test_many_files_come_at_once_and_each_is_right(server, session, tmp_path: Path) -> None:
    plan = plan_of(server, 40)
    told: list[tuple[str, int, int]] = []
    outcome = fetch_all(plan, tmp_path, session, workers=8, progress=lambda *said: told.append(said))
    assert len(outcome.fetched) == 40
    assert all((tmp_path / f"raw/{i}.tif").read_bytes() == body(i) for i in range(40))
    assert told[-1][1:] == (plan.volume, plan.volume)
    server.asked.clear()
    again = fetch_all(plan, tmp_path, session)
    assert (len(again.fetched), len(again.were_here), server.asked) == (0, 40, [])


def test_one_that_fails_does_not_keep_the_others_from_coming(server, make_session, tmp_path: Path) -> None:
    plan = plan_of(server, 12)
    server.behaviours["/3.tif"] = [status(403)]
    server.behaviours["/7.tif"] = [status(500)] * 2
    outcome = fetch_all(plan, tmp_path, make_session(retries=1), workers=3)
    assert len(outcome.fetched) == 10
    assert sorted(file.path for file, _ in outcome.failed) == ["raw/3.tif", "raw/7.tif"]
    with pytest.raises(FetchError, match=r"^2 files could not be fetched, the first: .*goes on from here\)$"):
        outcome.raise_if_failed()


def test_a_server_that_is_down_is_not_asked_for_every_file(server, make_session, tmp_path: Path) -> None:
    plan = plan_of(server, 60)
    server.forever = True
    server.behaviours = {path: [status(503)] for path in server.files}
    outcome = fetch_all(plan, tmp_path, make_session(retries=0), workers=4)
    assert len(outcome.failed) < 12
    assert outcome.given_up == 60 - len(outcome.failed)
    with pytest.raises(FetchError, match=r"^60 files"):
        outcome.raise_if_failed()


def test_files_that_the_source_has_lost_do_not_keep_the_others_from_coming(server, session, tmp_path: Path) -> None:
    plan = plan_of(server, 20)
    for number in range(8):
        del server.files[f"/{number}.tif"]
    outcome = fetch_all(plan, tmp_path, session, workers=1)
    assert (len(outcome.fetched), len(outcome.failed), outcome.given_up) == (12, 8, 0)
    with pytest.raises(FetchError, match=r"^8 files could not be fetched, the first: .* 404"):
        outcome.raise_if_failed()


def test_what_may_be_missing_is_counted_and_is_no_failure(server, session, tmp_path: Path) -> None:
    missing = [Remote(f"{server.url}/none{i}", f"none{i}", optional=True) for i in range(8)]
    outcome = fetch_all(Plan.of([*missing, *plan_of(server, 2).files]), tmp_path, session)
    assert (len(outcome.missing), len(outcome.fetched), outcome.failed) == (8, 2, [])
    outcome.raise_if_failed()


def test_a_disk_without_room_is_told_before_anything_comes(server, session, tmp_path: Path) -> None:
    huge = Plan.of([Remote(f"{server.url}/a", "a", 10**18)])
    with pytest.raises(FetchError, match=r"are to come, .* are free"):
        fetch_all(huge, tmp_path / "not" / "yet", session)
    assert server.asked == []


def test_two_files_of_one_place_are_refused_and_one_named_twice_is_one() -> None:
    one = Remote("http://a/x", "a/X.tif")
    assert len(Plan.of([one, one]).files) == 1
    with pytest.raises(FetchError, match="would both become"):
        Plan.of([one, Remote("http://b/x", "a/x.tif")])


def test_a_volume_is_known_estimated_or_not_known() -> None:
    known, unknown = Remote("http://a/1", "1", 1_000_000), Remote("http://a/2", "2")
    assert Plan.of([known]).in_words() == "1 file, 1.0 MB"
    assert Plan.of([known, unknown], guessed_size=500_000).in_words() == "2 files, about 1.5 MB"
    assert Plan.of([known, unknown]).in_words() == "2 files, volume not known"
    assert in_words(999_999) == "1.0 MB"


def test_a_receipt_keeps_what_came_before_and_forgets_what_is_gone(server, session, tmp_path: Path) -> None:
    plan = plan_of(server, 3)
    write_receipt(tmp_path, fetch_all(Plan(plan.files[:2]), tmp_path, session), {"source": "a"})
    (tmp_path / "raw/0.tif").unlink()
    path = write_receipt(tmp_path, fetch_all(Plan(plan.files[2:]), tmp_path, session), {"source": "b"})
    noted = json.loads(path.read_text())
    assert noted["source"] == "b"
    assert sorted(noted["files"]) == ["raw/1.tif", "raw/2.tif"]
    assert all(one["proved"] for one in noted["files"].values())


class NeverSearched(list):
    """A list that takes too long to be looked through for every file."""

    def __contains__(self, _: object) -> bool:
        raise AssertionError


def test_a_receipt_of_many_files_looks_none_of_them_up_in_a_list(tmp_path: Path) -> None:
    files = [Remote(f"http://a/{i}", f"{i}.tif") for i in range(3)]
    for file in files:
        (tmp_path / file.path).write_bytes(b"x")
    for n_before in (0, 2):  # the second time all are known
        outcome = Outcome(fetched=NeverSearched(files[n_before:]), were_here=NeverSearched(files[:n_before]))
        path = write_receipt(tmp_path, outcome, {})
    assert len(json.loads(path.read_text())["files"]) == 3


COMMAND = """
import sys
sys.path.insert(0, "scripts")
import rich_click as click
from pathlib import Path
from fetching.command import carry_out, hold, main, session_of
from fetching.plan import Plan, Remote

@click.command()
@click.argument("url")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--retries", default=0)
def fetch(url, folder, retries):
    session = session_of(rate=1000, timeout=20, retries=retries)
    hold(folder)
    files = [Remote(f"{url}/{i}.tif", f"{i}.tif") for i in range(4)]
    carry_out(Plan.of(files), folder, session, workers=2, max_gb=1, about={})

main(fetch)
"""


def start(server: FlakyServer, folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"}
    environment.pop("LOCATLAS_OFFLINE", None)
    command = [sys.executable, "-c", COMMAND, server.url, str(folder), *options]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("signal_sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_is_stopped_or_killed_leaves_no_half_file_and_goes_on(
    server: FlakyServer, tmp_path: Path, signal_sent: signal.Signals, code: int
) -> None:
    bodies = {f"/{i}.tif": bytes([i]) * 300_000 for i in range(4)}
    server.files |= bodies

    def slowly(handler: Handler, whole: bytes) -> None:
        serve(handler, whole, send=100_000)
        handler.wfile.flush()
        for start_at in range(100_000, len(whole), 1000):
            if server.released.wait(0.01):
                return
            handler.wfile.write(whole[start_at : start_at + 1000])

    server.behaviours["/1.tif"] = [slowly]
    running = start(server, tmp_path)
    part = tmp_path / ".1.tif.part"
    while running.poll() is None and not (part.is_file() and part.stat().st_size > 100_000):
        time.sleep(0.01)
    running.send_signal(signal_sent)
    _, said = running.communicate(timeout=60)
    assert running.returncode == code, said
    assert "Traceback" not in said
    whole = {p.name for p in tmp_path.glob("*.tif")}
    assert "1.tif" not in whole
    assert all((tmp_path / name).read_bytes() == bodies[f"/{name}"] for name in whole)
    server.asked.clear()
    again = start(server, tmp_path)
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert all((tmp_path / name.strip("/")).read_bytes() == body for name, body in bodies.items())
    (begun,) = server.ranges("/1.tif")
    assert begun is not None
    assert not any(path.strip("/") in whole for _, path, _ in server.asked)


def test_a_run_that_is_stopped_waits_for_no_retry_and_notes_what_has_come(server: FlakyServer, tmp_path: Path) -> None:
    server.files |= {f"/{i}.tif": b"x" * 1000 for i in range(4)}
    server.forever = True
    patience = status(503, Retry_After="250")

    def after_the_first(handler: Handler, whole: bytes) -> None:
        while not (tmp_path / "0.tif").is_file():
            time.sleep(0.01)
        patience(handler, whole)

    server.behaviours = {"/1.tif": [after_the_first], "/2.tif": [patience], "/3.tif": [patience]}
    running = start(server, tmp_path, "--retries", "6")
    said = ""
    while "trying again" not in said:
        said = running.stderr.readline()
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=100)
    assert running.returncode == 130
    assert said.splitlines()[-1] == "stopped; the same command goes on from here"
    assert list(json.loads((tmp_path / "fetched.json").read_text())["files"]) == ["0.tif"]


def test_a_second_run_in_one_folder_is_refused_and_the_first_ends_whole(server: FlakyServer, tmp_path: Path) -> None:
    bodies = {f"/{i}.tif": bytes([65 + i]) * 300_000 for i in range(4)}
    server.files |= bodies
    begun = threading.Event()

    def held_up(handler: Handler, whole: bytes) -> None:
        serve(handler, whole, send=100_000)
        handler.wfile.flush()
        begun.set()
        server.released.wait(60)
        handler.wfile.write(whole[100_000:])

    server.behaviours["/1.tif"] = [held_up]
    first = start(server, tmp_path)
    assert begun.wait(60)
    second = start(server, tmp_path)
    _, said = second.communicate(timeout=60)
    server.released.set()
    assert second.returncode == 1
    assert said == f"Error: {tmp_path}: another run fetches into it; wait for it, or take another folder\n"
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert all((tmp_path / name.strip("/")).read_bytes() == body for name, body in bodies.items())
    assert len(server.ranges("/1.tif")) == 1


def test_a_file_of_unannounced_size_that_lost_its_end_is_fetched_again(server, session, tmp_path: Path) -> None:
    files = Plan.of(Remote(file.url, file.path) for file in plan_of(server, 3).files)
    write_receipt(tmp_path, fetch_all(files, tmp_path, session), {})
    (tmp_path / "raw/1.tif").write_bytes(body(1)[:-1])
    again = fetch_all(files, tmp_path, session, noted=noted_sizes(tmp_path))
    assert [file.path for file in again.fetched] == ["raw/1.tif"]
    assert (tmp_path / "raw/1.tif").read_bytes() == body(1)


def test_a_failure_is_one_line_and_exit_code_1(server: FlakyServer, tmp_path: Path) -> None:
    server.files |= {f"/{i}.tif": b"x" for i in range(3)}
    server.behaviours["/0.tif"] = [truncate(0)]
    failed = start(server, tmp_path)
    _, said = failed.communicate(timeout=60)
    assert failed.returncode == 1
    assert said.splitlines()[-1].startswith("Error: 2 files could not be fetched, the first: http://127.0.0.1")
    assert "Traceback" not in said

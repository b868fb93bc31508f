"""How much a server takes on, and for how long."""

import asyncio
import threading
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.testclient import TestClient

from locatlas.query.serve.app import create_app
from locatlas.query.serve.failures import BUSY, TOO_LONG
from locatlas.query.serve.limits import BusyError, Lane, ServeLimits, TooLongError


def test_what_is_too_much_is_refused_and_the_rest_is_done_in_turn() -> None:
    gate, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def work() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(10)
        with lock:
            running -= 1
        return "done"

    async def ask() -> list[object]:
        lane = Lane("t", jobs=2, waiting=3, seconds=10)
        tasks = [asyncio.create_task(lane.run(work)) for _ in range(5)]
        await asyncio.sleep(0)
        assert lane.taken == 5
        with pytest.raises(BusyError):
            await lane.run(work)
        while running < 2:  # threads take their time to start
            await asyncio.sleep(0.01)
        gate.set()
        found: list[object] = list(await asyncio.gather(*tasks))
        assert await lane.run(lambda: "again") == "again"
        lane.close()
        return found

    assert asyncio.run(ask()) == ["done"] * 5
    assert most == 2


def test_what_takes_too_long_is_given_up_and_keeps_its_place_until_it_ends() -> None:
    gate = threading.Event()

    async def ask() -> None:
        lane = Lane("t", jobs=1, waiting=0, seconds=0.05)
        with pytest.raises(TooLongError):
            await lane.run(lambda: gate.wait(10))
        with pytest.raises(BusyError):
            await lane.run(lambda: None)
        gate.set()
        while lane.taken:
            await asyncio.sleep(0.01)
        assert await lane.run(lambda: 7) == 7
        lane.close()

    asyncio.run(ask())


def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    def work() -> None:
        raise KeyError("x")

    async def ask() -> None:
        lane = Lane("t", jobs=1, waiting=0, seconds=10)
        for _ in range(3):
            with pytest.raises(KeyError, match="x"):
                await lane.run(work)
        lane.close()

    asyncio.run(ask())


def test_over_http_busy_and_too_long_are_503(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr("locatlas.query.serve.routes_names._status", lambda _: gate.wait(10))
    limits = ServeLimits(quick_jobs=1, quick_waiting=0, quick_seconds=0.05)
    with TestClient(create_app(made, limits=limits), base_url="http://localhost") as client:
        slow = client.get("/api/v1/status")
        assert (slow.status_code, slow.json()) == (503, {"error": TOO_LONG})
        busy = client.get("/api/v1/suggest", params={"q": "p"})
        assert (busy.status_code, busy.json()) == (503, {"error": BUSY})
        assert busy.headers["retry-after"] == "5"
        # what looks at all rows has places of its own
        assert client.get("/api/v1/resemblance").status_code == 200
        gate.set()


def test_answers_that_are_kept_do_not_grow_without_end(made: Path) -> None:
    desk = create_app(made, limits=ServeLimits(kept_bytes=100)).state.context.desk
    made_of: list[int] = []

    def ask(n: int) -> int:
        def make() -> int:
            made_of.append(n)
            return n

        found: int = desk.once(n, make, size=lambda _: 40)
        return found

    assert [ask(n) for n in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made_of == [1, 2, 3, 2]  # 2 was asked for longest ago when 3 came
    assert desk.once("large", lambda: "x", size=lambda _: 101) == "x"
    assert desk._size <= 100


def test_an_answer_of_another_version_takes_the_place_of_the_one_before(made: Path) -> None:
    desk = create_app(made).state.context.desk
    versions = iter([1, 2, 3])
    for n in range(3):
        version = next(versions)
        desk.store.stamp = lambda _=(), version=version: (("t", version),)
        assert desk.once("key", lambda n=n: n, size=lambda _: 10) == n
    assert (len(desk._kept), desk._size) == (1, 10)

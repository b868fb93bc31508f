"""Real processes, two of them for two devices, here torch's CPU twice: the atlas is that of one, whoever is killed.

Marked slow is what starts more of them than the first test does: each loads torch, for some seconds.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.cluster import drive as driving
from locatlas.indexer.cluster import processes
from locatlas.indexer.cluster.devices import DevicesEngine
from locatlas.indexer.cluster.parts import Part
from locatlas.indexer.cluster.processes import ProcessPool
from locatlas.indexer.embed import reembed
from locatlas.indexer.index import index
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.tables import Store
from locatlas.indexer.summary import IndexSummary
from locatlas.models.running import Running
from tests.indexer.made import contents, id_of, name_of, versions, write_collection

N_FIELDS = 24


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fields, one of which is none."""
    folder = write_collection(tmp_path_factory.mktemp("source"), range(N_FIELDS))
    (folder / name_of(7)).write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What one process makes of them, with as many threads as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    target = tmp_path_factory.mktemp("local") / "atlas"
    index(source, atlas=target, dataset="opencell")
    torch.set_num_threads(before)
    return Store.open(target)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "CHUNK_ROWS", 4)
    monkeypatch.setattr(driving, "COMMIT_ROWS", 8)


def indexed(
    source: Path, target: Path, *, at: dict[int, Callable[[DevicesEngine], None]] | None = None, **options: Any
) -> IndexSummary:
    """Index on two devices; something happens once so many images were answered."""
    events = dict(at or {})
    with DevicesEngine(["cpu", "cpu"], threads=1, **options) as engine:

        def progress(what: str, done: int, _total: int) -> None:
            for n in [n for n in events if what == "embedding" and done >= n]:
                events.pop(n)(engine)

        summary = index(source, atlas=target, dataset="opencell", engine=engine, progress=progress)
        numbers = list(engine.pool.processes) if engine.pool else []
    assert not events
    assert not any(is_alive(number) for number in numbers)
    return summary


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def ledger(store: Store) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    [row] = store.read("runs").to_pylist()
    return row["state"], row["ids_digest"], json.loads(row["counts"]), json.loads(row["versions"])


def test_the_atlas_is_that_of_one_process_and_a_second_run_does_nothing(
    source: Path, local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", lambda _: pytest.fail("embedded here"))
    used = set[int]()
    send = ProcessPool.send

    def once_all_are_ready(pool: ProcessPool, todo: deque[Part], data: Callable[[Part], bytes]) -> None:
        # else one that loads its encoder first may do it all
        if all(worker.is_ready for worker in pool._workers):
            send(pool, todo, data)
            used.update(worker.number for worker in pool._workers if worker.parts)

    with monkeypatch.context() as patch:
        patch.setattr(ProcessPool, "send", once_all_are_ready)
        summary = indexed(source, tmp_path / "atlas")
    store = Store.open(tmp_path / "atlas")
    assert contents(store) == contents(local)
    assert ledger(store) == ledger(local)  # the digest of the ids in their order among it
    assert ledger(store)[3]["device"] == "cpu"
    assert (summary.embedded, [r.source for r in summary.quarantined]) == (N_FIELDS - 1, [name_of(7)])
    assert len(used) == 2
    held = versions(store)
    assert indexed(source, tmp_path / "atlas").embedded == 0
    assert versions(store) == held


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_open_parts_and_is_told_in_one_line(
    source: Path, local: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(engine: DevicesEngine) -> None:
        assert engine.pool is not None
        busy = max(engine.pool._workers, key=lambda worker: len(worker.parts))
        assert busy.parts
        os.kill(busy.number, signal.SIGKILL)

    with caplog.at_level(logging.WARNING, "locatlas"):
        indexed(source, tmp_path / "atlas", at={4: kill})
    store = Store.open(tmp_path / "atlas")
    assert contents(store) == contents(local)
    state, digest, counts, _ = ledger(store)
    assert (state, digest) == ("done", ledger(local)[1])
    assert 1 <= counts["parts lost with their worker"] <= 2
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("the worker on cpu was lost (ended by SIGKILL); another one takes its place")
    assert "\n" not in said


@pytest.mark.slow
def test_what_is_stale_is_embedded_again_beside_others(source: Path, local: Store, tmp_path: Path) -> None:
    indexed(source, tmp_path / "atlas")
    store = Store.open(tmp_path / "atlas")
    table = next(name for name in store.tables() if name.startswith("emb_"))
    with store.folder.writer("test"):
        store.delete(table, [id_of(3), id_of(5), id_of(20)])
    with DevicesEngine(["cpu", "cpu"], threads=1) as engine:
        assert reembed(atlas=tmp_path / "atlas", engine=engine).embedded == 3
        with pytest.raises(InputError, match="for one machine"):
            reembed(atlas=tmp_path / "atlas", engine=engine, busy=0.5)
    assert contents(store) == contents(local)


@pytest.mark.slow
def test_a_device_that_cannot_be_used_is_told_and_nothing_is_left_behind(source: Path, tmp_path: Path) -> None:
    with (
        DevicesEngine(["cpu", "cuda:77"], threads=1) as engine,
        pytest.raises(InputError, match=r"cuda:77.*cannot be used here"),
    ):
        index(source, atlas=tmp_path / "atlas", dataset="opencell", engine=engine)
    assert Store.open(tmp_path / "atlas").count("fovs") == 0
    with pytest.raises(InputError, match="a name between the commas"):
        DevicesEngine(["cpu", ""])


def test_workers_that_cannot_start_are_told_with_their_last_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "COMMAND", "raise ValueError('no luck')")
    with (
        DevicesEngine(["cpu"], threads=1) as engine,
        pytest.raises(LocatlasError, match="the worker on cpu ended with exit status 1: ValueError: no luck"),
    ):
        index(source, atlas=tmp_path / "atlas", dataset="opencell", engine=engine)


@pytest.mark.slow
def test_a_fault_in_a_worker_is_raised_here_with_where_it_came_from(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = processes.COMMAND.replace(
        "serve(int",
        "from locatlas.indexer.cluster.worker import Worker; Worker.embed = lambda self, data: {}['gone']; serve(int",
    )
    monkeypatch.setattr(processes, "COMMAND", spoilt)
    with DevicesEngine(["cpu"], threads=1) as engine, pytest.raises(KeyError, match="gone") as raised:
        index(source, atlas=tmp_path / "atlas", dataset="opencell", engine=engine)
    assert "in a worker" in raised.value.__notes__[0]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_when_the_command_ends_so_do_its_workers(source: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, and a kill that leaves it no time."""
    target = tmp_path / "atlas"
    command = ["-m", "locatlas", "index", str(source), "--atlas", str(target), "--dataset", "opencell"]
    with subprocess.Popen(
        [sys.executable, *command, "--device", "cpu,cpu"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        children = _children_of(run.pid, 2)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in said
    until = time.monotonic() + 30
    while any(is_alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(is_alive(child) for child in children)


def _children_of(parent: int, count: int) -> list[int]:
    """Workers of a command, once it has so many."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                    command = (status.parent / "cmdline").read_bytes()
                    found += [int(status.parent.name)] if b"cluster.process" in command else []
            except OSError:
                continue
        if len(found) == count:
            return found
        time.sleep(0.05)
    pytest.fail("no workers")


@pytest.mark.slow
def test_the_ledger_says_where_images_were_prepared(source: Path, tmp_path: Path) -> None:
    indexed(source, tmp_path / "atlas", running=Running(prepare="device"))
    assert ledger(Store.open(tmp_path / "atlas"))[3]["device"] == "cpu, which prepares"


def test_devices_that_differ_are_all_told() -> None:
    run = Run.__new__(Run)
    run.runtime, run.ran_on = "torch 2", {"cuda:1, which prepares", "cpu"}
    assert run._run_by() == {"runtime": "torch 2", "device": "cpu; cuda:1, which prepares"}

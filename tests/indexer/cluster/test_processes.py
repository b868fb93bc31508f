"""Real processes that are killed, with an encoder that costs nothing: what is committed is what one process commits."""

import json
import logging
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from locatlas.errors import LocatlasError
from locatlas.indexer.cluster import drive as driving
from locatlas.indexer.cluster import processes
from locatlas.indexer.cluster.devices import DevicesEngine
from locatlas.indexer.cluster.drive import drive
from locatlas.indexer.cluster.parts import OPEN_PARTS, Part, given_out
from locatlas.indexer.cluster.processes import ProcessPool
from locatlas.indexer.cluster.worker import Sight, Worker
from locatlas.indexer.commits import Commits
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.pipeline import Pending, embed_pending
from locatlas.indexer.pixel_cache.run import pack
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.tables import Store
from locatlas.models.running import Running
from tests.forking import Forks
from tests.indexer.cluster.plain_process import NO_DECODING, POISON, started
from tests.indexer.made import PlainEncoder, contents, id_of, name_of, write_collection, write_field
from tests.indexer.store.test_encoders import spec
from tests.indexer.test_pipeline import FINGERPRINT, TABLE, pending

N = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for n in range(N):
        write_field(folder, n)
    return folder


def committed(folder: Path, target: Path, embed: Callable[[Commits, list[Pending]], None]) -> tuple[Store, Run]:
    store = Store.create(target)
    run = Run(store, "index", dataset="opencell")
    embed(Commits(store, "fov", FINGERPRINT, run, Quarantine(store)), [pending(folder, n) for n in range(N)])
    return store, run


@pytest.fixture
def forked(commands: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are forked from one that has all that they import; and parts are of three images."""
    monkeypatch.setattr(processes, "_started", partial(started, commands))
    monkeypatch.setattr(driving, "CHUNK_ROWS", 3)
    monkeypatch.setattr(driving, "COMMIT_ROWS", 6)


@pytest.fixture
def pool(forked: None) -> Iterator[ProcessPool]:
    """Two processes."""
    how = [Running(device="cpu"), Running(device="cpu")]
    made = ProcessPool(spec(), Sight((), ()), threads=1, readers=1, running=how)
    yield made
    made.close()


def test_a_process_that_is_killed_is_replaced_and_costs_its_open_parts(
    folder: Path, tmp_path: Path, pool: ProcessPool, caplog: pytest.LogCaptureFixture
) -> None:
    wanted, run = committed(
        folder, tmp_path / "one", lambda commits, work: embed_pending(commits, work, PlainEncoder(spec()))
    )
    first = set(pool.processes)
    killed: list[int] = []

    def kill(_: str, done: int, _total: int) -> None:
        busy = [worker.number for worker in pool._workers if worker.parts]
        if done >= 6 and busy and not killed:
            killed.append(busy[0])
            os.kill(busy[0], signal.SIGKILL)

    with caplog.at_level(logging.WARNING, "locatlas"):
        store, driven = committed(
            folder, tmp_path / "two", lambda commits, work: drive(pool, commits, work, progress=kill)
        )
    assert contents(store) == contents(wanted)
    assert driven._digest.hexdigest() == run._digest.hexdigest()  # in the same order
    assert 1 <= driven.counts["parts lost with their worker"] <= OPEN_PARTS
    [said] = [record.getMessage() for record in caplog.records]
    assert "the worker on cpu was lost (ended by SIGKILL); another one takes its place" in said
    assert len(set(pool.processes) - first) == 1
    assert not (Path("/proc") / str(killed[0])).exists()


def test_an_image_that_ends_its_processes_is_left_out_and_takes_no_other_with_it(
    folder: Path, tmp_path: Path, forked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POISON, id_of(9))
    how = [Running(device="cpu")] * 2
    poisoned = ProcessPool(spec(), Sight((), ()), threads=1, readers=1, running=how)
    try:
        store, _ = committed(folder, tmp_path / "atlas", lambda commits, work: drive(poisoned, commits, work))
    finally:
        poisoned.close()
    assert store.count(TABLE) == N - 1
    [row] = store.read("quarantine").to_pylist()
    assert row["source"] == name_of(9)
    assert "ended 2 processes" in row["reason"]
    assert "SIGKILL" in row["reason"]


def test_processes_that_only_die_end_the_run(
    folder: Path, tmp_path: Path, pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOST_IN_A_ROW", 2)
    while not pool.room:
        pool.outcomes(0.5)
    for number in pool.processes:
        os.kill(number, signal.SIGKILL)
    with pytest.raises(LocatlasError, match="2 were lost one after another without an answer"):
        committed(folder, tmp_path / "atlas", lambda commits, work: drive(pool, commits, work))


def test_threads_that_read_call_torch_with_one_thread_and_the_network_with_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("locatlas.models.encode.load_encoder", lambda spec, **_: PlainEncoder(spec))
    before = torch.get_num_threads()
    worker = Worker(spec(), Sight((), ()), threads=3, readers=2)
    try:
        worker.load()
        assert worker._reading is not None
        together = threading.Barrier(3)

        def threads(_: int) -> int:
            together.wait(timeout=60)  # each of the three threads is asked once
            return torch.get_num_threads()

        assert list(worker._reading.map(threads, range(3))) == [1, 1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
        if worker._reading is not None:
            worker._reading.shutdown()


def test_processes_take_decoded_images_of_the_atlas(
    tmp_path: Path, forked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    index(write_collection(tmp_path / "source"), atlas=tmp_path / "atlas", dataset="opencell")
    pack(atlas=tmp_path / "atlas")
    other = EncoderRequest(mapping="random", passes="joint", seed=3)
    plain = Path(shutil.copytree(tmp_path / "atlas", tmp_path / "plain"))
    embed(atlas=plain, request=other, levels=("fov",))
    monkeypatch.setenv(NO_DECODING, "1")
    with DevicesEngine(["cpu", "cpu"], threads=1) as engine:
        summary = embed(atlas=tmp_path / "atlas", request=other, levels=("fov",), engine=engine)
    assert (summary.embedded, summary.from_pack, summary.quarantined) == (6, 6, [])
    last = Store.open(tmp_path / "atlas").read("runs").sort_by("started_at").to_pylist()[-1]
    assert "start workers" in json.loads(last["timings_s"])
    assert contents(Store.open(tmp_path / "atlas")) == contents(Store.open(plain))


@given(
    st.lists(st.booleans(), max_size=12),
    st.lists(st.lists(st.booleans(), max_size=OPEN_PARTS), min_size=1, max_size=3),
)
@example([False, True, False], [[], []])  # the third one goes to the first worker, once the second has its own
def test_a_part_that_is_to_be_alone_is_given_to_a_worker_that_has_nothing(
    todo: list[bool], workers: list[list[bool]]
) -> None:
    parts = deque(Part(n, 0, 1, alone=alone) for n, alone in enumerate(todo))
    # what a worker can have got: one part alone, or some that are not
    held = [[Part(-1, 0, 1, alone=True)] if any(worker) else [Part(-1, 0, 1) for _ in worker] for worker in workers]
    given: list[int] = []
    for worker, part in given_out(parts, held, lambda one: one):
        worker.append(part)
        given.append(part.chunk)
    assert given == list(range(len(given)))  # in order, none twice
    assert len(given) + len(parts) == len(todo)
    for worker in held:
        assert len(worker) <= OPEN_PARTS
        assert len(worker) == 1 or not any(part.alone for part in worker)
    if parts:
        # nobody who could take the next one was passed over
        free = [worker for worker in held if not any(part.alone for part in worker) and len(worker) < OPEN_PARTS]
        assert not any(not worker or not parts[0].alone for worker in free)

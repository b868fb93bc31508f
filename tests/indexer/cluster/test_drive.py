"""Workers that answer in any order and die at any time, without Ray: what is committed is what one machine commits."""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.indexer.cluster import drive as driving
from locatlas.indexer.cluster.drive import drive
from locatlas.indexer.cluster.parts import Answer, Chunk, Died, Part, unpacked
from locatlas.indexer.cluster.worker import Sight, Worker
from locatlas.indexer.commits import Commits, Done
from locatlas.indexer.files.read_ahead import read_ahead
from locatlas.indexer.pipeline import Pending, embed_pending
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.tables import Store
from tests.indexer.made import PlainEncoder, contents, name_of, write_field
from tests.indexer.store.test_encoders import spec
from tests.indexer.test_pipeline import FINGERPRINT, TABLE, pending


class Shaky:
    """Two workers, each with two parts, that answer or die as dice say; some images always end them."""

    def __init__(self, answer: Callable[[bytes], Answer], *, seed: int, deaths: float, poison: set[str]) -> None:
        self._answer, self._dice, self._deaths, self._poison = answer, random.Random(seed), deaths, poison
        self._workers: list[list[tuple[Part, bytes]]] = [[], []]
        self.ended: Counter[str] = Counter()

    @property
    def room(self) -> int:
        return sum(2 - len(w) for w in self._workers if not any(part.alone for part, _ in w))

    def send(self, todo: deque[Part], data: Callable[[Part], bytes]) -> None:
        for worker in self._workers:
            while todo and len(worker) < 2 and not any(part.alone for part, _ in worker):
                if todo[0].alone and worker:
                    break
                part = todo.popleft()
                worker.append((part, data(part)))

    def outcomes(self, timeout_s: float) -> Iterator[tuple[Part, Answer | Died]]:
        worker = self._dice.choice([w for w in self._workers if w])
        assert len(worker) == 1 or not any(part.alone for part, _ in worker)
        part, data = self._dice.choice(worker)
        ids = {item.record.id for item in unpacked(data)}
        assert len(ids) == len(part)
        if ids & self._poison or self._dice.random() < self._deaths:
            blamed = bool(ids & self._poison)
            for one, _ in worker:
                yield one, Died("killed by SIGKILL", blamed=blamed)
            self.ended.update(ids & self._poison)
            worker.clear()
        else:
            worker.remove((part, data))
            yield part, self._answer(data)


@contextmanager
def local_worker() -> Iterator[Worker]:
    """A worker in this process."""
    with read_ahead("test") as pool:
        worker = Worker(spec(), Sight((), ()), 1)
        worker._encoder, worker._reading = PlainEncoder(spec()), pool
        yield worker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for n in range(23):
        write_field(folder, n)
    (folder / name_of(4)).write_bytes(b"no image")
    return folder


def committed(folder: Path, target: Path, embed: Callable[[Commits, list[Pending]], None]) -> tuple[Store, Run]:
    store = Store.create(target)
    run, quarantine = Run(store, "index", dataset="opencell"), Quarantine(store)
    embed(Commits(store, "fov", FINGERPRINT, run, quarantine), [pending(folder, n) for n in range(23)])
    return store, run


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Run]:
    def embed(commits: Commits, work: list[Pending]) -> None:
        embed_pending(commits, work, PlainEncoder(spec()))

    return committed(folder, tmp_path_factory.mktemp("local") / "atlas", embed)


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), deaths=st.sampled_from([0.0, 0.3, 0.6]), rows=st.sampled_from([2, 3, 8]))
def test_whoever_answers_first_and_whoever_dies_the_rows_are_those_of_one_machine(
    folder: Path,
    local: tuple[Store, Run],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    deaths: float,
    rows: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch, local_worker() as worker:
        patch.setattr(driving, "CHUNK_ROWS", rows)
        patch.setattr(driving, "COMMIT_ROWS", 2 * rows)
        pool = Shaky(worker.embed, seed=seed, deaths=deaths, poison=set())
        told: list[int] = []

        def embed(commits: Commits, work: list[Pending]) -> None:
            drive(pool, commits, work, progress=lambda _, done, total: told.append(done))

        store, run = committed(folder, tmp_path_factory.mktemp("driven") / "atlas", embed)
    assert contents(store) == contents(local[0])
    assert run._digest.hexdigest() == local[1]._digest.hexdigest()  # in the same order
    assert told == sorted(told)
    assert told[-1] == 23
    assert (run.counts["embedded"], run.counts["quarantined"]) == (22, 1)


def test_an_image_that_ends_its_workers_is_left_out_and_takes_no_other_with_it(folder: Path, tmp_path: Path) -> None:
    poison = "opencell/FID00000009"
    with local_worker() as worker:
        pool = Shaky(worker.embed, seed=3, deaths=0.0, poison={poison})
        store, run = committed(folder, tmp_path / "atlas", lambda commits, work: drive(pool, commits, work))
    # with others, alone with its chunk, and twice alone
    assert pool.ended == {poison: 4}
    assert poison not in store.read(TABLE)["id"].to_pylist()
    assert store.count(TABLE) == 21
    said = {row["source"]: row["reason"] for row in store.read("quarantine").to_pylist()}
    assert "ended 2 processes" in said[name_of(9)]
    assert "killed by SIGKILL" in said[name_of(9)]
    assert "FID00000009" in said[name_of(9)]
    assert run.counts["parts lost with their worker"] >= 4


def test_a_machine_that_is_gone_is_no_fault_of_an_image() -> None:
    part = Part(0, 3, 4, alone=True, deaths=1)
    assert part.after(Died("node gone", blamed=False)) == [part]
    assert part.after(Died("killed")) == []
    assert Part(0, 0, 2).after(Died("killed")) == [Part(0, 0, 2, alone=True)]
    assert Part(0, 1, 3, alone=True).after(Died("killed")) == [Part(0, 1, 2, alone=True), Part(0, 2, 3, alone=True)]


def test_what_is_sent_is_small_and_what_comes_back_has_no_pixels(folder: Path) -> None:
    work = [pending(folder, n) for n in range(23)]
    chunk = Chunk.of(work)
    assert [item.record for item in unpacked(chunk.sent(Part(0, 5, 7)))] == [item.record for item in work[5:7]]
    with local_worker() as worker:
        answer = worker.embed(chunk.sent(Part(0, 0, 23)))
    assert list(answer.places) == [n for n in range(23) if n != 4]
    assert [place for place, _ in answer.rejected] == [4]
    assert answer.vectors is not None
    assert answer.vectors.shape == (22, spec().dim)
    assert set(answer.seconds) == {"read", "encode"}
    chunk.put(Part(0, 0, 23), answer)
    done: Done = chunk.done()
    assert np.array_equal(np.concatenate(done.vectors), answer.vectors)
    assert all(item.prepared is None for item in done.good)


def test_a_worker_says_what_it_does_not_see(tmp_path: Path) -> None:
    image = tmp_path / "a.tif"
    image.write_bytes(b"12345")
    Sight((str(tmp_path),), ((str(image), 5),)).check()
    for sight, said in (
        (Sight((str(tmp_path / "gone"),), ()), "does not see .*gone.*mount it there"),
        (Sight((), ((str(tmp_path / "b.tif"), 5),)), "does not see .*b.tif"),
        (Sight((), ((str(image), 6),)), "another file at .*a.tif: 5 bytes, not 6"),
        (Sight((), (), version="0.0.0"), "install the same there"),
    ):
        with pytest.raises(InputError, match=said):
            sight.check()

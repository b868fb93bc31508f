"""Processes that the system kills: the same command goes on, and the atlas ends the same."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from locatlas.indexer.embed import reembed
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from locatlas.query.atlas import open_atlas
from tests.forking import Forks
from tests.indexer.made import contents, write_collection
from tests.indexer.test_interrupted import begun

REEMBED = """
import os, signal, sys
from pathlib import Path
import lance
from locatlas.indexer import job
from locatlas.indexer.embed import reembed
from locatlas.indexer.store.tables import Store
from tests.indexer.made import PlainEncoder
job.load_encoder = PlainEncoder
real, left = Store.upsert, int(sys.argv[2])

def upsert(self, table, rows, **options):
    global left
    real(self, table, rows, **options)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Store.upsert = upsert
reembed(atlas=Path(sys.argv[1]), commit_rows=1)
"""


@pytest.mark.slow
def test_re_embedding_killed_by_the_system_at_ten_random_commits_ends_in_the_same_table(
    tmp_path: Path, plain: None, commands: Forks
) -> None:
    """Ten kills of one re-embedding, each after some commits more: of vectors, of its run, or of the switch itself."""
    source = write_collection(tmp_path / "source", range(16))
    for name in ("whole", "killed"):
        index(source, atlas=tmp_path / name, dataset="opencell")
        new = begun(Store.open(tmp_path / name))
    reembed(atlas=tmp_path / "whole", commit_rows=1)
    chance, store = random.Random(4), Store.open(tmp_path / "killed")
    embedded = [0]
    for _ in range(10):
        # the first commits of a run are those of the ledger: what died before, and that it runs
        done = commands.run(REEMBED, tmp_path / "killed", chance.randint(1, 5))
        assert done.returncode == -signal.SIGKILL, done.stderr
        embedded.append(store.count(new.table) if store.has(new.table) else 0)
        now = encoders.current(store, "fov")
        assert now is not None
        assert now.fingerprint != new.fingerprint
        assert len(open_atlas(tmp_path / "killed").embeddings()[0]) == 16
    assert embedded == sorted(embedded)
    assert 5 <= embedded[-1] <= 16
    assert reembed(atlas=tmp_path / "killed", commit_rows=1).embedded == 16 - embedded[-1]
    assert contents(store) == contents(Store.open(tmp_path / "whole"))
    assert [f for f in verify(atlas=tmp_path / "killed").findings if f.severity != "note"] == []
    assert {row["state"] for row in store.read("runs").to_pylist()} == {"done", "interrupted"}
    assert store.folder.reembedding_owner() is None


DRIVER = """
import sys
from pathlib import Path
from locatlas.indexer import job, pipeline
from locatlas.indexer.index import index
from tests.indexer.made import PlainEncoder
job.load_encoder = PlainEncoder
print("ready", flush=True)
index(Path(sys.argv[1]), atlas=Path(sys.argv[2]), dataset="opencell", commit_rows=1)
print("done", flush=True)
"""


def killed_runs(commands: Forks, source: Path, atlas: Path, kills: int, delays: Iterator[float]) -> None:
    """Start the command and kill it with SIGKILL some times; then let it end."""
    for n in range(kills + 1):
        with commands.start(DRIVER, source, atlas) as process:
            assert process.stdout.readline() == "ready\n"
            if n < kills:
                time.sleep(next(delays))
                process.send_signal(signal.SIGKILL)
            else:
                assert process.stdout.readline() == "done\n"


def check_killed(commands: Forks, source: Path, tmp_path: Path, kills: int, seed: int, longest_s: float) -> None:
    index(source, atlas=tmp_path / "whole", dataset="opencell", commit_rows=1)
    chance = random.Random(seed)
    killed_runs(commands, source, tmp_path / "killed", kills, iter(lambda: chance.uniform(0, longest_s), None))
    store = Store.open(tmp_path / "killed")
    assert contents(store) == contents(Store.open(tmp_path / "whole"))
    states = [row["state"] for row in store.read("runs").to_pylist()]
    assert set(states) <= {"done", "interrupted"}
    assert not (tmp_path / "killed" / ".lock-owner").exists()


def test_a_process_killed_by_the_system_continues_to_the_same_atlas(
    tmp_path: Path, plain: None, commands: Forks
) -> None:
    check_killed(commands, write_collection(tmp_path / "source", range(12)), tmp_path, kills=1, seed=1, longest_s=0.8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_process_killed_many_times_continues_to_the_same_atlas(
    tmp_path: Path, plain: None, commands: Forks, seed: int
) -> None:
    check_killed(
        commands, write_collection(tmp_path / "source", range(120)), tmp_path, kills=8, seed=seed, longest_s=2.0
    )

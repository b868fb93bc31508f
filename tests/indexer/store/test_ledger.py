"""Runs: written before the first commit, closed as done, failed or interrupted, and absent where nothing was done."""

import hashlib
import json

import pytest

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.store.ledger import Run, versions
from locatlas.indexer.store.tables import Store


def states(store: Store) -> list[str]:
    return [row["state"] for row in store.read("runs").to_pylist()]


def test_a_run_that_commits_nothing_leaves_no_trace(empty: Store) -> None:
    with Run.record(empty, "index") as run, run.timed("read"):
        run.counts["skipped"] += 1
    with pytest.raises(InputError), Run.record(empty, "index"):
        raise InputError
    assert empty.tables() == []


def test_a_run_is_written_as_running_before_what_it_commits(empty: Store) -> None:
    with Run.record(empty, "index", dataset="opencell") as run:
        run.touched()
        assert states(empty) == ["running"]
        version = empty.version("runs")
        run.touched()
        assert empty.version("runs") == version
    assert states(empty) == ["done"]


def test_a_run_says_what_was_done_by_which_versions_and_in_which_time(empty: Store) -> None:
    with Run.record(empty, "index", dataset="opencell") as run:
        run.touched()
        run.wrote(["a", "b"])
        run.wrote(["é"])
        run.counts["embedded"] += 3
        run.level, run.fingerprint = "fov", "f" * 64
        with run.timed("read"), run.timed("encode"):
            pass
    row = empty.read("runs").to_pylist()[0]
    assert (row["command"], row["dataset"], row["level"], row["fingerprint"]) == ("index", "opencell", "fov", "f" * 64)
    assert json.loads(row["counts"]) == {"embedded": 3}
    assert json.loads(row["versions"])["pylance"] == versions()["pylance"]
    assert set(json.loads(row["timings_s"])) == {"read", "encode"}
    assert row["ids_digest"] == hashlib.blake2b("a\nb\né\n".encode(), digest_size=16).hexdigest()
    assert row["finished_at"] >= row["started_at"]
    assert row["id"] == run.id


@pytest.mark.parametrize(("error", "state"), [(InputError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_ends_early_says_whether_it_failed_or_was_stopped(
    empty: Store, error: type[BaseException], state: str
) -> None:
    def stopped() -> None:
        with Run.record(empty, "index") as run:
            run.touched()
            raise error

    with pytest.raises(error):
        stopped()
    assert states(empty) == [state]
    assert empty.read("runs")["finished_at"].null_count == 0


def test_what_still_runs_when_the_next_one_begins_was_interrupted_though_that_does_nothing(empty: Store) -> None:
    dead = Run(empty, "index", dataset="opencell")
    dead.touched()
    with Run.record(empty, "index"):
        assert states(empty) == ["interrupted"]
    with Run.record(empty, "embed") as run:
        run.touched()
    rows = {row["id"]: row for row in empty.read("runs").to_pylist()}
    assert (rows[dead.id]["state"], rows[dead.id]["dataset"], rows[dead.id]["finished_at"]) == (
        "interrupted",
        "opencell",
        None,
    )
    assert rows[run.id]["state"] == "done"


def test_what_went_wrong_first_is_told_though_the_ledger_cannot_be_written_either(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        message = "disk full"
        raise StoreDamagedError(message)

    def failed() -> None:
        with Run.record(empty, "index") as run:
            run.touched()
            monkeypatch.setattr(Store, "upsert", full)
            raise InputError("the first")

    with pytest.raises(InputError, match="the first"):
        failed()


def test_ids_of_runs_sort_by_start(empty: Store) -> None:
    ids = [Run(empty, "index", dataset=None).id for _ in range(5)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5

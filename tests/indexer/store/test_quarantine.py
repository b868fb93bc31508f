"""What is held, what is tried again, and that unchanged rejections are not written twice."""

import dataclasses

import pytest

from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine, Rejection, rejection_id
from locatlas.indexer.store.tables import Store

BAD = Rejection(dataset="d", root="r", source="a.tif", reason="a.tif: truncated", tried="t1")


@pytest.fixture
def run(empty: Store) -> Run:
    return Run(empty, "index", dataset="d")


def held(store: Store) -> dict[str, str]:
    return {row["source"]: row["reason"] for row in store.read("quarantine").to_pylist()}


def test_a_rejection_is_written_once_and_stays_while_nothing_changed(empty: Store, run: Run) -> None:
    first = Quarantine(empty)
    first.put(BAD)
    assert held(empty) == {}
    first.commit(run)
    assert held(empty) == {"a.tif": "a.tif: truncated"}
    version = empty.version("quarantine")
    again = Quarantine(empty)
    assert again.still(BAD.id, "t1")
    assert list(again.seen.values()) == [BAD]
    again.put(dataclasses.replace(BAD))
    again.commit(run)
    assert empty.version("quarantine") == version


def test_a_source_is_tried_again_once_anything_that_decided_changed(empty: Store, run: Run) -> None:
    first = Quarantine(empty)
    first.put(BAD)
    first.put(dataclasses.replace(BAD, source="always.tif", tried=None))
    first.commit(run)
    again = Quarantine(empty)
    assert not again.still(BAD.id, "t2")
    assert not again.still(rejection_id("d", "r", "always.tif"), "t1")
    assert not again.still(rejection_id("d", "r", "never.tif"), "t1")
    assert again.seen == {}


def test_a_released_source_is_forgotten_unless_it_was_met_again(empty: Store, run: Run) -> None:
    first = Quarantine(empty)
    first.put(BAD)
    first.put(dataclasses.replace(BAD, source="b.tif"))
    first.commit(run)
    again = Quarantine(empty)
    again.put(dataclasses.replace(BAD, reason="still bad"))
    for source in ("a.tif", "b.tif", "never held.tif"):
        again.release(rejection_id("d", "r", source))
    assert [again.holds(rejection_id("d", "r", s)) for s in ("a.tif", "b.tif")] == [True, False]
    again.commit(run)
    assert held(empty) == {"a.tif": "still bad"}
    assert not Quarantine(empty).holds(rejection_id("d", "r", "b.tif"))


def test_a_source_that_is_rejected_after_its_release_is_held(empty: Store, run: Run) -> None:
    first = Quarantine(empty)
    first.put(BAD)
    first.commit(run)
    again = Quarantine(empty)
    again.release(BAD.id)
    again.put(BAD)
    again.commit(run)
    assert held(empty) == {"a.tif": "a.tif: truncated"}


def test_forgetting_takes_one_data_set_below_one_root(empty: Store, run: Run) -> None:
    others = [dataclasses.replace(BAD, dataset="e"), dataclasses.replace(BAD, root="s")]
    seen = dataclasses.replace(BAD, source="seen.tif")
    first = Quarantine(empty)
    for rejection in (BAD, *others, seen):
        first.put(rejection)
    first.commit(run)
    again = Quarantine(empty)
    assert again.still(seen.id, "t1")
    again.forget("d", "r")
    again.commit(run)
    assert {row["id"] for row in empty.read("quarantine").to_pylist()} == {*(r.id for r in others), seen.id}


def test_two_reasons_for_one_source_do_not_take_turns(empty: Store, run: Run) -> None:
    one, two = BAD, dataclasses.replace(BAD, reason="another record of the same file")
    for _ in range(2):
        quarantine = Quarantine(empty)
        quarantine.put(one)
        quarantine.commit(run)
        quarantine.put(two)
        quarantine.commit(run)
        assert held(empty) == {"a.tif": one.reason}
    assert empty.version("quarantine") == 2  # made, one row


def test_names_and_reasons_are_one_printable_line_each(empty: Store, run: Run) -> None:
    hostile = dataclasses.replace(BAD, source="a\n\udcff'; DROP.tif", reason="two\nlines \udcfe")
    quarantine = Quarantine(empty)
    quarantine.put(hostile)
    quarantine.commit(run)
    assert held(empty) == {"a\\n\\udcff'; DROP.tif": "two lines \\udcfe"}
    again = Quarantine(empty)
    assert again.still(hostile.id, "t1")
    assert not again.holds(rejection_id("d", "r", "a\\x00"))
    again = Quarantine(empty)
    again.release(hostile.id)
    again.commit(run)
    assert held(empty) == {}


def test_a_run_is_noted_before_the_first_rejection_is_written(empty: Store, run: Run) -> None:
    quarantine = Quarantine(empty)
    quarantine.commit(run)
    assert empty.tables() == []
    quarantine.put(BAD)
    quarantine.commit(run)
    assert empty.read("runs")["state"].to_pylist() == ["running"]
    assert empty.read("quarantine")["run_id"].to_pylist() == [run.id]

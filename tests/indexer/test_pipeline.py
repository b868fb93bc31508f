"""From records to commits: chunks by position, batches within chunks, one rejected image among good ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer import pipeline
from locatlas.indexer.commits import Commits
from locatlas.indexer.pipeline import Pending, Throttle, chunks, embed_pending
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.rows import described
from locatlas.indexer.store.sources import source_stat
from locatlas.indexer.store.tables import Store
from tests.indexer.made import PlainEncoder, id_of, name_of, write_field
from tests.indexer.store.test_encoders import spec

FINGERPRINT = "0123456789ab" + "c" * 52
TABLE = "emb_fov_0123456789ab"


class Watched(PlainEncoder):
    """Notes the batches that it is given."""

    def __init__(self) -> None:
        super().__init__(spec())
        self.batches: list[int] = []

    def encode_prepared(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        self.batches.append(len(prepared))
        return super().encode_prepared(prepared)


def pending(folder: Path, n: int, position: int | None = None) -> Pending:
    record = ImageRecord(
        id=id_of(n), level="fov", dataset="opencell", sources=(Source(folder / name_of(n), ("nucleus", "protein")),)
    )
    row = described(record, roots={"r": folder})
    return Pending(n if position is None else position, record, row, source_stat(record.sources), f"tried {n}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(7):
        write_field(tmp_path / "images", n)
    return tmp_path / "images"


def embedded(store: Store, work: list[Pending], encoder: Watched, **options: Any) -> Run:
    run, quarantine = Run(store, "index", dataset="opencell"), Quarantine(store)
    embed_pending(Commits(store, "fov", FINGERPRINT, run, quarantine), work, encoder, **options)
    return run


def test_batches_end_with_their_chunk_and_are_no_larger_than_a_batch(
    empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_IMAGES", 2)
    encoder = Watched()
    run = embedded(empty, [pending(folder, n) for n in range(7)], encoder, commit_rows=3)
    assert encoder.batches == [2, 1, 2, 1, 1]
    assert run.counts["embedded"] == 7
    assert empty.version(TABLE) == 1 + 3  # made, three chunks


def test_an_encoder_that_takes_more_at_once_is_given_them(
    empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_IMAGES", 2)
    encoder = Watched()
    encoder.at_once = 3
    embedded(empty, [pending(folder, n) for n in range(7)], encoder)
    assert encoder.batches == [3, 3, 1]


def test_a_commit_takes_several_chunks_whose_batches_stay_their_own(
    empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CHUNK_ROWS", 2)
    encoder = Watched()
    # chunks of places 0 1, 2, 4 5, 6: the third is the one with which there are four images or more
    run = embedded(empty, [pending(folder, n) for n in (0, 1, 2, 4, 5, 6)], encoder, commit_rows=4)
    assert encoder.batches == [2, 1, 2, 1]
    assert run.counts["embedded"] == 6
    assert empty.version(TABLE) == 1 + 2


def test_a_continued_run_cuts_the_chunks_that_are_left_as_the_first_would_have(empty: Store, folder: Path) -> None:
    encoder = Watched()
    embedded(empty, [pending(folder, n) for n in (4, 5, 6)], encoder, commit_rows=3)
    assert encoder.batches == [2, 1]


def test_an_image_that_is_rejected_takes_no_other_with_it(empty: Store, folder: Path) -> None:
    work = [pending(folder, n) for n in range(7)]
    (folder / name_of(2)).write_bytes(b"no image")
    (folder / name_of(5)).unlink()
    run = embedded(empty, work, Watched(), commit_rows=3)
    assert empty.read(TABLE, ["id"])["id"].to_pylist() == [id_of(n) for n in (0, 1, 3, 4, 6)]
    assert {r["source"]: r["tried"] for r in empty.read("quarantine").to_pylist()} == {
        name_of(2): "tried 2",
        name_of(5): "tried 5",
    }
    assert (run.counts["embedded"], run.counts["quarantined"]) == (5, 2)


def test_a_chunk_of_nothing_but_bad_images_commits_only_its_rejections(empty: Store, folder: Path) -> None:
    work = [pending(folder, 0)]
    (folder / name_of(0)).write_bytes(b"no image")
    embedded(empty, work, Watched())
    assert empty.tables() == ["quarantine", "runs"]


def test_the_row_is_committed_before_its_vector(empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[str] = []
    upsert = Store.upsert

    def noted(self: Store, table: str, *args: Any, **options: Any) -> None:
        tables.append(table)
        upsert(self, table, *args, **options)

    monkeypatch.setattr(Store, "upsert", noted)
    embedded(empty, [pending(folder, 0)], Watched())
    assert tables == ["runs", "fovs", TABLE]


def test_rows_have_what_pixels_tell(empty: Store, folder: Path) -> None:
    work = [pending(folder, 0)]
    embedded(empty, work, Watched())
    row = empty.read("fovs").to_pylist()[0]
    assert (row["height"], row["width"], row["qc"], row["source_stat"]) == (40, 40, [], work[0].stat)
    assert len(row["source_digest"]) == 32
    assert row["source_digest"] == empty.read(TABLE).to_pylist()[0]["source_digest"]


def test_many_commits_are_merged_on_the_way(empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locatlas.indexer.commits.FRAGMENTS_BEFORE_COMPACTION", 3)
    monkeypatch.setattr("locatlas.indexer.store.tables.FRAGMENTS_BEFORE_COMPACTION", 2)
    embedded(empty, [pending(folder, n) for n in range(7)], Watched(), commit_rows=1)
    for table in (TABLE, "fovs"):
        assert len(empty._dataset(table).get_fragments()) <= 3
        assert empty.count(table) == 7


def test_an_error_of_the_encoder_ends_the_run_and_keeps_what_was_committed(
    empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Watched()

    def fail(prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        if encoder.batches:
            message = "CUDA out of memory"
            raise RuntimeError(message)
        return Watched.encode_prepared(encoder, prepared)

    monkeypatch.setattr(encoder, "encode_prepared", fail)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        embedded(empty, [pending(folder, n) for n in range(7)], encoder, commit_rows=3)
    assert empty.count(TABLE) == empty.count("fovs") == 3


@given(st.sets(st.integers(0, 60)), st.integers(1, 9))
def test_chunks_are_the_runs_of_equal_quotients(positions: set[int], commit_rows: int) -> None:
    work = [Pending(n, None, {}, "", "") for n in sorted(positions)]  # type: ignore[arg-type]
    cut = [[p.position for p in chunk] for chunk in chunks(work, commit_rows)]
    assert [n for chunk in cut for n in chunk] == sorted(positions)
    assert all(len({n // commit_rows for n in chunk}) == 1 for chunk in cut)
    assert len(cut) == len({n // commit_rows for n in positions})


@pytest.mark.parametrize(("share", "rest_s"), [(1.0, 0.0), (0.5, 2.0), (0.2, 8.0)])
def test_a_throttle_waits_for_the_share_of_the_work_since_it_waited_last(share: float, rest_s: float) -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    throttle = Throttle(share, clock=lambda: now[0], sleep=sleep)
    for _ in range(3):
        now[0] += 2.0
        assert throttle.rest() == pytest.approx(rest_s)
    assert slept == pytest.approx([rest_s] * 3 if rest_s else [])
    now[0] += 1000.0  # somebody else held the lock
    throttle.start()
    now[0] += 2.0
    assert throttle.rest() == pytest.approx(rest_s)


def test_a_throttle_does_not_rest_for_the_time_that_a_commit_took(
    empty: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, slept = [0.0], list[float]()
    encoder, put = Watched(), Commits.put

    def encode(prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        now[0] += 2.0
        return Watched.encode_prepared(encoder, prepared)

    def wait_and_put(commits: Commits, done: Any) -> None:
        now[0] += 1000.0  # the lock was another's
        put(commits, done)

    monkeypatch.setattr(encoder, "encode_prepared", encode)
    monkeypatch.setattr(Commits, "put", wait_and_put)
    throttle = Throttle(0.5, clock=lambda: now[0], sleep=slept.append)
    embedded(empty, [pending(folder, n) for n in range(7)], encoder, commit_rows=3, throttle=throttle)
    assert slept == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="share of the time to work"):
        Throttle(share)

"""An index on disk and its successor: who has the one open, what is kept, what a kill leaves."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.indexer.indices import build as building
from locatlas.indexer.indices import opening
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.disk import DiskCodes
from locatlas.indexer.indices.files import disk_folders, index_paths
from locatlas.indexer.indices.kinds import DISK, Kind
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.indices.made import N, files, folder_of, made, nearest, opened, usable
from tests.quick import some

pytestmark = pytest.mark.usefixtures("one_thread")


def test_who_has_an_index_open_goes_on_while_it_is_built_anew_and_is_answered_exactly_once_it_is_removed(
    empty: Store,
    encoder: StoredEncoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    build(empty, encoder, DISK)
    index, first = usable(empty, encoder), folder_of(empty, encoder)
    build(empty, encoder, DISK)
    assert first.is_dir()
    query = made(1, seed=9)[0]
    assert nearest(empty, encoder, query, 3) <= set(index.candidates(query, 3, None).tolist())
    assert not caplog.records
    maintain(atlas=empty.folder.path)
    assert disk_folders(empty.folder, encoder.table) == [folder_of(empty, encoder)]
    allowed = np.arange(N) % 2 == 0
    with caplog.at_level(logging.WARNING):
        found = index.candidates(query, 3, allowed)
    np.testing.assert_array_equal(found, np.flatnonzero(allowed))
    assert "cannot be searched" in caplog.text
    assert usable(empty, encoder).sidecar.folder == folder_of(empty, encoder).name


def test_no_more_than_two_are_kept(empty: Store, encoder: StoredEncoder) -> None:
    for _ in range(3):
        build(empty, encoder, DISK)
    kept = disk_folders(empty.folder, encoder.table)
    assert len(kept) == 2
    assert kept[-1] == folder_of(empty, encoder)


@pytest.mark.slow
def test_the_one_in_use_is_kept_where_the_clock_went_back(empty: Store, encoder: StoredEncoder) -> None:
    for _ in range(3):
        build(empty, encoder, DISK)
        for folder in disk_folders(empty.folder, encoder.table):
            os.utime(folder, (4e9, 4e9))  # in the year 2096
    assert folder_of(empty, encoder).is_dir()
    assert len(disk_folders(empty.folder, encoder.table)) == 2
    assert opened(empty, encoder)[1] == "up to date"


def test_a_faiss_file_and_an_index_on_disk_take_each_others_place(empty: Store, encoder: StoredEncoder) -> None:
    for kind in ("flat", DISK, "flat"):
        assert refresh(empty.folder.path, kind, levels=("fov",))["fov"].startswith(
            "lance-ivfrq on disk over 300" if kind == DISK else "FAISS flat over 300"
        )
        assert usable(empty, encoder).sidecar.kind == kind
        assert files(empty, encoder)["faiss"].exists() == (kind == "flat")
        assert verify(atlas=empty.folder.path).damage == []
    maintain(atlas=empty.folder.path)
    assert disk_folders(empty.folder, encoder.table) == []


@pytest.mark.parametrize(("kind", "then"), some([("ivf", DISK), (DISK, "ivf"), (DISK, DISK)], 1, 2))
def test_an_index_that_another_takes_the_place_of_while_it_is_opened_is_not_used(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch, kind: Kind, then: Kind
) -> None:
    build(empty, encoder, kind)
    opens = "DiskCodes" if kind == DISK else "read_faiss"
    really, times = getattr(opening, opens), 0

    def meanwhile(*args: Any, **options: Any) -> Any:
        nonlocal times
        times += 1
        index = really(*args, **options)
        if times == 1:
            build(empty, encoder, then)
        return index

    monkeypatch.setattr(opening, opens, meanwhile)
    assert usable(empty, encoder).sidecar.kind == then


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (os.utime, "index built anew 5 times while it was opened"),
        (os.unlink, "no index"),  # as a build of a FAISS file begins
    ],
)
def test_an_index_whose_sidecar_changes_whenever_it_is_opened_is_told(
    empty: Store, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], None], said: str
) -> None:
    build(empty, encoder, DISK)

    def meanwhile(*args: Any, **options: Any) -> Any:
        happens(index_paths(empty.folder, encoder.table)[1])
        return DiskCodes(*args, **options)

    monkeypatch.setattr(opening, "DiskCodes", meanwhile)
    assert opened(empty, encoder) == (None, said)


@pytest.mark.parametrize("dies_at", ["codes", "sidecar"])
def test_an_index_whose_successor_was_not_finished_is_used(
    empty: Store,
    encoder: StoredEncoder,
    monkeypatch: pytest.MonkeyPatch,
    dies_at: str,
) -> None:
    build(empty, encoder, DISK)
    first = folder_of(empty, encoder)

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "digests_below" if dies_at == "codes" else "write_atomically", dies)
        with pytest.raises(KeyboardInterrupt):
            build(empty, encoder, DISK)
    assert folder_of(empty, encoder) == first
    assert opened(empty, encoder)[1] == "up to date"
    assert len(os.listdir(empty.folder.indices)) == (2 if dies_at == "codes" else 3)
    maintain(atlas=empty.folder.path)
    assert sorted(os.listdir(empty.folder.indices)) == sorted([first.name, f"{encoder.table}.json"])


def test_what_a_killed_build_left_is_removed_by_the_next_writer(empty: Store, encoder: StoredEncoder) -> None:
    left = empty.folder.indices / f".{encoder.table}.{'0' * 16}.disk.tmp"
    (left / "codes.lance").mkdir(parents=True)
    with empty.folder.writer("test"):
        assert not left.exists()

"""What is taken out of an atlas is on disk, and has its digests, before anything is forgotten."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locatlas.indexer.store.digests import Digests, committed_files, read_journal
from locatlas.indexer.store.lance_files import open_table
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify import aside
from locatlas.indexer.verify.aside import Aside, drop_fragments, drop_rows
from tests.indexer.store.test_tables import TABLE, put


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "atlas")
    put(made, ["a", "b"])
    put(made, ["c"])
    return made


@pytest.mark.parametrize("across", [False, True], ids=["rename", "another disk"])
def test_names_are_on_disk_before_the_journal_forgets_a_file_that_was_moved(
    store: Store, monkeypatch: pytest.MonkeyPatch, across: bool
) -> None:
    events: list[Path | str] = []
    moved = sorted(name for name, _ in committed_files(store.folder, TABLE) if "/data/" in name)[0]
    monkeypatch.setattr(aside, "sync_folder", events.append)
    monkeypatch.setattr(store.digests, "settle", lambda: events.append("settled"))
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(Path(os.readlink(f"/proc/self/fd/{fd}"))), fsync(fd)))
    if across:
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if "damaged" in target.parts:
                raise OSError(18, "Invalid cross-device link")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
    here = Aside(store.folder, store.digests)
    here.move([moved, "db/never.lance/data/there.lance"])
    assert events.pop() == "settled"
    target = here.path / moved
    assert target.exists()
    names = {(store.folder.path / moved).parent, target.parent, here.path, here.path.parent, store.folder.path}
    assert names <= set(events)
    assert (target in events) == across


def one_row(folder: AtlasFolder, digests: Digests) -> None:
    drop_rows(folder, digests, TABLE, [0])


def one_fragment(folder: AtlasFolder, digests: Digests) -> None:
    assert drop_fragments(folder, digests, open_table(folder, TABLE), [0]) == 2


@pytest.mark.parametrize("drop", [one_row, one_fragment])
def test_a_stop_after_rows_were_taken_out_waits_for_the_digests(
    store: Store, monkeypatch: pytest.MonkeyPatch, drop: Callable[[AtlasFolder, Digests], None]
) -> None:
    take = Digests.take

    def stopped(*args: Any, **options: Any) -> int:
        signal.raise_signal(signal.SIGINT)
        return take(*args, **options)

    monkeypatch.setattr(Digests, "take", stopped)
    with pytest.raises(KeyboardInterrupt):
        drop(store.folder, store.digests)
    journal = read_journal(store.folder)
    assert journal is not None
    assert {name for name, _ in committed_files(store.folder, TABLE)} <= journal.files.keys()

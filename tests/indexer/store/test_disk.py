"""Room and links are asked for before anything is written."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.store.disk import bytes_of_images
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from tests.forking import Forks
from tests.indexer.made import write_collection


def tree(folder: Path) -> dict[str, bytes]:
    """What is there but the ledger, which tells of the failure, and its digests."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in files.items() if "runs.lance" not in n and not n.startswith((".", "digests"))}


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_what_is_needed_is_about_what_an_atlas_takes(tmp_path: Path, plain: None) -> None:
    atlas = tmp_path / "atlas"
    index(write_collection(tmp_path / "source", range(24)), atlas=atlas, dataset="opencell")
    store = Store.open(atlas)
    encoder = current(store, "fov")
    assert encoder is not None
    data = sum(
        p.stat().st_size
        for table in ("fovs", encoder.table)
        for p in (atlas / "db" / f"{table}.lance").rglob("*.lance")
    )
    assert data / 4 < bytes_of_images(24, encoder.spec.dim) < 8 * data


def test_a_disk_without_room_is_told_before_an_image_is_read(tmp_path: Path, plain: None, small_disk: None) -> None:
    with pytest.raises(InputError, match=r"atlas: 0\.0 MB are to be written and 0\.0 MB are free; nothing was"):
        index(write_collection(tmp_path / "source", range(3)), atlas=tmp_path / "atlas", dataset="opencell")
    assert Store.open(tmp_path / "atlas").count("fovs") == 0


def test_a_disk_without_room_for_imported_vectors_or_an_index_leaves_all_as_it_was(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    np.savez(tmp_path / "v.npz", ids=["x/a", "x/b"], vectors=np.eye(2, dtype=np.float32))
    atlas = tmp_path / "atlas"
    import_embeddings(tmp_path / "v.npz", atlas=atlas, name="mine")
    np.savez(tmp_path / "w.npz", ids=["x/c", "x/d"], vectors=np.eye(2, dtype=np.float32))
    before = tree(atlas)
    request.getfixturevalue("small_disk")
    with pytest.raises(InputError, match="are free; nothing was"):
        import_embeddings(tmp_path / "w.npz", atlas=atlas, name="mine")
    with pytest.raises(InputError, match=r"indices: .* are free; nothing was"):
        refresh(atlas, "flat", levels=["fov"])
    assert tree(atlas) == before


def test_an_atlas_is_not_made_where_files_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(1, "Operation not permitted")  # as exFAT says

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(InputError, match=r"atlas/db: its file system cannot link files \(Operation not permitted\)"):
        Store.create(tmp_path / "atlas")
    assert [p.name for p in (tmp_path / "atlas").rglob("*") if not p.name.startswith(".lock")] == ["db"]
    monkeypatch.undo()
    Store.create(tmp_path / "atlas")  # what was left does not stand in the way
    assert list((tmp_path / "atlas" / "db").glob(".probe*")) == []


def test_a_creation_that_was_killed_while_it_tried_links_is_completed(tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    words = [sys.executable, "-c", KILLED, str(atlas)]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})
    assert done.returncode == -signal.SIGKILL
    assert list((atlas / "db").iterdir()) != []
    Store.create(atlas)
    assert list((atlas / "db").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from locatlas.indexer.store.layout import AtlasFolder

os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
AtlasFolder.create(Path(sys.argv[1]), {"schema_version": 1})
"""


FORKLESS = """
import os, sys
from pathlib import Path
from locatlas.indexer.index import index
from locatlas.query.atlas import open_atlas

def forked():
    sys.stderr.write("forked\\n")
    os._exit(9)

os.register_at_fork(before=forked)
index(Path(sys.argv[1]), atlas=Path(sys.argv[2]), dataset="opencell")
print(len(open_atlas(sys.argv[2]).neighbors(id="opencell/FID00000001", level="fov", k=2, exclude="self")))
"""


@pytest.mark.skipif("sys.platform == 'win32'")
def test_nothing_forks_a_process_that_has_threads_of_torch_and_lance(tmp_path: Path, commands: Forks) -> None:
    source = write_collection(tmp_path / "source", range(4))
    done = commands.run(FORKLESS, source, tmp_path / "atlas")
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr

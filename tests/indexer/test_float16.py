"""An atlas whose vectors are stored as float16: backed up, restored, and embedded by several processes."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import locatlas
from locatlas.indexer.backup.restore import check_backup, restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.cluster import processes
from locatlas.indexer.cluster.devices import DevicesEngine
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.forking import Forks
from tests.indexer.cluster.plain_process import started
from tests.indexer.made import contents, id_of, write_field

HALF = EncoderRequest(storage="float16")
OTHER = EncoderRequest(mapping="random", seed=3, storage="float16")


@pytest.fixture
def half(plain: None, source: Path, tmp_path: Path) -> Path:
    """The atlas of six fields, as float16."""
    index(source, atlas=tmp_path / "half", dataset="opencell", request=HALF)
    return tmp_path / "half"


def types(store: Store) -> set[pa.DataType]:
    """Of the numbers in its vectors' tables."""
    names = [table for table in store.tables() if table.startswith("emb_")]
    return {store.read(name).schema.field("vector").type.value_type for name in names}


def test_it_comes_back_from_a_backup_whole_and_goes_on_as_float16(half: Path, source: Path, tmp_path: Path) -> None:
    before = locatlas.open(half)
    assert types(before.store) == {pa.float16()}
    backup(atlas=half, to=tmp_path / "backup")
    write_field(source, 6)
    assert index(source, atlas=half, dataset="opencell").embedded == 1
    second = backup(atlas=half, to=tmp_path / "backup")
    assert (second.new, len(second.states)) == (True, 2)
    check_backup(tmp_path / "backup")
    restore(tmp_path / "backup", to=tmp_path / "again")
    restore(tmp_path / "backup", to=tmp_path / "first", state=second.states[1])
    again, first = locatlas.open(tmp_path / "again"), locatlas.open(tmp_path / "first")
    assert contents(again.store) == contents(Store.open(half))
    assert types(again.store) == types(first.store) == {pa.float16()}
    assert (again.store.count("fovs"), first.store.count("fovs")) == (7, 6)
    asked = locatlas.open(half).neighbors(id=id_of(2), k=3)
    assert again.neighbors(id=id_of(2), k=3).equals(asked)
    assert verify(atlas=tmp_path / "again").findings == []
    write_field(source, 7)
    assert index(source, atlas=tmp_path / "again", dataset="opencell").embedded == 1
    assert types(again.store) == {pa.float16()}


def test_several_processes_make_the_table_that_one_makes(
    half: Path, tmp_path: Path, commands: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Path(shutil.copytree(half, tmp_path / "alone"))
    embed(atlas=alone, request=OTHER)
    monkeypatch.setattr(processes, "_started", partial(started, commands))
    with DevicesEngine(["cpu", "cpu"], threads=1) as engine:
        assert embed(atlas=half, request=OTHER, engine=engine).embedded == 6
    store = Store.open(half)
    assert contents(store) == contents(Store.open(alone))
    assert types(store) == {pa.float16()}
    now = encoders.current(store, "fov")
    assert now is not None
    assert now.spec.storage == "float16"
    vectors = store.read_vectors(now.table).vectors
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, vectors.astype(np.float16))

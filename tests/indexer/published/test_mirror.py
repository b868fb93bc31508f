"""Copies of a published atlas that are read while the address goes on."""

import gc
from pathlib import Path

import pytest

import locatlas
from locatlas.indexer.index import index
from locatlas.indexer.published import mirror
from locatlas.indexer.published.mirror import mirrored
from locatlas.indexer.published.places import mirrors_of, states_in
from locatlas.indexer.published.reading import is_held
from tests.indexer.made import contents, id_of, write_field
from tests.indexer.published.stores import machine


@pytest.fixture
def reader(plain: None, source: Path, uri: str, tmp_path: Path) -> Path:
    """Home of a machine that only reads; the atlas has its first state."""
    index(source, atlas=uri, dataset="opencell")
    return tmp_path / "reader"


def go_on(source: Path, uri: str, reader: Path, n: int) -> int:
    """Publish another state, and let a short command of the reading machine look at it: its rows."""
    write_field(source, n)
    index(source, atlas=uri, dataset="opencell")
    with machine(reader):
        return locatlas.open(uri).store.count("fovs")


def test_who_reads_a_state_goes_on_however_far_the_address_does_and_what_nobody_reads_is_removed(
    source: Path, uri: str, reader: Path
) -> None:
    with machine(reader):
        server = locatlas.open(uri)
        before, mine = contents(server.store), server.store.folder.path
    assert [go_on(source, uri, reader, n) for n in (41, 42, 43, 44)] == [7, 8, 9, 10]
    gc.collect()
    with machine(reader):
        base = mirrors_of(uri)
        assert mine in [path.resolve() for path in states_in(base)]
        assert len(states_in(base)) == mirror.KEPT + 1
        assert contents(server.store) == before
        assert server.neighbors(id=id_of(2), k=2).num_rows == 2
        del server
        gc.collect()
        assert not is_held(mine)
    go_on(source, uri, reader, 45)
    gc.collect()
    with machine(reader):
        assert len(states_in(base)) == mirror.KEPT
        assert len([*base.glob(".*.reading")]) == mirror.KEPT
    assert not mine.exists()


def test_a_copy_that_is_fetched_again_is_the_same_for_who_reads_it(source: Path, uri: str, reader: Path) -> None:
    with machine(reader):
        server = locatlas.open(uri)
        before = contents(server.store)
        (mirrors_of(uri) / ".of a run that was killed").mkdir()
        again = mirrored(uri, anew=True)
        assert again.path == server.store.folder.path
        assert contents(server.store) == before
        assert [path.name for path in mirrors_of(uri).glob(".*") if path.is_dir()] == []

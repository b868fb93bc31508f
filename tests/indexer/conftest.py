"""An encoder that costs nothing in place of the network, and collections that are made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from locatlas.indexer.store.tables import Store
from tests.indexer.made import PlainEncoder, indexed, write_collection


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs' networks are replaced: what is tested is what becomes of vectors."""
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Six fields, annotated."""
    if "atlas" in request.fixturenames:
        request.getfixturevalue("atlas")
        return tmp_path / "source"
    return write_collection(tmp_path / "source")


@pytest.fixture
def atlas(plain: None, tmp_path: Path) -> Path:
    """An atlas of the six fields, in two commits."""
    return indexed(tmp_path, commit_rows=4)


@pytest.fixture
def store(atlas: Path) -> Store:
    """Its tables."""
    return Store.open(atlas)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """The tables of a new atlas."""
    return Store.create(tmp_path / "empty")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """FAISS on one thread: on tables this small, threads that wait for each other take most of the time."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)

"""A served atlas of made vectors, and one of small images that can be drawn and asked with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.testclient import TestClient

from locatlas.indexer.index import index
from locatlas.query.serve.app import create_app
from tests.indexer.made import PlainEncoder, write_collection
from tests.query.made_atlas import make_atlas


class Encoder(PlainEncoder):
    def encode(self, images, *, batch_size):  # type: ignore[no-untyped-def]
        return self.encode_prepared([self.prepare(image) for image in images])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 fields and 72 cells of 6 proteins, without images."""
    return make_atlas(tmp_path_factory.mktemp("made") / "atlas")


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator[TestClient]:
    with TestClient(create_app(made), base_url="http://localhost", raise_server_exceptions=False) as asked:
        yield asked


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", Encoder)
    monkeypatch.setattr("locatlas.query.query_image._encoder", Encoder)


@pytest.fixture
def fields(tmp_path: Path, encoder: None) -> Path:
    """Six small fields of view, indexed into `atlas` beside them."""
    write_collection(tmp_path / "images")
    index(tmp_path / "images", atlas=tmp_path / "atlas", dataset="opencell")
    return tmp_path


@pytest.fixture
def drawn(fields: Path) -> Iterator[TestClient]:
    with TestClient(
        create_app(fields / "atlas"), base_url="http://localhost", raise_server_exceptions=False
    ) as asked:
        yield asked

"""A served atlas of made vectors, and one of small images that can be drawn and asked with."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locatlas.indexer.index import index
from tests.indexer.made import PlainEncoder, write_collection
from tests.query.made_atlas import make_atlas

if TYPE_CHECKING:
    from starlette.testclient import TestClient  # an extra; the tests are skipped without it


class Encoder(PlainEncoder):
    def encode(self, images, *, batch_size):  # type: ignore[no-untyped-def]
        return self.encode_prepared([self.prepare(image) for image in images])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 fields and 72 cells of 6 proteins, without images."""
    return make_atlas(tmp_path_factory.mktemp("made") / "atlas")


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator["TestClient"]:
    from starlette.testclient import TestClient

    from locatlas.query.serve.app import create_app

    with TestClient(create_app(made), base_url="http://localhost", raise_server_exceptions=False) as asked:
        yield asked


@pytest.fixture(scope="module")
def encoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("locatlas.indexer.job.load_encoder", Encoder)
        patch.setattr("locatlas.query.asking.query_image._encoder", Encoder)
        yield


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory, encoder: None) -> Path:
    """Six small fields of view, indexed into `atlas` beside them; a test that changes them puts them back."""
    folder = tmp_path_factory.mktemp("fields")
    write_collection(folder / "images")
    index(folder / "images", atlas=folder / "atlas", dataset="opencell")
    return folder


@pytest.fixture(scope="module")
def drawn(fields: Path) -> Iterator["TestClient"]:
    from starlette.testclient import TestClient

    from locatlas.query.serve.app import create_app

    with TestClient(create_app(fields / "atlas"), base_url="http://localhost", raise_server_exceptions=False) as asked:
        yield asked

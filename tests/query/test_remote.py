"""A served atlas asked from Python: the façade's tables, errors of the same kinds, uploads."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

pytest.importorskip("fastapi", reason="extra serve is not installed")

import uvicorn

import locatlas
from locatlas.errors import InputError, LocatlasError, UnknownNameError
from locatlas.indexer.index import index
from locatlas.query.remote import RemoteAtlas
from locatlas.query.serve.app import create_app
from locatlas.query.serve.limits import ServeLimits
from tests.indexer.made import PlainEncoder, pixels, write_collection

TOKEN = "a-token-of-a-user"


class Encoder(PlainEncoder):
    def encode(self, images, *, batch_size):  # type: ignore[no-untyped-def]
        return self.encode_prepared([self.prepare(image) for image in images])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("locatlas.indexer.job.load_encoder", Encoder)
        patch.setattr("locatlas.query.asking.query_image._encoder", Encoder)
        write_collection(folder / "images", range(8))
        index(folder / "images", atlas=folder / "atlas", dataset="opencell")
        yield folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    app = create_app(folder / "atlas", token=TOKEN, limits=ServeLimits(upload_bytes=1_000_000))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def there(address: str) -> RemoteAtlas:
    found = locatlas.open(address, token=TOKEN)
    assert isinstance(found, RemoteAtlas)
    return found


@pytest.fixture
def here(folder: Path) -> locatlas.Atlas:
    return locatlas.open(folder / "atlas")


@pytest.mark.parametrize(
    "asked",
    [
        {"protein": "GENE1", "k": 3},
        {"id": "opencell/FID00000002", "exclude": "fov", "exact": True, "where": ["protein!=GENE3"]},
        {"protein": "GENE1", "level": "protein", "where": {"dataset": "opencell"}, "label_source": "inherited"},
    ],
    ids=str,
)
def test_neighbors_and_votes_are_the_same_tables(
    there: RemoteAtlas, here: locatlas.Atlas, asked: dict[str, Any]
) -> None:
    assert there.neighbors(**asked).equals(here.neighbors(**asked), check_metadata=True)
    assert there.classify(**asked).equals(here.classify(**asked), check_metadata=True)


def test_vectors_levels_and_proteins_are_the_same(there: RemoteAtlas, here: locatlas.Atlas) -> None:
    ids, vectors = there.embeddings()
    own_ids, own = here.embeddings()
    assert ids == own_ids
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, own)
    assert there.levels() == here.levels() == ["fov"]
    assert there.proteins().equals(here.proteins(), check_metadata=True)
    assert there.sweep(ks=[1, 2])["n"] == here.sweep(ks=[1, 2]).n
    assert there.protein("GENE1")["n_fovs"] == 1
    assert there.thumbnail("opencell/FID00000001", channels="protein:00ff00", size=32)[:4] == b"RIFF"


def test_a_file_of_this_machine_is_asked_with(there: RemoteAtlas, here: locatlas.Atlas, tmp_path: Path) -> None:
    path = tmp_path / 'a "quoted" näme.tif'
    tifffile.imwrite(path, pixels(50), imagej=True, metadata={"axes": "CYX"})
    asked: dict[str, Any] = {"image": path, "channels": ("nucleus", "protein"), "k": 4, "exclude": "fov"}
    assert there.neighbors(**asked).equals(here.neighbors(**asked))
    mine, own = there.classify(**asked), here.classify(**asked)
    assert mine.schema.equals(own.schema)
    assert mine.drop_columns(["id"]).equals(own.drop_columns(["id"]))
    with pytest.raises(InputError, match="No such file"):
        there.neighbors(image=tmp_path / "none.tif", channels=("protein",))
    with pytest.raises(InputError, match="one query"):
        there.neighbors(image=path, protein="GENE1")
    with pytest.raises(InputError, match="where: not with an image"):
        there.neighbors(image=path, channels=("nucleus", "protein"), where=["dataset=opencell"])


def test_a_file_that_is_too_large_there_is_told(there: RemoteAtlas, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    path.write_bytes(bytes(20_000_000))
    with pytest.raises(InputError, match="at most 1000000 bytes"):
        there.neighbors(image=path, channels=("nucleus", "protein"))


def test_errors_are_of_the_same_kinds(there: RemoteAtlas, address: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown protein 'NOBODY'"):
        there.neighbors(protein="NOBODY")
    with pytest.raises(InputError, match="k = 500"):
        there.neighbors(protein="GENE1", k=500)
    with pytest.raises(InputError, match="one query needed"):
        there.neighbors()
    with pytest.raises(InputError, match="locatlas map"):
        there.points("fov")
    with pytest.raises(LocatlasError, match="a token is needed"):
        locatlas.open(address).neighbors(protein="GENE1")


@pytest.mark.parametrize(
    "wrong",
    [
        "http://",
        "http:///x",
        "http://host:port",
        "http://host/atlas",
        "http://h?token=x",
        "https://u:p@host",
        "HTTP://[",
    ],
)
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(InputError):
        locatlas.open(wrong, token=TOKEN)


def test_a_folder_takes_no_token(folder: Path) -> None:
    with pytest.raises(InputError, match="for the address of a server"):
        locatlas.open(str(folder / "atlas"), token=TOKEN)


class Other(BaseHTTPRequestHandler):
    """A server that is no locatlas."""

    def do_GET(self) -> None:
        self.send_response(418)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_is_none_of_ours_or_not_there_is_told() -> None:
    server = HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    port = server.server_address[1]
    with pytest.raises(LocatlasError, match=r"status 418; is it a `locatlas serve`\?"):
        locatlas.open(f"http://127.0.0.1:{port}").status()
    thread.join()
    server.server_close()
    with pytest.raises(LocatlasError, match="cannot be asked"):
        locatlas.open(f"http://127.0.0.1:{port}").status()

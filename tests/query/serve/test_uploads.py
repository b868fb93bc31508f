"""Uploaded images: the same answer as for a file, limits that hold while bytes come in, nothing kept."""

import asyncio
import io
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

import locatlas
from locatlas.indexer.files.decoding import read_image
from locatlas.query.plain import plain
from locatlas.query.serve.app import create_app
from locatlas.query.serve.limits import ServeLimits
from tests.indexer.made import name_of, pixels

CHANNELS = {"channels": "nucleus,protein"}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where uploads are put; empty afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def tiff(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    out = io.BytesIO()
    tifffile.imwrite(out, array, imagej=True, metadata={"axes": "CYX"})
    return out.getvalue()


def post(client: TestClient, files: Any, **fields: str) -> Any:
    return client.post("/api/v1/query", files=files, data={**CHANNELS, **fields})


def test_an_uploaded_image_gets_the_answers_of_the_file(drawn: TestClient, fields: Path) -> None:
    path = fields / "new.tif"
    path.write_bytes(tiff(pixels(77)))
    with path.open("rb") as stream:
        answer = post(drawn, {"files": ("new.tif", stream)}, k="3")
    assert answer.status_code == 200, answer.text
    said = answer.json()
    atlas = locatlas.open(fields / "atlas")
    asked = {"image": path, "channels": ("nucleus", "protein"), "k": 3}
    own = plain(atlas.neighbors(**asked).to_pylist())
    assert [{name: hit[name] for name in own[0]} for hit in said["neighbors"]["hits"]] == own
    assert said["neighbors"]["query"] == {"image": ["new.tif"]}
    item, wanted = said["classification"]["items"][0], plain(atlas.classify(**asked).to_pylist())[0]
    assert {**item, "id": None} == {**wanted, "id": None}
    assert item["id"] == "new.tif"
    assert said["kept"] == "nothing"


def test_an_upload_is_decoded_and_embedded_once(drawn: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def counted(record: Any) -> Any:
        read.append(record)
        return read_image(record)

    monkeypatch.setattr("locatlas.query.asking.query_image.read_image", counted)
    answer = post(drawn, {"files": ("x.tif", tiff(pixels(79)))})
    assert answer.json()["neighbors"]["hits"]
    assert answer.json()["classification"]["items"]
    assert len(read) == 1


def test_channels_may_come_as_files_of_their_own(drawn: TestClient) -> None:
    planes = []
    for plane in pixels(78, dtype="uint8"):
        out = io.BytesIO()
        Image.fromarray(plane).save(out, "PNG")
        planes.append(out.getvalue())
    both = post(drawn, {"files": ("x.tif", tiff(pixels(78, dtype="uint8")))}, answer="neighbors").json()
    split = post(drawn, [("files", (f"{i}.png", p)) for i, p in enumerate(planes)], answer="neighbors").json()
    assert split["neighbors"]["hits"] == both["neighbors"]["hits"]
    assert split["classification"] is None
    swapped = post(drawn, [("files", (f"{i}.png", p)) for i, p in enumerate(planes[::-1])], answer="neighbors").json()
    assert swapped["neighbors"]["hits"] != both["neighbors"]["hits"]


def test_an_image_of_the_atlas_does_not_meet_itself(drawn: TestClient, fields: Path) -> None:
    data = (fields / "images" / name_of(2)).read_bytes()
    hits = post(drawn, {"files": ("renamed.tif", data)}, exclude="self").json()["neighbors"]["hits"]
    assert len(hits) == 5
    assert "opencell/FID00000002" not in {hit["id"] for hit in hits}


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.tif", b"", "empty"),
        ("a.tif", b"not an image", "not an image"),
        ("../../etc/a.tif", b"II*\0" + b"\0" * 40, "a.tif: "),
        ("a.tif", tiff(pixels(1))[:900], "a.tif: "),
        ("a.tif", tiff(pixels(1, channels=1)[0][None]), "a.tif: "),
    ],
)
def test_a_bad_image_is_refused_by_the_name_it_came_with(
    drawn: TestClient, temporary: Path, name: str, data: bytes, told: str
) -> None:
    answer = post(drawn, {"files": (name, data)})
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert str(temporary) not in answer.text
    assert "etc" not in answer.text


@pytest.mark.parametrize(
    ("files", "said", "status", "told"),
    [
        ({}, {}, 400, "multipart"),
        ({"image": ("a.tif", b"x")}, {}, 400, "fields named files"),
        ({"files": ("a.tif", b"x")}, {"channels": ""}, 422, "channels"),
        ({"files": ("a.tif", b"x")}, {"further": "1"}, 422, "further"),
        ({"files": ("a.tif", b"x")}, {"k": "0"}, 422, "k: "),
        ({"files": ("a.tif", b"x")}, {"pixel_size_um": "nan"}, 422, "pixel_size_um"),
        ({"files": ("a.tif", b"x")}, {"at": "somewhere"}, 400, "Y,X"),
        ({"files": ("a.tif", b"x")}, {"channels": "x" * 20_000}, 400, "maximum size"),
        ([("files", (f"{i}.tif", b"x")) for i in range(9)], {}, 400, "Too many files"),
    ],
)
def test_a_bad_form_is_told(drawn: TestClient, files: Any, said: dict[str, str], status: int, told: str) -> None:
    answer = post(drawn, files or None, **said)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]


@pytest.fixture
def small(fields: Path) -> Iterator[TestClient]:
    app = create_app(fields / "atlas", limits=ServeLimits(upload_bytes=100_000))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def test_an_upload_that_says_that_it_is_too_large_is_not_read(small: TestClient) -> None:
    answer = post(small, {"files": ("a.tif", b"x" * 200_000)})
    assert answer.status_code == 413
    assert "100000 bytes" in answer.json()["error"]


def test_an_upload_without_a_length_is_cut_off_at_the_limit(small: TestClient) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.tif"\r\n\r\n'
        for _ in range(100):
            sent += 10_000
            yield b"x" * 10_000

    answer = small.post("/api/v1/query", content=body(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413


def test_no_more_uploads_come_in_than_may_be_worked_on(fields: Path) -> None:
    app = create_app(fields / "atlas", limits=ServeLimits(heavy_jobs=1, heavy_waiting=1))
    begun = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.tif"\r\n\r\nx'
    head = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/query", "query_string": b"", "headers": head}

    async def ask() -> list[int]:
        end = asyncio.Event()

        async def upload() -> int:
            parts = iter([{"type": "http.request", "body": begun, "more_body": True}])
            said: list[int] = []

            async def receive() -> Any:
                if (part := next(parts, None)) is not None:
                    return part
                await end.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                said.extend([message["status"]] if "status" in message else [])

            with suppress(ClientDisconnect):
                await app({**scope, "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}, receive, send)
            return said[0] if said else 0

        held = [asyncio.create_task(upload()) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert app.state.context.heavy.taken == 0  # they are coming in still
        beyond = await asyncio.wait_for(upload(), 5)
        end.set()
        await asyncio.gather(*held)
        end.clear()
        again = asyncio.create_task(upload())
        await asyncio.sleep(0.05)
        taken_in = not again.done()
        end.set()
        await again
        return [beyond, int(taken_in)]

    assert asyncio.run(ask()) == [503, 1]


def test_a_decompression_bomb_is_refused(drawn: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", "ratio_free_bytes=1M")
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((2, 1000, 1000), np.uint16), compression="zlib", rowsperstrip=1000)
    assert len(out.getvalue()) * 200 < 2 * 2 * 10**6
    answer = post(drawn, {"files": ("bomb.tif", out.getvalue())})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("bomb.tif: ")


def test_vectors_that_were_imported_take_no_new_image(client: TestClient) -> None:
    answer = post(client, {"files": ("a.tif", tiff(pixels(1)))})
    assert answer.status_code == 400
    assert "imported" in answer.json()["error"]

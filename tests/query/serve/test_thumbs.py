"""Pictures over HTTP, against pixels that are composed by hand."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.testclient import TestClient

import locatlas
from locatlas.indexer.files.thumbnails import thumbnail, value_range
from locatlas.query.serve.app import create_app
from locatlas.types import ChannelImage
from tests.indexer.made import name_of
from tests.indexer.made_cells import write_cells

FIELD = "/thumb/opencell/FID00000003"


def drawn_as(data: bytes) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)


def test_a_picture_has_the_colours_and_the_contrast_that_are_asked_for(drawn: TestClient, fields: Path) -> None:
    answer = drawn.get(FIELD, params={"channels": "protein:ff0000", "low": 10, "high": 90, "size": 40})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-locatlas-pixels"] == "source"
    plane = tifffile.imread(fields / "images" / name_of(3))[1].astype(float)
    low, high = np.percentile(plane, (10, 90))
    red = np.clip((plane - low) / (high - low), 0, 1) * 255
    expected = np.stack([red, 0 * red, 0 * red], axis=-1)
    found = drawn_as(answer.content)
    assert found.shape == expected.shape
    # WebP is lossy and halves the resolution of colour: compared as its own encoder has the same pixels
    out = io.BytesIO()
    Image.fromarray((expected + 0.5).astype(np.uint8)).save(out, "WEBP", quality=80, method=4)
    assert np.abs(found - drawn_as(out.getvalue())).max() <= 2


def test_without_a_look_it_is_the_usual_picture_at_the_size(drawn: TestClient, fields: Path) -> None:
    image = ChannelImage(tifffile.imread(fields / "images" / name_of(3)), ("nucleus", "protein"))
    ranges = [value_range(plane) for plane in image.pixels]
    assert drawn.get(FIELD, params={"size": 20}).content == thumbnail(image, edge_px=20, ranges=ranges)
    assert drawn_as(drawn.get(FIELD, params={"size": 20}).content).shape == (20, 20, 3)


def test_a_browser_may_keep_a_picture_whose_address_has_its_digest(drawn: TestClient) -> None:
    digest = drawn.get("/api/v1/images/opencell/FID00000003").json()["digest"]
    kept = drawn.get(FIELD, params={"v": digest})
    assert "immutable" in kept.headers["cache-control"]
    plain = drawn.get(FIELD)
    assert plain.headers["cache-control"] == "private, no-cache"
    same = drawn.get(FIELD, headers={"if-none-match": plain.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    other = drawn.get(FIELD, params={"low": 5}, headers={"if-none-match": plain.headers["etag"]})
    assert other.status_code == 200
    assert "immutable" not in drawn.get(FIELD, params={"v": "other"}).headers["cache-control"]


def test_the_stored_thumbnail_stands_in_where_the_image_is_gone_or_changed(drawn: TestClient, fields: Path) -> None:
    path = fields / "images" / name_of(3)
    stored = locatlas.open(fields / "atlas").store.read_rows("fovs", ["opencell/FID00000003"], ["id", "thumbnail"])
    data = path.read_bytes()
    path.unlink()
    gone = drawn.get(FIELD)
    assert gone.content == stored["thumbnail"][0].as_py()
    assert gone.headers["x-locatlas-pixels"] == "thumbnail"
    assert gone.headers["x-locatlas-reason"] == f"opencell/{name_of(3)}: no such file"  # below its root
    assert gone.headers["cache-control"] == "no-store"
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "changed since" in drawn.get(FIELD).headers["x-locatlas-reason"]
    path.write_bytes(data)
    assert drawn.get(FIELD).headers["x-locatlas-pixels"] == "source"


def test_without_image_and_thumbnail_the_reason_is_told(client: TestClient) -> None:
    answer = client.get("/thumb/d/10")
    assert answer.status_code == 422
    assert "d/10" in answer.json()["error"]


@pytest.mark.parametrize(
    ("params", "status", "told"),
    [
        ({"channels": "er:ff0000"}, 400, "has no channel 'er'; it has nucleus, protein"),
        ({"channels": "protein:red"}, 400, "six hexadecimal digits"),
        ({"channels": "protein:+1+2+3"}, 400, "six hexadecimal digits"),
        ({"channels": "protein,protein"}, 400, "named twice"),
        ({"low": "90", "high": "10"}, 400, "low must be below high"),
        ({"low": "nan"}, 422, "low"),
        ({"high": "101"}, 422, "high"),
        ({"size": "100000"}, 422, "size"),
        ({"size": "0"}, 422, "size"),
    ],
)
def test_a_look_that_is_none_is_told(drawn: TestClient, params: dict[str, str], status: int, told: str) -> None:
    answer = drawn.get(FIELD, params=params)
    assert answer.status_code == status
    assert told in answer.json()["error"]


def test_a_cell_is_cut_out_of_its_field_with_the_contrast_of_the_field(tmp_path: Path) -> None:
    write_cells(tmp_path)
    client = TestClient(create_app(tmp_path / "atlas"), base_url="http://localhost")
    ids = [one["id"] for one in client.get("/api/v1/proteins/P1").json()["images"] if one["level"] == "cell"]
    assert len(ids) == 4
    means = []
    for image_id in ids:
        answer = client.get(f"/thumb/{image_id}", params={"channels": "nucleus:ffffff", "low": 0, "high": 100})
        assert answer.headers["x-locatlas-pixels"] == "source"
        picture = drawn_as(answer.content)
        assert picture.shape == (33, 33, 3)  # boxes of 22, with half as much again
        means.append(picture[12:20, 12:20].mean())
    # nuclei of 100, 200, 300 and 400 in a field that goes from 100 to 400
    assert np.allclose(means, [0, 85, 170, 255], atol=3)

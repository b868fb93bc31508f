"""Pictures show the cell that is meant, from the source where it is what was indexed, and say so where it is not."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from locatlas.indexer.annotation.pictures import GAP_PX, OUTLINE, Picture, paint, pictures
from locatlas.indexer.files.images import read_image
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.types import ChannelImage
from tests.indexer.made_cells import write_cells

CROP = CropPlan(size_um=12, blank=True, border="drop")  # 24 px of 0.5 um


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_cells(tmp_path, 2)


def rgb(picture: Picture) -> NDArray[np.uint8]:
    assert picture.png is not None
    return np.asarray(Image.open(io.BytesIO(picture.png)))


def made(store: Store, *ids: str, level: str = "cell", edge_px: int = 24) -> dict[str, Picture]:
    return {p.id: p for p in pictures(store, level, ids, crop=CROP, edge_px=edge_px)}


def test_the_square_around_the_cell_with_its_protein_beside_it(store: Store) -> None:
    found = made(store, "x/f0/1", "x/f0/4", "x/f1/2")
    assert {p.origin for p in found.values()} == {"source"}
    for name, number in (("x/f0/1", 1), ("x/f0/4", 4), ("x/f1/2", 2)):
        shown = rgb(found[name])
        assert shown.shape == (24, 24 + GAP_PX + 24, 3)
        # nuclei are 100 times the cell's number, between the percentiles 100 and 400 of the field
        assert abs(int(shown[12, 12, 2]) - (number - 1) * 85) <= 1
    assert (rgb(found["x/f0/1"])[:, 24 : 24 + GAP_PX] == 0).all()


def test_the_cell_is_outlined_outside_of_its_mask_and_neighbors_are_shown(store: Store) -> None:
    # cell 1 covers rows and columns 1 to 22, its centroid is 11.5: the square starts at 0
    shown = rgb(made(store, "x/f0/1", edge_px=24)["x/f0/1"])[:, :24]
    assert not (shown[1:23, 1:23] == OUTLINE).all(axis=-1).any(), "the line covers nothing of the cell"
    wide = {p.id: p for p in pictures(store, "cell", ["x/f0/1"], crop=CropPlan(size_um=20), edge_px=40)}
    shown = rgb(wide["x/f0/1"])[:, :40]
    line = (shown == OUTLINE).all(axis=-1)
    assert 10 < line.sum() < 120
    rows, columns = np.nonzero(line)
    # the square of 40 px starts at -8, so the cell covers 9 to 30; the line is two pixels away
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 33, 6, 33)
    assert shown[20, 38, 2] == 85, "the neighbor's nucleus, 200 between 100 and 400"


def test_an_unknown_pixel_size_gives_a_square_of_the_cells_own_size(tmp_path: Path) -> None:
    store = write_cells(tmp_path, 1, pixel_size_um=None)
    found = made(store, "x/f0/1", edge_px=512)["x/f0/1"]
    assert found.origin == "source"
    assert rgb(found).shape[0] == 33 * (512 // 33)  # 1.5 times 22 px, enlarged by a whole number


def test_a_field_is_shown_whole_without_a_line(store: Store) -> None:
    found = made(store, "x/f0", level="fov", edge_px=24)["x/f0"]
    shown = rgb(found)
    assert shown.shape[0] == 24
    assert not (shown == OUTLINE).all(axis=-1).any()


def test_a_source_that_is_gone_or_changed_gives_way_to_the_stored_thumbnail(store: Store) -> None:
    folder = store.folder.root_path("images")
    (folder / "f0.tif").unlink()
    (folder / "f1.tif").write_bytes((folder / "f1.tif").read_bytes() + b"\0")
    found = made(store, "x/f0/1", "x/f1/1")
    assert [found[i].origin for i in ("x/f0/1", "x/f1/1")] == ["thumbnail", "thumbnail"]
    assert (found["x/f0/1"].reason or "").endswith("f0.tif: no such file")
    assert (found["x/f1/1"].reason or "").endswith("f1.tif: changed since it was indexed")
    assert rgb(found["x/f0/1"]).shape == (16, 16, 3)


def test_without_source_and_thumbnail_there_is_no_picture(store: Store) -> None:
    row = store.read_rows("cells", ["x/f0/1"]).to_pylist()[0]
    store.upsert("cells", image_rows([{**row, "thumbnail": None, "sources": []}], "cell"))
    (found,) = made(store, "x/f0/1").values()
    assert (found.png, found.origin) == (None, "nothing")
    assert "has no image" in (found.reason or "")


def test_each_field_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(record: ImageRecord) -> tuple[ChannelImage, str]:
        read.append(record.id)
        return read_image(record)

    monkeypatch.setattr("locatlas.indexer.annotation.pictures.read_image", counted)
    assert len(made(store, *(f"x/f{n}/{c}" for n in range(2) for c in range(1, 5)))) == 8
    assert len(read) == 2


def test_no_ids_make_no_pictures(store: Store) -> None:
    assert made(store) == {}
    assert made(store, "x/absent") == {}


def test_one_channel_is_one_panel_and_a_flat_one_black() -> None:
    plane = np.array([[[0, 10], [20, np.nan]]], np.float32)
    grey = paint(ChannelImage(plane, ("other",)), [(0.0, 20.0)], edge_px=2)
    assert grey[..., 0].tolist() == [[0, 128], [255, 0]]
    assert grey.shape == (2, 2, 3)
    green = paint(ChannelImage(plane, ("protein",)), [(0.0, 20.0)], edge_px=4)
    assert green.shape == (4, 4, 3)
    assert green[0, 2].tolist() == [0, 128, 0]
    assert not paint(ChannelImage(plane, ("protein",)), [(3.0, 3.0)], edge_px=2).any()

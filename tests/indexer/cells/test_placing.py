"""Rows of a table as regions: boxes, centres, encodings, labels joined to masks; what lies outside is refused."""

import base64
import re
import zlib

import numpy as np
import pytest
from pycocotools import _mask as coco

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.placing import labelled, overlap_px, placed
from locatlas.indexer.cells.regions import regions_of
from locatlas.indexer.cells.tables import CellRow
from locatlas.types import ChannelImage

SIZE = {"height": 20, "width": 30}


def encoded(mask: np.ndarray) -> str:
    counts = coco.encode(np.asfortranarray(mask[..., None].astype(np.uint8)))[0]["counts"]
    return base64.b64encode(zlib.compress(counts)).decode()


def square(top: int, left: int, edge: int) -> np.ndarray:
    out = np.zeros((20, 30), dtype=bool)
    out[top : top + edge, left : left + edge] = True
    return out


def test_a_box_without_a_centre_has_it_in_its_middle_pixel() -> None:
    (cell,) = placed([CellRow(2, box=(2, 3, 7, 14), area_px=40)], **SIZE)
    ys, xs = np.mgrid[2:7, 3:14]
    assert cell.place.centroid == (ys.mean(), xs.mean())
    assert (cell.name, cell.area_px, cell.place.mask, cell.place.nucleus_centroid) == ("1", 40, None, None)


def test_a_centre_without_a_box_has_the_pixel_that_holds_it() -> None:
    (cell,) = placed([CellRow(2, name="x", centroid=(19.49, 0.2))], **SIZE)
    assert cell.place.box == (19, 0, 20, 1)
    assert cell.place.centroid == pytest.approx((19.49, 0.2))
    assert (cell.area_px, cell.place.touches_border) == (None, True)


def test_a_table_of_nuclei_gives_their_centres() -> None:
    (cell,) = placed([CellRow(2, nucleus=(4, 5), size=(20, 30))], **SIZE)
    assert cell.place.centroid == cell.place.nucleus_centroid == (4, 5)


@pytest.mark.parametrize(
    ("box", "touches"),
    [((1, 1, 19, 29), False), ((0, 1, 5, 5), True), ((1, 0, 5, 5), True), ((1, 1, 20, 5), True), ((1, 1, 5, 30), True)],
)
def test_boxes_at_the_edge_touch_it(box, touches: bool) -> None:
    assert placed([CellRow(2, box=box)], **SIZE)[0].place.touches_border is touches


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (CellRow(7, name="3", box=(0, 0, 21, 5)),
         "line 7, cell '3': its box (rows 0 to 21, columns 0 to 5) leaves the image of 20 x 30 px"),
        (CellRow(7, box=(-1, 0, 5, 5)), "line 7: its box (rows -1 to 5, columns 0 to 5) leaves the image"),
        (CellRow(7, centroid=(19.5, 3)),
         "line 7: its centre (row 19.5, column 3) lies outside of the image of 20 x 30 px"),
        (CellRow(7, centroid=(1, 1), nucleus=(1, 400)), "its nucleus (row 1, column 400) lies outside"),
        (CellRow(7, box=(0, 0, 5, 5), size=(600, 600)),
         "line 7: made for a field of 600 x 600 px; the image has 20 x 30 px"),
        (CellRow(7, name="3"), "neither a box nor a centre is given, and the field has no mask"),
        (CellRow(7, runs="1 3 10"), "line 7: 3 numbers, so a start has no length"),
        (CellRow(7, runs="595 10"), "run 1 ends at pixel 604, but the image has 600"),
        (CellRow(7, prediction="0 1"), "line 7: 2 words; it must come in threes"),
        (CellRow(7, prediction="0 1 garbage"), "line 7: PredictionString, encoding 1: not base64"),
        (CellRow(7, prediction=f"0 1 {encoded(square(1, 1, 3))} 1 1 {encoded(np.ones((5, 5)))}"),
         "line 7: PredictionString, encoding 2: its runs cover 25 pixels, but the image has 600"),
        (CellRow(7, prediction=f"0 1 {encoded(np.zeros((20, 30)))}"), "encoding 1: it has no pixel"),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_is_told_with_its_line(row: CellRow, reason: str) -> None:
    with pytest.raises(ImageRejectedError, match=re.escape(reason)):
        placed([CellRow(2, box=(0, 0, 5, 5)), row], **SIZE)


def test_encoded_cells_are_those_of_the_label_image() -> None:
    labels = np.zeros((20, 30), dtype=np.int32)
    labels[2:9, 3:8], labels[9:15, 3:20], labels[0, 29] = 1, 2, 3
    expected = regions_of(labels)
    prediction = " ".join(f"{n} 0.5 {encoded(labels == n)}" for n in (1, 2, 3))
    found = placed([CellRow(2, prediction=prediction, size=(20, 30))], **SIZE)
    assert [(r.name, r.area_px, r.place.box, r.place.touches_border) for r in found] == [
        (r.name, r.area_px, r.place.box, r.place.touches_border) for r in expected
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.place.centroid, other.place.centroid)
        np.testing.assert_array_equal(one.place.mask, other.place.mask)


def test_cells_that_overlap_keep_all_of_their_pixels_and_are_counted() -> None:
    one, other = square(2, 2, 6), square(6, 6, 5)
    found = placed([CellRow(2, prediction=f"0 1 {encoded(one)} 0 1 {encoded(other)}")], **SIZE)
    assert [r.area_px for r in found] == [36, 25]
    assert overlap_px(found, **SIZE) == int((one & other).sum()) == 4


def test_a_name_twice_in_two_rows_is_told() -> None:
    with pytest.raises(ImageRejectedError, match="line 3, cell '1': cell '1' stands in line 2 already"):
        placed([CellRow(2, centroid=(1, 1)), CellRow(3, name="1", centroid=(2, 2))], **SIZE)


class TestJoined:
    @pytest.fixture
    def regions(self):
        labels = np.zeros((20, 30), dtype=np.int32)
        labels[2:9, 3:8], labels[9:15, 3:20] = 1, 17
        return regions_of(labels)

    def test_labels_go_to_the_cell_of_the_name(self, regions) -> None:
        rows = [CellRow(2, name="17", box=(9, 3, 15, 20), localizations=("er",), annotated_by="JD")]
        one, other = labelled(regions, rows)
        assert (one.localizations, one.annotated_by) == (None, None)
        assert (other.localizations, other.annotated_by) == (("er",), "JD")
        np.testing.assert_array_equal(other.place.mask, regions[1].place.mask)

    def test_a_cell_that_the_mask_does_not_have_is_told(self, regions) -> None:
        with pytest.raises(ImageRejectedError, match="line 5: cell '2' is not in the mask, which has 1, 17"):
            labelled(regions, [CellRow(5, name="2")])

    def test_numbers_of_another_mask_are_noticed_by_their_places(self, regions) -> None:
        with pytest.raises(ImageRejectedError, match="line 5: cell '17' lies elsewhere in the mask"):
            labelled(regions, [CellRow(5, name="17", box=(2, 3, 9, 8), localizations=(), annotated_by="JD")])


def test_what_is_placed_can_be_cut() -> None:
    from locatlas.models.crops import CropPlan, cut

    image = ChannelImage(np.arange(600, dtype=np.uint16).reshape(1, 20, 30), ("nucleus",))
    for row in (CellRow(2, centroid=(10, 12)), CellRow(2, box=(8, 10, 13, 15)), CellRow(2, runs="250 3")):
        (cell,) = placed([row], **SIZE)
        crop = cut(image, cell.place, CropPlan(size_px=5))
        assert crop.pixels.shape == (1, 5, 5)

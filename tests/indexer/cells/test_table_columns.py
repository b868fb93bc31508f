"""Which columns say where cells are: the names that tools write, and what is refused."""

from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.indexer.cells.table_columns import find_columns

TABLE = Path("cells.csv")


@pytest.mark.parametrize(
    ("header", "field", "cell", "expected"),
    [
        ("fov,cell,top,left,bottom,right,area_px,touches_border,mitotic", "fov", "cell",
         {"box": "top left bottom right"}),
        ("image,cell_id,x1,y1,x2,y2", "image", "cell_id", {"box": "y1 x1 y2 x2"}),
        ("fov,label,bbox-0,bbox-1,bbox-2,bbox-3,centroid-0,centroid-1", "fov", "label",
         {"box": "bbox-0 bbox-1 bbox-2 bbox-3", "centroid": "centroid-0 centroid-1"}),
        ("id,x,y,width,height", "id", None, {"corner": "y x height width"}),
        ("id,y,x", "id", None, {"centroid": "y x"}),
        ("fov,centroid_y,centroid_x,nucleus_y,nucleus_x", "fov", None,
         {"centroid": "centroid_y centroid_x", "nucleus": "nucleus_y nucleus_x"}),
        ("fov,top,left,bottom,right,y,x", "fov", None, {"box": "top left bottom right", "centroid": "y x"}),
        ("image,cell_id,orig_img_width,orig_img_height,orig_center_x,orig_center_y,orig_nuc_area", "image", "cell_id",
         {"nucleus": "orig_center_y orig_center_x", "size": "orig_img_height orig_img_width"}),
        ("ImageId,EncodedPixels", "ImageId", None, {"runs": "EncodedPixels"}),
        ("ID,ImageID,ImageWidth,ImageHeight,PredictionString", "ImageID", None,
         {"prediction": "PredictionString", "size": "ImageHeight ImageWidth"}),
        ("fov,cell,localizations,annotated_by", "fov", "cell", {"labels": "localizations annotated_by"}),
    ],
)  # fmt: skip
def test_columns_are_known_by_the_names_that_tools_give_them(header: str, field: str, cell, expected: dict) -> None:
    found = find_columns(header.split(","), TABLE)
    assert found.field == (field,)
    assert found.cell == cell
    for name in ("box", "corner", "centroid", "nucleus", "size", "runs", "prediction", "labels"):
        value = getattr(found, name)
        assert (value if isinstance(value, str) else " ".join(value or ())) == expected.get(name, "")


def test_three_columns_of_hpa_name_the_field() -> None:
    columns = ["cell_id", "x1", "y1", "x2", "y2", "if_plate_id", "position", "sample"]
    assert find_columns(columns, TABLE).field == ("if_plate_id", "position", "sample")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("cell,top,left,bottom,right", "no column names the field of view"),
        ("fov,cell,area_px", "says of no cell where it is: top,left,bottom,right, or x,y,width,height"),
        ("fov,localizations,annotated_by", "says of no cell where it is"),
        ("fov,top,left,right", "has top, left, right but not bottom"),
        ("fov,x,y,width", "has y, x, width but not height"),
        ("fov,y", "has y but not x"),
        ("fov,y,x,localizations", "has localizations but not annotated_by"),
        (
            "fov,top,left,bottom,right,x,y,width,height",
            "boxes are given twice, by top,left,bottom,right and y,x,height",
        ),
    ],
)
def test_a_table_that_says_too_little_is_refused_in_one_line(header: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^cells.csv: {reason}"):
        find_columns(header.split(","), TABLE)

"""Which columns of a table say where cells are: names that tools write, and how they belong together. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from locatlas.errors import InputError

__all__ = ["CellColumns", "find_columns"]

# The first that a table has names the field. `ImageId` and `ImageID` are Kaggle's, `image` is CZI's.
FIELD = ("fov", "fov_id", "image", "ImageID", "ImageId", "id")
# HPA's image table, which CZI's cell_bbox tables repeat: the field is {if_plate_id}_{position}_{sample}.
HPA_FIELD = ("if_plate_id", "position", "sample")
CELL = ("cell", "cell_id", "label")
# Top, left, bottom, right; the last two behind the cell. x1.. are those of CZI's cell_bbox.csv (CellProfiling/
# subcell-analysis, make_crops.py), bbox-0.. those of skimage's regionprops_table.
BOXES = (("top", "left", "bottom", "right"), ("y1", "x1", "y2", "x2"), ("bbox-0", "bbox-1", "bbox-2", "bbox-3"))
CORNER = ("y", "x", "height", "width")
CENTROIDS = (("centroid_y", "centroid_x"), ("centroid-0", "centroid-1"), ("y", "x"))
NUCLEI = (
    ("nucleus_y", "nucleus_x"),
    # czi-ai/subcell-evaluation-data (convert_opencell_stardist.py): centres of segmented nuclei
    ("orig_center_y", "orig_center_x"),
)
SIZES = (("ImageHeight", "ImageWidth"), ("orig_img_height", "orig_img_width"))
RUNS = ("EncodedPixels", "encoded_pixels", "rle")
PREDICTION = "PredictionString"
LABELS = ("localizations", "annotated_by")


@dataclass(frozen=True, slots=True)
class CellColumns:
    """The columns of a table that are read; () or None for what it does not have.

    Attributes:
        field: One column, or the three of HPA's tables, whose values are joined by "_".
        cell: Name of the cell.
        box: Top, left, bottom, right.
        corner: y, x, height, width of the box.
        centroid: y, x of the cell.
        nucleus: y, x of its nucleus.
        size: Height, width of the field.
        area: Pixels of the cell.
        runs: One cell's mask in Kaggle's classic encoding.
        prediction: All cells' masks in Kaggle's encoding of 2021.
        labels: Localizations, annotator.
    """

    field: tuple[str, ...]
    cell: str | None
    box: tuple[str, ...]
    corner: tuple[str, ...]
    centroid: tuple[str, ...]
    nucleus: tuple[str, ...]
    size: tuple[str, ...]
    area: str | None
    runs: str | None
    prediction: str | None
    labels: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """All columns that say where a cell is."""
        single = tuple(c for c in (self.runs, self.prediction) if c)
        return self.box + self.corner + self.centroid + self.nucleus + single

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that are read."""
        single = tuple(c for c in (self.cell, self.area) if c)
        return self.field + single + self.places + self.size + self.labels


def find_columns(columns: Sequence[str], path: Path) -> CellColumns:
    """What a table's columns mean.

    Args:
        columns: Their names.
        path: The table, for the message.

    Raises:
        InputError: If no column names the field, none says where cells are or what they are, columns that belong
            together are not all there, or boxes are given twice.
    """
    corner = _whole(columns, CORNER, path) if {"width", "height"} & set(columns) else ()
    boxes = [names for names in BOXES if _whole(columns, names, path)]
    if len(boxes) + bool(corner) > 1:
        both = " and ".join(",".join(names) for names in (*boxes, *((corner,) if corner else ())))
        message = f"{path}: boxes are given twice, by {both}"
        raise InputError(message)
    places = CENTROIDS if not corner else CENTROIDS[:-1]
    found = CellColumns(
        field=_field(columns, path),
        cell=_first(columns, CELL),
        box=boxes[0] if boxes else (),
        corner=corner,
        centroid=_first_whole(columns, places, path),
        nucleus=_first_whole(columns, NUCLEI, path),
        size=_first_whole(columns, SIZES, path),
        area="area_px" if "area_px" in columns else None,
        runs=_first(columns, RUNS),
        prediction=PREDICTION if PREDICTION in columns else None,
        labels=_whole(columns, LABELS, path),
    )
    if not found.places and not (found.cell and found.labels):
        message = (
            f"{path}: says of no cell where it is: top,left,bottom,right, or x,y,width,height, or "
            f"centroid_y,centroid_x, or {RUNS[0]}, or {PREDICTION} is needed; columns: {', '.join(columns)}"
        )
        raise InputError(message)
    return found


def _field(columns: Sequence[str], path: Path) -> tuple[str, ...]:
    if (one := _first(columns, FIELD)) is not None:
        return (one,)
    if set(HPA_FIELD) <= set(columns):
        return HPA_FIELD
    message = f"{path}: no column names the field of view ({', '.join(FIELD)}); columns: {', '.join(columns)}"
    raise InputError(message)


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _whole(columns: Sequence[str], names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """The names if all are there, () if none is."""
    missing = [name for name in names if name not in columns]
    if missing and len(missing) < len(names):
        message = f"{path}: has {', '.join(n for n in names if n in columns)} but not {', '.join(missing)}"
        raise InputError(message)
    return () if missing else names


def _first_whole(columns: Sequence[str], sets: Sequence[tuple[str, ...]], path: Path) -> tuple[str, ...]:
    return next((found for names in sets if (found := _whole(columns, names, path))), ())

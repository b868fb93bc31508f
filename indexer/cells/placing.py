"""Regions of the cells that a table names, checked against the size of their field. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.regions import Region
from locatlas.indexer.cells.rle import decode_coco, decode_runs, mask_of, split_prediction
from locatlas.indexer.cells.tables import CellRow
from locatlas.models.crops import Place

__all__ = ["labelled", "overlap_px", "placed"]


def placed(rows: Sequence[CellRow], *, height: int, width: int) -> list[Region]:
    """The regions of a field's rows, in their order. Cells without a name are numbered from 1.

    Of a cell with only a centre the box is the pixel that holds it. A table of nuclei gives their centres as those of
    the cells. Encoded masks may overlap: each cell keeps all of its own pixels.

    Args:
        rows: From one table.
        height: Of the field, pixels.
        width: The same.

    Raises:
        ImageRejectedError: Naming the line: the row has no place, lies outside of the field, was made for a field of
            another size, or its encoding is damaged. Does not name the table.
    """
    out: list[Region] = []
    names: dict[str, int] = {}
    for row in rows:
        try:
            if row.size is not None and row.size != (height, width):
                found = f"{row.size[0]} x {row.size[1]}"
                _refuse(f"made for a field of {found} px; the image has {height} x {width} px")
            for region in _regions(row, first=len(out) + 1, height=height, width=width):
                if region.name in names:
                    _refuse(f"cell {region.name!r} stands in line {names[region.name]} already")
                names[region.name] = row.line
                out.append(region)
        except ImageRejectedError as error:
            cell = f", cell {row.name!r}" if row.name else ""
            message = f"line {row.line}{cell}: {error}"
            raise ImageRejectedError(message) from error
    return out


def _regions(row: CellRow, *, first: int, height: int, width: int) -> list[Region]:
    n_pixels = height * width
    if row.prediction is not None:
        regions = []
        for number, text in enumerate(split_prediction(row.prediction), start=first):
            try:
                runs = decode_coco(text, n_pixels=n_pixels)
                if not len(runs[0]):
                    _refuse("it has no pixel")
            except ImageRejectedError as error:
                _refuse(f"PredictionString, encoding {number - first + 1}: {error}")
            box, mask = mask_of(runs, height=height, width=width)
            regions.append(_masked(replace(row, name=str(number)), box, mask, height=height, width=width))
        return regions
    name = row.name or str(first)
    if row.runs is not None:
        runs = decode_runs(row.runs, n_pixels=n_pixels)
        box, mask = mask_of(runs, height=height, width=width)
        return [_masked(replace(row, name=name), box, mask, height=height, width=width)]
    place, area = _place(row, height=height, width=width), row.area_px
    return [Region(name, place, area, row.localizations, row.annotated_by)]


def _masked(row: CellRow, box: tuple[int, int, int, int], mask: np.ndarray, *, height: int, width: int) -> Region:
    rows, columns = np.nonzero(mask)
    place = Place(
        box=box,
        centroid=(float(rows.mean()) + box[0], float(columns.mean()) + box[1]),
        nucleus_centroid=row.nucleus,
        touches_border=_touches(box, height=height, width=width),
        mask=mask,
    )
    return Region(str(row.name), place, len(rows), row.localizations, row.annotated_by)


def _place(row: CellRow, *, height: int, width: int) -> Place:
    box = row.box
    centroid = row.centroid
    if box is not None:
        if box[0] < 0 or box[1] < 0 or box[2] > height or box[3] > width:
            _refuse(
                f"its box (rows {box[0]} to {box[2]}, columns {box[1]} to {box[3]}) leaves the image of "
                f"{height} x {width} px"
            )
        centroid = centroid or ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2)
    centroid = centroid or row.nucleus
    if centroid is None:
        _refuse("neither a box nor a centre is given, and the field has no mask")
    for what, point in (("centre", centroid), ("nucleus", row.nucleus)):
        if point is not None and not (-0.5 <= point[0] < height - 0.5 and -0.5 <= point[1] < width - 0.5):
            where = f"row {point[0]:g}, column {point[1]:g}"
            _refuse(f"its {what} ({where}) lies outside of the image of {height} x {width} px")
    if box is None:
        top, left = math.floor(centroid[0] + 0.5), math.floor(centroid[1] + 0.5)
        box = (top, left, top + 1, left + 1)
    return Place(
        box=box,
        centroid=centroid,
        nucleus_centroid=row.nucleus,
        touches_border=_touches(box, height=height, width=width),
        mask=None,
    )


def _touches(box: tuple[int, int, int, int], *, height: int, width: int) -> bool:
    return box[0] == 0 or box[1] == 0 or box[2] == height or box[3] == width


def labelled(regions: Sequence[Region], rows: Sequence[CellRow]) -> list[Region]:
    """The regions of a mask with what a table says of the same cells, by name.

    Where a row also says where its cell is, its centre must lie in the box of the region of that name: else the
    table's numbers are not those of the mask.

    Raises:
        ImageRejectedError: Naming the line: a cell that the mask does not have, or that lies elsewhere.
    """
    by_name = {region.name: region for region in regions}
    said: dict[str, CellRow] = {}
    for row in rows:
        region = by_name.get(row.name or "")
        if region is None:
            known = ", ".join(list(by_name)[:10]) + (", ..." if len(by_name) > 10 else "")
            _refuse(f"line {row.line}: cell {row.name!r} is not in the mask, which has {known or 'no cells'}")
        if not _agrees(row, region):
            top, left, bottom, right = region.place.box
            _refuse(
                f"line {row.line}: cell {row.name!r} lies elsewhere in the mask (rows {top} to {bottom}, columns "
                f"{left} to {right}); are the numbers those of another mask?"
            )
        said[region.name] = row
    return [_with(region, said.get(region.name)) for region in regions]


def _agrees(row: CellRow, region: Region) -> bool:
    point = row.centroid or row.nucleus
    if row.box is not None:
        point = ((row.box[0] + row.box[2] - 1) / 2, (row.box[1] + row.box[3] - 1) / 2)
    top, left, bottom, right = region.place.box
    return point is None or (top - 0.5 <= point[0] <= bottom - 0.5 and left - 0.5 <= point[1] <= right - 0.5)


def _with(region: Region, row: CellRow | None) -> Region:
    if row is None:
        return region
    nucleus = region.place.nucleus_centroid or row.nucleus
    place = replace(region.place, nucleus_centroid=nucleus)
    return replace(region, place=place, localizations=row.localizations, annotated_by=row.annotated_by)


def overlap_px(regions: Sequence[Region], *, height: int, width: int) -> int:
    """Pixels that more than one mask holds."""
    owners = np.zeros((height, width), dtype=np.uint8)
    for region in regions:
        if region.place.mask is not None:
            top, left, bottom, right = region.place.box
            part = owners[top:bottom, left:right]
            part[...] = np.minimum(part + region.place.mask, 2)
    return int((owners == 2).sum())


def _refuse(reason: str) -> NoReturn:
    raise ImageRejectedError(reason)

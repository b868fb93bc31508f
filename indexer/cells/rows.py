"""Rows of the `cells` table for cells that are cut out of a field. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from locatlas.indexer.cells.quality import cell_quality
from locatlas.indexer.cells.regions import Region, cell_digest, pack
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.rows import METADATA_COLUMNS
from locatlas.models.crops import Place
from locatlas.types import ChannelImage

__all__ = ["INHERITED", "cell_id", "cell_row", "source_digest_of_cell"]

INHERITED = tuple(column for column in METADATA_COLUMNS if column != "nucleus_mask")
"""Columns that a cell has from its field."""


def cell_id(fov_id: str, segmenter: str, name: str) -> str:
    """`<fov id>/<name>` for cells of given masks, `<fov id>/<segmenter id>/<name>` for those that were computed.

    So a cell that a segmenter numbered 17 is never taken for the 17th of another segmenter, or of other parameters.
    """
    return f"{fov_id}/{name}" if segmenter == "given" else f"{fov_id}/{segmenter}/{name}"


def source_digest_of_cell(fov_digest: str, record: ImageRecord, place: Place) -> str:
    """Digest of all that a cell's crops are made from, blake2b-128 in hex.

    Args:
        fov_digest: Of the field's bytes.
        record: Of the field, or of a cell in it: what its planes mean, and its pixel size, which decides a crop of a
            given physical size.
        place: Where the cell lies.
    """
    said = json.dumps([[list(s.channels) for s in record.sources], record.row, record.pixel_size_um])
    field = hashlib.blake2b(bytes.fromhex(fov_digest) + said.encode(), digest_size=16).hexdigest()
    return cell_digest(field, place)


def cell_row(
    fov: Mapping[str, Any], record: ImageRecord, image: ChannelImage, region: Region, segmenter: str, thumbnail: bytes
) -> dict[str, Any]:
    """The row of a cell.

    Args:
        fov: Row of its field, with the columns that its pixels tell.
        record: Of its field.
        image: The field.
        region: The cell.
        segmenter: Id of what found it, "given" for given masks.
        thumbnail: Its picture, WebP.
    """
    flags, focus = cell_quality(image, region)
    place = region.place
    return {
        **{column: fov[column] for column in INHERITED},
        "id": cell_id(fov["id"], segmenter, region.name),
        "height": fov["height"],
        "width": fov["width"],
        "source_digest": source_digest_of_cell(fov["source_digest"], record, place),
        "source_stat": fov["source_stat"],
        "qc": list(flags),
        "thumbnail": thumbnail,
        "fov_id": fov["id"],
        "box": list(place.box),
        "centroid": list(place.centroid),
        "nucleus_centroid": None if place.nucleus_centroid is None else list(place.nucleus_centroid),
        "area_px": region.area_px,
        "touches_border": place.touches_border,
        "cell": region.name,
        "region": None if place.mask is None else pack(place.mask),
        "focus": focus,
        "segmenter": segmenter,
    }

"""The pixel size of a field: known for files of the original size, else what the file states. Looks at file headers."""

from dataclasses import replace

from locatlas.indexer.files.decoding import image_header
from locatlas.indexer.records import ImageRecord

__all__ = ["with_pixel_size"]


def with_pixel_size(record: ImageRecord, *, full_edge_px: int, full_um: float | None, called: str) -> ImageRecord:
    """A record of a field with its pixel size, and whence it is known; otherwise as it was. Cells stay as they are.

    ImageJ's JPEGs of HPA's 2048 px fields carry a density of 59326 per cm: 124862, the inverse of 0.0800885 um, less
    2**16. So a JPEG's density is not read.

    Args:
        record: Of a field of view or a cell.
        full_edge_px: Edge of the source's original fields.
        full_um: Edge of a pixel of those, in micrometres.
        called: What such a field is called, for the record's metadata.
    """
    header = image_header(record.sources[0].path) if record.level == "fov" else None
    if header is None:
        return record
    height, width, stated_um = header
    if height == width == full_edge_px:
        return replace(record, pixel_size_um=full_um, metadata={**record.metadata, "pixel_size_from": called})
    if stated_um is not None:
        return replace(record, pixel_size_um=stated_um, metadata={**record.metadata, "pixel_size_from": "the file"})
    return record

"""An image of an atlas as napari shows it: a layer a channel, named and coloured, and the cell. Reads files.

napari is the viewer of the field; what is built here is only what it cannot know of a file: meanings of channels, their
contrast, the pixel size, and where the cell lies.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, InputError, UnknownNameError
from locatlas.indexer.annotation.pictures import channel_limits
from locatlas.indexer.cells.rows import source_digest_of_cell
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.store.rows import place_of, record_from_row
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.sources import is_cut
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import Place
from locatlas.types import ChannelImage

__all__ = ["COLORMAPS", "Layer", "add_layers", "image_layers", "open_viewer"]

COLORMAPS = {"nucleus": "blue", "protein": "green", "microtubules": "red", "er": "yellow"}
"""HPA's colours, as in thumbnails; other channels are grey, and hidden where one of these is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        kind: Of napari: its method is `add_<kind>`.
        data: Pixels (height, width), or corners of a rectangle (4, 2) as y, x in pixels.
        options: Keywords of that method.
    """

    kind: Literal["image", "labels", "shapes"]
    data: NDArray[Any]
    options: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What is shown, without pixels, JSON-ready."""
        return {"kind": self.kind, "shape": list(self.data.shape), "dtype": str(self.data.dtype), **self.options}


def image_layers(store: Store, image_id: str) -> list[Layer]:
    """The layers of an image; of a cell that was cut out of its field, the whole field with the cell's box and mask.

    Raises:
        UnknownNameError: If no image has this id.
        InputError: If its files are not at hand, cannot be read, or changed since it was indexed.
    """
    level, row = _row(store, image_id)
    try:
        record = record_from_row(row, level=level, roots=store.folder.root_paths())
        image, digest = read_image(record)
        place = place_of(row) if level == "cell" and is_cut(row) else None
    except ImageRejectedError as error:
        message = f"{image_id}: {error}"
        raise InputError(message) from error
    if (digest if place is None else source_digest_of_cell(digest, record, place)) != row["source_digest"]:
        message = f"{image_id}: {record.sources[0].path} changed since it was indexed; index it again"
        raise InputError(message)
    return [*_channels(image), *([] if place is None else _cell(image_id, place, image.pixel_size_um))]


def _row(store: Store, image_id: str) -> tuple[Literal["fov", "cell"], dict[str, Any]]:
    for level in ("fov", "cell"):
        table = image_table(level)
        if store.has(table) and len(rows := store.read_rows(table, [image_id], image_schema(level).names)):
            return level, rows.to_pylist()[0]
    ids = [name for table in ("fovs", "cells") for name in store.read(table, ["id"])["id"].to_pylist()]
    raise UnknownNameError("image", image_id, ids)


def _scale(pixel_size_um: float | None) -> dict[str, Any]:
    return {} if pixel_size_um is None else {"scale": (pixel_size_um, pixel_size_um), "units": ("um", "um")}


def _channels(image: ChannelImage) -> list[Layer]:
    known = any(name in COLORMAPS for name in image.channels)
    layers = []
    for name, plane, (low, high) in zip(image.channels, image.pixels, channel_limits(image), strict=True):
        options = {
            "name": name,
            "colormap": COLORMAPS.get(name, "gray"),
            "blending": "additive",
            # napari wants a range, which a flat channel does not have
            "contrast_limits": (low, high if high > low else low + 1),
            "visible": name in COLORMAPS or not known,
            **_scale(image.pixel_size_um),
        }
        layers.append(Layer("image", plane, options))
    return layers


def _cell(image_id: str, place: Place, pixel_size_um: float | None) -> list[Layer]:
    top, left, bottom, right = place.box
    corners = np.array([[top, left], [top, right], [bottom, right], [bottom, left]], dtype=np.float64)
    width = max(1.0, (bottom - top) / 50)
    options = {"shape_type": "rectangle", "edge_color": "white", "face_color": "transparent", "edge_width": width}
    layers = [Layer("shapes", corners, {"name": f"cell {image_id}", **options, **_scale(pixel_size_um)})]
    if place.mask is not None:
        size = pixel_size_um or 1.0
        shown = {"name": "mask", "opacity": 0.25, "visible": False, "translate": (top * size, left * size)}
        layers.insert(0, Layer("labels", place.mask.astype(np.uint8), {**shown, **_scale(pixel_size_um)}))
    return layers


def add_layers(viewer: Any, layers: list[Layer]) -> None:
    """Add layers to a viewer and look at the cell, if there is one.

    Args:
        viewer: `napari.Viewer`, or a `ViewerModel` without a window.
        layers: As `image_layers` gives them.
    """
    for layer in layers:
        getattr(viewer, f"add_{layer.kind}")(layer.data, **layer.options)
    for layer in layers:
        if layer.kind == "shapes":
            size = layer.options.get("scale", (1.0, 1.0))
            viewer.camera.center = tuple(layer.data.mean(axis=0) * size)


def open_viewer(layers: list[Layer]) -> None:
    """Show layers in a window of napari, until it is closed.

    Raises:
        InputError: If napari is not installed, or there is no screen.
    """
    try:
        import napari
    except ImportError as error:
        message = "napari is not installed: pip install 'locatlas[napari]'"
        raise InputError(message) from error
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        # Qt would end the process
        message = "napari needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY names one"
        raise InputError(message)
    add_layers(napari.Viewer(), layers)
    napari.run()

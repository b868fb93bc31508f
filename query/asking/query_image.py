"""A new image file as a query: read it with its channels named, cut a cell out, embed as the atlas was. Reads files."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.records import ImageRecord, Source
from locatlas.models.crops import CropPlan, Place, cut, window
from locatlas.models.spec import EncoderSpec
from locatlas.types import ChannelImage

if TYPE_CHECKING:
    from locatlas.models.encode import Encoder

__all__ = ["cut_at", "embed_image"]


@lru_cache(maxsize=2)
def _encoder(spec: EncoderSpec) -> "Encoder":
    from locatlas.models.encode import load_encoder  # imports torch, which no other question needs

    return load_encoder(spec)


def embed_image(
    paths: Sequence[Path],
    channels: Sequence[str],
    spec: EncoderSpec,
    *,
    pixel_size_um: float | None = None,
    at: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float32], str]:
    """The vector of an image file, and the digest of its bytes.

    Args:
        paths: One file with all channels, or one file a channel.
        channels: Meanings in the order of planes or files, e.g. ("nucleus", "protein").
        spec: The atlas' encoder.
        pixel_size_um: Of the image, where known; matters to encoders that rescale, and to crops of physical size.
        at: y, x of a cell in the image, as `cut_at`; None embeds the image as it is.

    Returns:
        (d,) float32, and the digest of the whole image as the store keeps it.

    Raises:
        InputError: If channels are not named, the vectors were imported, so that no image can be embedded, or the
            cell cannot be cut out.
        ImageRejectedError: If the image cannot be used; names file and reason.
    """
    if spec.architecture == "imported":
        message = f"encoder {spec.name} was imported as vectors; locatlas has no network to embed {paths[0]} with"
        raise InputError(message)
    if not channels:
        message = f"{paths[0]}: its channels must be named, e.g. --channels nucleus,protein"
        raise InputError(message)
    if len(paths) not in (1, len(channels)):
        message = f"{len(paths)} files for {len(channels)} channels: one file with all channels, or one a channel"
        raise InputError(message)
    absolute = tuple(p.expanduser().resolve() for p in paths)
    return _embedded(absolute, _stats(absolute), tuple(channels), spec, pixel_size_um, at, str(paths[0]))


@lru_cache(maxsize=4)
def _embedded(
    absolute: tuple[Path, ...],
    stats: tuple[tuple[int, int] | None, ...],
    channels: tuple[str, ...],
    spec: EncoderSpec,
    pixel_size_um: float | None,
    at: tuple[float, float] | None,
    name: str,
) -> tuple[NDArray[np.float32], str]:
    """What `embed_image` gives, kept for the next question about the same image: its neighbors, then its votes.

    Args:
        absolute: The files.
        stats: Size and time of each: another file of the same name is another question.
        channels: As there.
        spec: As there.
        pixel_size_um: As there.
        at: As there.
        name: For messages.
    """
    if len(absolute) == 1:
        sources: tuple[Source, ...] = (Source(absolute[0], tuple(channels)),)
    else:
        sources = tuple(Source(path, (channel,)) for path, channel in zip(absolute, channels, strict=True))
    record = ImageRecord(id="query/image", level="fov", dataset="query", sources=sources, pixel_size_um=pixel_size_um)
    image, digest = read_image(record)
    if at is not None:
        if spec.crop is None:
            message = f"encoder {spec.name} takes images as they are, so nothing is cut out of them: leave at out"
            raise InputError(message)
        image = cut_at(image, at, spec.crop, name=name)
    vector: NDArray[np.float32] = _encoder(spec).encode([image], batch_size=1)[0]
    vector.flags.writeable = False
    return vector, digest


def _stats(paths: Sequence[Path]) -> tuple[tuple[int, int] | None, ...]:
    """Size and modification time (ns) of files; None for one that is not there, which its reader tells."""

    def stat(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    return tuple(stat(path) for path in paths)


def cut_at(image: ChannelImage, at: tuple[float, float], plan: CropPlan, *, name: str) -> ChannelImage:
    """The square around a point of an image, as the cells of the atlas were cut.

    Args:
        image: A field of view.
        at: y, x in pixels, what the plan has in the middle: the centre of a cell or of its nucleus. A pixel's middle
            has whole coordinates.
        plan: How to cut.
        name: Of the image, for messages.

    Raises:
        InputError: If the point is outside of the image, or the plan needs what is not known: the image's pixel size,
            or a mask to blank by; or if it drops cells whose square leaves the field, and this one does.
    """
    height, width = image.pixels.shape[1:]
    y, x = at
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        message = f"{name}: at {y:g},{x:g} (y,x) is outside of the image of {height} x {width} pixels"
        raise InputError(message)
    if plan.blank:
        message = (
            f"{name}: the atlas' cells were cut with their neighbors blanked, which needs the cell's mask, and a point "
            "has none; use an encoder whose crop keeps them, or give the blanked crop itself as the image"
        )
        raise InputError(message)
    if plan.size_um is not None and image.pixel_size_um is None:
        message = f"{name}: the atlas' cells were cut at {plan.size}; state the image's pixel size (--pixel-size-um)"
        raise InputError(message)
    box = (round(y), round(x), round(y) + 1, round(x) + 1)
    place = Place(box=box, centroid=(y, x), nucleus_centroid=None, touches_border=False, mask=None)
    square = window(place, plan, height=height, width=width, pixel_size_um=image.pixel_size_um)
    if square.dropped:
        message = (
            f"{name}: the square of {square.edge} px around {y:g},{x:g} (y,x) leaves the image, and the atlas' crop "
            "drops such cells"
        )
        raise InputError(message)
    return cut(image, place, plan)

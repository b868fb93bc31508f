"""A new image file as a query: read it with its channels named, and embed it as the atlas was. Reads files."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.images import read_image
from locatlas.indexer.records import ImageRecord, Source
from locatlas.models.encode import Encoder, load_encoder
from locatlas.models.spec import EncoderSpec

__all__ = ["embed_image"]


@lru_cache(maxsize=2)
def _encoder(spec: EncoderSpec) -> Encoder:
    return load_encoder(spec)


def embed_image(
    paths: Sequence[Path], channels: Sequence[str], spec: EncoderSpec, *, pixel_size_um: float | None = None
) -> tuple[NDArray[np.float32], str]:
    """The vector of an image file, and the digest of its bytes.

    Args:
        paths: One file with all channels, or one file a channel.
        channels: Meanings in the order of planes or files, e.g. ("nucleus", "protein").
        spec: The atlas' encoder.
        pixel_size_um: Of the image, where known; matters to encoders that rescale.

    Returns:
        (d,) float32, and the digest as the store keeps it.

    Raises:
        InputError: If channels are not named, or the vectors were imported, so that no image can be embedded.
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
    absolute = [p.expanduser().resolve() for p in paths]
    if len(absolute) == 1:
        sources: tuple[Source, ...] = (Source(absolute[0], tuple(channels)),)
    else:
        sources = tuple(Source(path, (channel,)) for path, channel in zip(absolute, channels, strict=True))
    record = ImageRecord(id="query/image", level="fov", dataset="query", sources=sources, pixel_size_um=pixel_size_um)
    image, digest = read_image(record)
    vector: NDArray[np.float32] = _encoder(spec).encode([image], batch_size=1)[0]
    return vector, digest

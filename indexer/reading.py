"""Images made ready for an encoder: read, checked and cut in threads, ahead of whoever encodes. Reads files."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.rows import source_digest_of_cell
from locatlas.indexer.commits import Loaded, Pending, same_pixels
from locatlas.indexer.files.fields import SharedFields
from locatlas.indexer.files.images import thumbnail
from locatlas.indexer.pixel_cache.reading import read_row
from locatlas.indexer.profile import Profile, worked
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.quarantine import Rejection
from locatlas.indexer.store.rows import place_of
from locatlas.indexer.store.sources import is_cut
from locatlas.models.crops import CropPlan, cut
from locatlas.models.qc import qc_flags
from locatlas.types import ChannelImage

__all__ = ["AHEAD", "EncoderLike", "cut_cell", "in_order", "pixel_columns"]

AHEAD = 64
"""Images that are read ahead of the encoder, two of its batches."""


class EncoderLike(Protocol):
    """What the pipeline asks of an encoder."""

    @property
    def at_once(self) -> int:
        """Fewest images that make whole batches of its own size; 0 if any number is as good."""

    def prepare(self, image: Any) -> Any:
        """Check and transform one image; raises ImageRejectedError."""

    def encode_prepared(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors of prepared images, (n, d)."""


def pixel_columns(image: ChannelImage, digest: str, stat: str) -> dict[str, Any]:
    """The columns `FROM_PIXELS` of an image.

    Args:
        image: As it was read.
        digest: Of its bytes.
        stat: Size and time of its sources, looked at before they were read.
    """
    return {**_told_at_once(image, digest, stat), "thumbnail": thumbnail(image)}


def _told_at_once(image: ChannelImage, digest: str, stat: str) -> dict[str, Any]:
    """The columns `FROM_PIXELS` but for the picture, which takes as long as all else."""
    return {
        "height": image.pixels.shape[1],
        "width": image.pixels.shape[2],
        "source_digest": digest,
        "source_stat": stat,
        "qc": list(qc_flags(image)),
    }


def _load(
    pending: Pending,
    encoder: EncoderLike,
    fields: SharedFields,
    crop: CropPlan | None,
    profile: Profile | None,
) -> Loaded | Rejection:
    try:
        with worked(profile, "reading and decoding"):
            if is_cut(pending.row):
                image, digest = cut_cell(pending.record, pending.row, fields, crop), None
            else:
                image, digest = read_row(pending.record, pending.row, fields.cache)
        with worked(profile, "preparing"):
            prepared = encoder.prepare(image)
    except ImageRejectedError as error:
        # the network's reasons do not know the file
        path = str(pending.record.sources[0].path)
        return pending.rejected(str(error) if path in str(error) else f"{path}: {error}")
    if digest is None:
        return Loaded(pending, dict(pending.row), prepared)
    with worked(profile, "describing"):
        row = {**pending.row, **_told_at_once(image, digest, pending.stat)}
        # an image that the atlas knows as it is keeps its row, and its picture
        if not same_pixels(pending.row, row):
            row["thumbnail"] = thumbnail(image)
    return Loaded(pending, row, prepared)


def cut_cell(record: ImageRecord, row: Mapping[str, Any], fields: SharedFields, crop: CropPlan | None) -> ChannelImage:
    """The crop of a cell.

    Args:
        record: Of the cell; its sources are those of its field.
        row: Of `cells`, with a box.
        fields: Decoded fields.
        crop: How it is cut; an encoder of cut cells has one.

    Raises:
        ImageRejectedError: If its field cannot be read, is another than the one that the cell was found in, or the
            cell cannot be cut.
    """
    assert crop is not None  # see encoder_choice.choose
    field, digest = fields.read(record, row)
    place = place_of(row)
    if source_digest_of_cell(digest, record, place) != row["source_digest"]:
        message = f"{record.sources[0].path}: changed since its cells were found; index it again"
        raise ImageRejectedError(message)
    return cut(field, place, crop)


def in_order(
    work: Iterable[Pending],
    encoder: EncoderLike,
    pool: ThreadPoolExecutor,
    crop: CropPlan | None,
    *,
    profile: Profile | None = None,
    fields: SharedFields | None = None,
) -> Iterator[Loaded | Rejection]:
    """Load ahead of the encoder by at most `AHEAD` images, or two batches of its own size, in order.

    Args:
        work: What to read.
        encoder: Prepares each image.
        pool: Threads that read.
        crop: How cells are cut out of their fields.
        profile: Takes the seconds of each stage; None for none.
        fields: Decoded fields; None for some of its own.
    """
    fields = SharedFields() if fields is None else fields
    waiting: deque[Future[Loaded | Rejection]] = deque()
    todo = iter(work)
    for pending in islice(todo, max(AHEAD, 2 * encoder.at_once)):
        waiting.append(pool.submit(_load, pending, encoder, fields, crop, profile))
    while waiting:
        done = waiting.popleft().result()
        for pending in islice(todo, 1):
            waiting.append(pool.submit(_load, pending, encoder, fields, crop, profile))
        yield done

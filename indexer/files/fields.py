"""Fields of view that many cells are cut from: decoded once, shared by the threads that cut. Reads files."""

from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from threading import Lock
from typing import Any

from locatlas.indexer.pixel_cache.reading import PixelCache, read_row
from locatlas.indexer.records import ImageRecord
from locatlas.types import ChannelImage

__all__ = ["SharedFields"]

KEPT_FIELDS = 12
"""Decoded fields that are held: more than the threads that read, whose cells come sorted by field."""


class SharedFields:
    """Decoded fields, the last few of them; a field that several threads ask for is decoded by the first.

    Args:
        keep: How many are held.
        cache: Images that need not be decoded; None for none.

    Attributes:
        cache: As given.
    """

    def __init__(self, keep: int = KEPT_FIELDS, *, cache: PixelCache | None = None) -> None:
        self._keep = keep
        self.cache = cache
        self._held: OrderedDict[tuple[object, ...], Future[tuple[ChannelImage, str]]] = OrderedDict()
        self._lock = Lock()

    def read(self, record: ImageRecord, row: Mapping[str, Any]) -> tuple[ChannelImage, str]:
        """What `read_image` gives for the record's sources.

        Args:
            record: Of a field, or of a cell that is cut from it.
            row: Of the same.

        Raises:
            ImageRejectedError: As `read_image`, for each that asks.
        """
        key = (record.sources, record.row, record.pixel_size_um)
        with self._lock:
            found = self._held.get(key)
            if first := found is None:
                found = self._held[key] = Future()
                while len(self._held) > self._keep:
                    self._held.popitem(last=False)
            else:
                self._held.move_to_end(key)
        if first:
            try:
                found.set_result(read_row(record, row, self.cache))
            except BaseException as error:
                found.set_exception(error)  # those that wait must not wait for ever
                raise
        return found.result()

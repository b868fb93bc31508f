"""Decoded images had back without decoding: an image whose source is still the one that was decoded. Reads files."""

import os
import zlib
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.pixel_cache.segments import (
    ENTRY,
    KINDS,
    entry_key,
    planes_file,
    read_entries,
    segments,
)
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.sources import is_cut, source_stat
from locatlas.types import ChannelImage

__all__ = ["PixelCache", "read_row"]


class PixelCache:
    """The decoded images of an atlas, as they were when this was opened.

    An image is given back only while its source has the size and time that it had when it was decoded, and if the
    digest that its bytes had then is that of its row. Whatever of the cache cannot be read, or is not what was written,
    is passed over: images are then decoded, as without it.

    Args:
        atlas: The atlas.
    """

    def __init__(self, atlas: AtlasFolder) -> None:
        self.folder = atlas.decoded
        self._given, self._counting = 0, Lock()
        self.names: list[str] = []
        parts: list[NDArray[np.void]] = []
        for name in segments(self.folder):
            try:
                parts.append(read_entries(self.folder, name))
            except (OSError, ValueError):
                continue  # removed meanwhile, or damaged, which `verify` tells
            self.names.append(name)
        self._entries = np.concatenate([np.empty(0, ENTRY), *parts])
        self._segment = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        order = np.argsort(self._entries["key"][:, 0], kind="stable")
        self._entries, self._segment = self._entries[order], self._segment[order]
        # apart, since searching in a column of the entries would copy it each time
        self._high = self._entries["key"][:, 0].copy()

    def __len__(self) -> int:
        return len(self._entries)

    def holds(self, key: bytes) -> bytes | None:
        """Digest of the source of an image; None where it is not held."""
        place = self._place(key)
        return None if place is None else self._entries[place]["source"].tobytes()

    def read(self, record: ImageRecord, row: Mapping[str, Any]) -> tuple[ChannelImage, str] | None:
        """What `read_image` gives for a record; None where it has to be asked.

        Args:
            record: Of a field, or of a cell.
            row: Of the same, as it is stored; one that was not stored yet has no digest and is never held.
        """
        if not len(self) or not row.get("source_digest"):
            return None
        try:
            place = self._place(entry_key(row, source_stat(record.sources)))
        except ImageRejectedError:
            return None  # not there, which `read_image` says
        if place is None:
            return None
        entry = self._entries[place]
        digest = entry["source"].tobytes().hex()
        if not is_cut(row) and digest != row["source_digest"]:  # the row of a cell has a digest of its own
            return None
        pixels = self._pixels(entry, self.names[self._segment[place]])
        if pixels is None:
            return None
        with self._counting:
            self._given += 1
        return ChannelImage(pixels, record.channels, record.pixel_size_um), digest

    def take_count(self) -> int:
        """Images that were given back since this was asked last."""
        with self._counting:
            given, self._given = self._given, 0
        return given

    def _place(self, key: bytes) -> int | None:
        high, low = np.frombuffer(key, "<u8")
        keys = self._entries["key"]
        place = int(np.searchsorted(self._high, high))
        while place < len(keys) and self._high[place] == high:
            if keys[place, 1] == low:
                return place
            place += 1
        return None

    def _pixels(self, entry: np.void, name: str) -> NDArray[Any] | None:
        """Read, not mapped: a file that was cut short would end the whole process at the first look beyond its end."""
        pixels = np.empty(tuple(map(int, entry["shape"])), KINDS[int(entry["kind"])])
        left = pixels.reshape(-1).view(np.uint8).data
        offset = int(entry["offset"])
        try:
            with open(planes_file(self.folder, name), "rb", buffering=0) as file:
                while left:
                    count = os.preadv(file.fileno(), [left], offset)
                    if not count:
                        return None
                    left, offset = left[count:], offset + count
        except OSError:
            return None
        return pixels if zlib.crc32(pixels.data) == entry["crc"] else None


def read_row(record: ImageRecord, row: Mapping[str, Any], cache: PixelCache | None) -> tuple[ChannelImage, str]:
    """What `read_image` gives for a record, without decoding where the cache has it.

    Raises:
        ImageRejectedError: As `read_image`.
    """
    found = None if cache is None else cache.read(record, row)
    return read_image(record) if found is None else found

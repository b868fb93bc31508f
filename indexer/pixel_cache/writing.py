"""Decoded images written to segments, one after another. I/O."""

import contextlib
import os
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.pixel_cache.segments import (
    ENTRY,
    KINDS,
    begun_file,
    bytes_of,
    digest_of,
    finish_segment,
    new_name,
    planes_file,
)
from locatlas.interrupts import unbroken

__all__ = ["SEGMENT_BYTES", "SEGMENT_S", "Writer"]

SEGMENT_BYTES = 512 * 2**20
"""A segment that has reached this is finished: large files, few of them."""

SEGMENT_S = 60.0
"""A segment is finished after so many seconds, too: what a kill loses of the work."""


class Writer:
    """Appends images to segments; what was appended is kept when the block ends, by a stop as well.

    Args:
        folder: Exists; nobody else writes there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._name = ""
        self._entries: list[NDArray[np.void]] = []
        self._end = 0
        self._began = 0.0
        self.written_bytes = 0

    def __enter__(self) -> Self:
        for path in self._folder.glob(".*.part"):
            path.unlink(missing_ok=True)  # of a run that was killed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):  # as when the disk is full: what is not finished goes
            self._abandon()
            return
        self._finish()

    def append(self, key: bytes, source: str, pixels: NDArray[Any]) -> None:
        """Add an image.

        Args:
            key: From `segments.entry_key`.
            source: Digest of its source, hex.
            pixels: (channels, height, width), one of `segments.KINDS`.

        Raises:
            OSError: If it cannot be written.
        """
        kind = KINDS.index(pixels.dtype.newbyteorder("<"))
        planes = np.ascontiguousarray(pixels, KINDS[kind])
        if self._file is None:
            self._name = new_name(self._folder)
            self._file = begun_file(self._folder, self._name).open("wb")
            self._end, self._began = 0, time.monotonic()
        self._file.write(planes.data)
        entry = np.zeros(1, ENTRY)
        entry["key"], entry["source"] = np.frombuffer(key, "<u8"), np.frombuffer(bytes.fromhex(source), "u1")
        entry["planes"] = np.frombuffer(digest_of(planes), "u1")
        entry["offset"], entry["shape"], entry["kind"] = self._end, planes.shape, kind
        entry["crc"] = zlib.crc32(planes.data)
        self._entries.append(entry)
        self._end += planes.nbytes
        self.written_bytes += planes.nbytes
        if self._end >= SEGMENT_BYTES or time.monotonic() - self._began > SEGMENT_S:
            self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        if not self._entries:
            self._abandon()
            return
        with unbroken():
            try:
                self._file.flush()
                # planes of an image whose writing was interrupted have no entry
                last = self._entries[-1][0]
                self._file.truncate(int(last["offset"]) + bytes_of(last))
                os.fsync(self._file.fileno())
                self._file.close()
                finish_segment(self._folder, self._name, np.concatenate(self._entries))
            except OSError:
                self._abandon()
                raise
            self._file, self._entries = None, []

    def _abandon(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what is left in its buffer cannot be written either
                self._file.close()
            for path in (begun_file(self._folder, self._name), planes_file(self._folder, self._name)):
                path.unlink(missing_ok=True)
            self._file, self._entries = None, []

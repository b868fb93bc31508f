"""A TIFF writer without scruples: any tag, any count, any offset. Pure."""

import struct
from collections.abc import Sequence
from typing import Any

SHORT, LONG, ASCII = 3, 4, 2

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 273, 277, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325

NONE, DEFLATE, GREY, RGB = 1, 8, 1, 2


def raw_tiff(
    tags: dict[int, Any], pixels: bytes = b"", *, next_ifd: int = 0, counts: dict[int, int] | None = None
) -> bytes:
    """A little-endian TIFF of one page.

    Args:
        tags: Numbers, lists of numbers (LONG) or bytes (ASCII) by code. "here" stands for the offset of `pixels`.
        pixels: Put behind the page.
        next_ifd: Offset of the next page.
        counts: Counts that are written instead of the true ones.
    """
    values = {code: [value] if isinstance(value, int | str) else value for code, value in sorted(tags.items())}
    extra_at = 8 + 2 + 12 * len(values) + 4
    sizes = {code: len(v) if isinstance(v, bytes) else 4 * len(v) for code, v in values.items()}
    here = extra_at + sum(size for size in sizes.values() if size > 4)
    entries, extra = b"", b""
    for code, value in values.items():
        if isinstance(value, bytes):
            data, kind, count = value, ASCII, len(value)
        else:
            data, kind, count = struct.pack(f"<{len(value)}I", *_numbers(value, here)), LONG, len(value)
        count = (counts or {}).get(code, count)
        if len(data) > 4:
            entries += struct.pack("<HHII", code, kind, count, extra_at + len(extra))
            extra += data
        else:
            entries += struct.pack("<HHI", code, kind, count) + data.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(values)) + entries + struct.pack("<I", next_ifd)
    return head + extra + pixels


def _numbers(values: Sequence[int | str], here: int) -> list[int]:
    return [here if value == "here" else int(value) for value in values]


def grey_page(width: int, length: int, stored: bytes, **more: int | list[int] | bytes) -> dict[int, Any]:
    """Tags of an uncompressed 8-bit page in one strip."""
    tags: dict[int, Any] = {
        WIDTH: width,
        LENGTH: length,
        BITS: 8,
        COMPRESSION: NONE,
        PHOTOMETRIC: GREY,
        STRIP_OFFSETS: "here",
        SAMPLES: 1,
        ROWS_PER_STRIP: length,
        STRIP_COUNTS: len(stored),
    }
    return tags | {globals()[name.upper()]: value for name, value in more.items()}

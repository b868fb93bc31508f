"""Files of decoded images: planes one after another in large files, and beside each file what is where in it. I/O.

A segment is a pair of files in `cache/images` that is never changed once it is there: `<name>.planes` with the raw
planes, little-endian, and `<name>.entries`, a numpy array of `ENTRY` followed by its blake2b-128. The planes are on the
disk before their entries are, which are renamed into place: what a kill leaves is a file that nothing names.
"""

import hashlib
import io
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.file_digest import sync_folder

__all__ = [
    "ENTRY",
    "KINDS",
    "begun_file",
    "bytes_of",
    "digest_of",
    "entries_file",
    "entry_key",
    "finish_segment",
    "new_name",
    "planes_file",
    "read_entries",
    "segments",
]

ENTRY = np.dtype(
    [
        ("key", "<u8", 2),  # of `entry_key`
        ("source", "u1", 16),  # digest of the source, as `images.read_image` gives it
        ("planes", "u1", 16),  # blake2b-128 of the planes
        ("offset", "<u8"),
        ("shape", "<u4", 3),  # channels, height, width
        ("kind", "u1"),  # place in `KINDS`
        ("crc", "<u4"),  # of the planes, as `zlib.crc32`: a sixth of the digest's time, so it is looked at on each read
    ]
)

KINDS: tuple[np.dtype[Any], ...] = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<f4"))
"""Types of decoded pixels (`planes.as_pixels`)."""

DECODED = 1
"""Part of every key: another number when files are to be decoded to other pixels than before, which forgets all."""

_DIGEST_BYTES = 16


def planes_file(folder: Path, name: str) -> Path:
    """The planes of a segment."""
    return folder / f"{name}.planes"


def entries_file(folder: Path, name: str) -> Path:
    """The entries of a segment."""
    return folder / f"{name}.entries"


def begun_file(folder: Path, name: str) -> Path:
    """The planes of a segment that is being written."""
    return folder / f".{name}.planes.part"


def segments(folder: Path) -> list[str]:
    """Names of the segments that are whole, oldest first."""
    return sorted(path.stem for path in folder.glob("[0-9]*.entries"))


def new_name(folder: Path) -> str:
    """A name that no segment ever had: a number that grows, and eight random digits.

    Whoever read the entries of a segment that is gone must not find other planes under its name.
    """
    last = max(segments(folder), default="0").partition("-")[0]
    return f"{int(last) + 1:06d}-{secrets.token_hex(4)}"


def digest_of(planes: NDArray[Any]) -> bytes:
    """blake2b-128 of contiguous planes."""
    return hashlib.blake2b(planes.reshape(-1).view(np.uint8).data, digest_size=_DIGEST_BYTES).digest()


def entry_key(row: Mapping[str, Any], stat: str) -> bytes:
    """What decides the pixels that a row is read as, as long as files keep their size and time: 16 bytes.

    The fields of cells that are cut out have the same key in the rows of all their cells. Folders are named by their
    root, so that an atlas and its images may be moved.

    Args:
        row: Of `fovs` or `cells`.
        stat: Of its sources now, from `sources.source_stat`.
    """
    sources = [[source["path"], list(source["channels"])] for source in row["sources"]]
    said = json.dumps([DECODED, row["root"], sources, row["row"], stat], ensure_ascii=False)
    return hashlib.blake2b(said.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def finish_segment(folder: Path, name: str, entries: NDArray[np.void]) -> None:
    """Put a segment in place whose planes are written and on the disk."""
    begun_file(folder, name).rename(planes_file(folder, name))
    sync_folder(folder)
    out = io.BytesIO()
    np.save(out, entries, allow_pickle=False)
    body = out.getvalue()
    digest = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    write_atomically(entries_file(folder, name), body + digest)


def read_entries(folder: Path, name: str) -> NDArray[np.void]:
    """The entries of a segment.

    Raises:
        OSError: If they cannot be read.
        ValueError: If they are not what was written, or the planes have another size than they say.
    """
    data = entries_file(folder, name).read_bytes()
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        message = "its entries are not what was written"
        raise ValueError(message)
    entries: NDArray[np.void] = np.load(io.BytesIO(body), allow_pickle=False)
    if entries.dtype != ENTRY or entries.ndim != 1:
        message = "its entries are of another version"
        raise ValueError(message)
    end = max((int(one["offset"]) + bytes_of(one) for one in entries[-1:]), default=0)
    if (size := planes_file(folder, name).stat().st_size) != end:
        message = f"its planes have {size} bytes instead of {end}"
        raise ValueError(message)
    return entries


def bytes_of(entry: np.void) -> int:
    """Bytes of an entry's planes."""
    return int(np.prod(entry["shape"], dtype=np.int64)) * KINDS[int(entry["kind"])].itemsize

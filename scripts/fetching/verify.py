"""Whether a file is the one that was announced. Reads files."""

import hashlib
from pathlib import Path

__all__ = ["is_proved", "part_sizes", "problem", "sha256"]

_MIB = 1 << 20
_CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem(path: Path, size: int | None, digest: str | None) -> str | None:
    """What is wrong with a file, in words; None if it is as announced as far as that can be told.

    An entity tag of an object that S3 took in parts (`etag:`) proves nothing wrong, because the size of the parts is
    not told: then only the size speaks here, and `is_proved` tells whether parts of whole MiB give the tag.

    Args:
        path: An existing file.
        size: Bytes; None if unknown.
        digest: As in `plan.Remote`; None if unknown.
    """
    found = path.stat().st_size
    if size is not None and found != size:
        return f"{found} bytes, {size} were announced"
    if digest is None:
        return None
    kind, _, expected = digest.partition(":")
    if kind == "etag":
        return None
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, kind).hexdigest()
    return None if actual == expected else f"its {kind} is {actual}, {expected} was announced"


def is_proved(path: Path, digest: str | None) -> bool:
    """Whether a file's digest is known and right; a tag of parts counts if parts of whole MiB give it."""
    if digest is None:
        return False
    if not digest.startswith("etag:"):
        return problem(path, None, digest) is None
    expected, _, count = digest.removeprefix("etag:").partition("-")
    return any(_tag_of_parts(path, edge) == expected for edge in part_sizes(path.stat().st_size, int(count)))


def part_sizes(size: int, n_parts: int) -> range:
    """Sizes in whole MiB that cut a file into so many parts.

    >>> [size >> 20 for size in part_sizes(20 << 20, 3)], len(part_sizes(1, 2))
    ([7, 8, 9], 0)
    """
    smallest = -(-size // n_parts)
    largest = (size - 1) // (n_parts - 1) if n_parts > 1 else size + _MIB
    return range(-(-smallest // _MIB) * _MIB, largest + 1, _MIB)


def _tag_of_parts(path: Path, part: int) -> str:
    digests = b""
    with path.open("rb") as file:
        while True:
            md5, left = hashlib.md5(usedforsecurity=False), part
            while left and (chunk := file.read(min(_CHUNK, left))):
                md5.update(chunk)
                left -= len(chunk)
            if left == part:
                break
            digests += md5.digest()
    return hashlib.md5(digests, usedforsecurity=False).hexdigest()

"""What is to be fetched, from where to where, and how much it is. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fetching.errors import FetchError

__all__ = ["Plan", "Remote", "in_words", "relative_path"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Remote:
    """One file elsewhere and its place here.

    Attributes:
        url: http or https.
        path: Where it goes, below the folder that is filled; made by `relative_path`.
        size: Bytes; None where the server has not said.
        digest: `md5:<32 hex>` or `sha256:<64 hex>`, `etag:<32 hex>-<parts>` for an object that S3 took in parts; None
            where there is none.
        optional: Whether it may be missing at the source, as HPA's yellow channel is for some fields.
    """

    url: str
    path: str
    size: int | None = None
    digest: str | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to be fetched, in the order of their paths.

    Attributes:
        files: No two of one place.
        guessed_size: Mean size in bytes of files that have none, where it was estimated.
    """

    files: tuple[Remote, ...]
    guessed_size: float | None = None

    @classmethod
    def of(cls, files: Iterable[Remote], *, guessed_size: float | None = None) -> "Plan":
        """A plan of files in any order; one that is named twice is fetched once.

        Raises:
            FetchError: If two different files would go to one place.
        """
        places: dict[str, Remote] = {}
        for file in files:
            # some file systems do not tell upper from lower case
            first = places.setdefault(file.path.casefold(), file)
            if first != file:
                message = f"{first.url} and {file.url} would both become {file.path}"
                raise FetchError(message)
        return cls(tuple(sorted(places.values(), key=lambda f: f.path)), guessed_size)

    @property
    def volume(self) -> int | None:
        """Bytes of all files, estimated where sizes are; None where some are unknown."""
        total = 0.0
        for file in self.files:
            size = file.size if file.size is not None else self.guessed_size
            if size is None:
                return None
            total += size
        return round(total)

    @property
    def is_estimate(self) -> bool:
        """Whether the volume rests on sizes that are not known."""
        return any(file.size is None for file in self.files)

    def in_words(self) -> str:
        """Count and volume, e.g. `12 files, 16.8 MB`."""
        count = f"{len(self.files):,} file{'' if len(self.files) == 1 else 's'}"
        if self.volume is None:
            return f"{count}, volume not known"
        return f"{count}, {'about ' if self.is_estimate else ''}{in_words(self.volume)}"


def in_words(size: float) -> str:
    """Bytes for people, in powers of a thousand.

    >>> in_words(1_400_000), in_words(999), in_words(8.8e9)
    ('1.4 MB', '999 B', '8.8 GB')
    """
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 99.95 else f"{size:.1f} {_UNITS[unit]}"


def relative_path(parts: Sequence[str]) -> str:
    """A path below a folder from names that a server gave.

    Args:
        parts: Names, each of which may hold slashes.

    Raises:
        FetchError: If the path would leave the folder, or names nothing, a hidden file, or what some systems cannot
            name.
    """
    text = "/".join(parts)
    pieces = text.split("/")
    # a leading dot is for files that are not finished
    if any(not piece or piece.startswith(".") or piece != piece.strip() for piece in pieces) or any(
        character in text for character in '\\:*?"<>|\0\r\n\t'
    ):
        message = f"{text!r}: not a name that a file is given here"
        raise FetchError(message)
    return str(PurePosixPath(*pieces))

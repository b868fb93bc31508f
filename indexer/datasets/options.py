"""What a reader is given: its data set, the root, and checked options. Pure, apart from looking at the root."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locatlas.errors import InputError
from locatlas.indexer.records import ImageRecord, RejectedSource
from locatlas.indexer.units import positive_number

if TYPE_CHECKING:
    from locatlas.indexer.datasets.registry import DatasetSpec

__all__ = ["GENERAL_OPTIONS", "ReaderOptions", "Reject"]

Reject = Callable[[str, str], None]
"""Says of a source why it cannot be used."""

GENERAL_OPTIONS = ("pixel_size_um", "roots")


class ReaderOptions:
    """The arguments of one reading.

    Attributes:
        spec: The data set.
        root: Resolved folder or file.
        roots: Resolved folders in which files may lie: the root's own folder first.
    """

    def __init__(self, spec: "DatasetSpec", root: Path, given: Mapping[str, Any]) -> None:
        self.spec = spec
        self.root = root
        self._given = given
        folder = root if root.is_dir() else root.parent
        more = given.get("roots") or ()
        if isinstance(more, str | Path):
            more = (more,)
        self.roots = (folder, *(Path(r).expanduser().resolve() for r in more))

    @property
    def folder(self) -> Path:
        """The root, which must be a folder.

        Raises:
            InputError: If it is a file.
        """
        if not self.root.is_dir():
            message = f"{self.root}: a folder is needed for the data set {self.spec.name!r}"
            raise InputError(message)
        return self.root

    def rejecting(self) -> tuple[list[RejectedSource], Reject]:
        """A list for sources that cannot be used, and what puts one there with its reason."""
        rejected: list[RejectedSource] = []
        return rejected, lambda source, reason: rejected.append(RejectedSource(source, reason, self.spec.name))

    def path(self, name: str) -> Path | None:
        """A file given as an option, None where it is not given.

        Raises:
            InputError: If it is given and is not a file.
        """
        value = self._given.get(name)
        if value is None:
            return None
        path = Path(value).expanduser().resolve()
        if not path.is_file():
            message = f"{path}: no such file (option {name!r} of data set {self.spec.name!r})"
            raise InputError(message)
        return path

    def text(self, name: str) -> str | None:
        """A text given as an option, None where it is not given."""
        value = self._given.get(name)
        return None if value is None else str(value)

    def choice(self, name: str, allowed: Iterable[str], default: str) -> str:
        """A word given as an option.

        Raises:
            InputError: If it is none of the allowed ones.
        """
        value = str(self._given.get(name) or default)
        allowed = list(allowed)
        if value not in allowed:
            message = f"option {name!r} of data set {self.spec.name!r}: {value!r}, allowed: {', '.join(allowed)}"
            raise InputError(message)
        return value

    def applied(self, items: Iterable[ImageRecord | RejectedSource]) -> Iterator[ImageRecord | RejectedSource]:
        """The items with the general options applied."""
        given = self._given.get("pixel_size_um")
        size_um = positive_number(given)
        if given is not None and size_um is None:
            message = f"pixel_size_um must be a positive number of micrometres, got {given!r}"
            raise InputError(message)
        for item in items:
            if size_um is not None and isinstance(item, ImageRecord):
                yield replace(item, pixel_size_um=size_um)
            else:
                yield item

"""Locks of an atlas' folder: held by who writes, re-embeds or packs there, and told to whoever comes meanwhile. I/O."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from locatlas.errors import AtlasLockedError, InputError, LocatlasError
from locatlas.indexer.store.atomic import remove
from locatlas.indexer.store.locks import NotedLock, Owner

__all__ = ["PUBLISHED", "READ_ONLY", "FolderLock", "unwritable"]

PUBLISHED = "published.json"
"""Beside the copies of an atlas that is published in an object store."""

READ_ONLY = (
    "this copy of an atlas in an object store is only read; the commands and functions that write take the address"
)


@dataclass(frozen=True, slots=True)
class FolderLock:
    """One of the locks of an atlas.

    Attributes:
        folder: Of the atlas.
        noted: The lock, and the note of who holds it.
        busy: What goes on while it is held, in words.
        meanwhile: What can be done all the same, in words.
        temporary: Folders in which who holds it writes under temporary names; what is there before is of the dead.
    """

    folder: Path
    noted: NotedLock
    busy: str
    meanwhile: str = ""
    temporary: tuple[Path, ...] = ()

    def holder(self) -> Owner | None:
        """Who holds it now."""
        return self.noted.holder()

    @contextmanager
    def held(self, owner: Owner, *, patient: bool = False) -> Iterator[None]:
        """Hold it for the length of a block.

        Args:
            owner: Who does, for what.
            patient: Wait for whoever holds it, as long as it takes, and say so.

        Raises:
            AtlasLockedError: If another process holds it; says who, and since when.
            InputError: If nothing can be written there, or the folder is a copy that is only read.
        """
        if (self.folder.parent / PUBLISHED).is_file():
            message = f"{self.folder}: {READ_ONLY}"
            raise InputError(message)
        try:
            if self.noted.path.parent != self.folder:
                self.noted.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.noted.acquire(patient=patient, refuse=self._refused)
        except LocatlasError:
            raise
        except (OSError, NotImplementedError) as error:
            raise InputError(f"{self.folder}: {unwritable(error)}") from error
        try:
            for folder in self.temporary:
                remove(folder.glob(".*.tmp"))
            self.noted.write_note(owner)
            yield
        finally:
            self.noted.release(lock)

    def refused(self) -> AtlasLockedError:
        """The error that tells who holds it, as far as its note does."""
        return self._refused(self.noted.owner())

    def _refused(self, owner: Owner | None) -> AtlasLockedError:
        message = f"{self.folder}: {self.busy} ({owner or 'another process'}); wait for it or stop it"
        return AtlasLockedError(f"{message}. {self.meanwhile}" if self.meanwhile else message)


def unwritable(error: OSError | NotImplementedError) -> str:
    """Why nothing can be written in a folder, in words."""
    if isinstance(error, NotImplementedError):
        return "its file system has no file locks, which writing needs; put the atlas on another disk"
    return f"cannot be written ({error.strerror or error})"

"""Tables that come along with images: looked at before they are kept. Writes files."""

from collections.abc import Sequence
from pathlib import Path

from fetching.errors import FetchError
from locatlas.errors import InputError
from locatlas.indexer.datasets.tables import Table, open_table
from locatlas.indexer.store.atomic import write_atomically

__all__ = ["keep_table", "kept_table"]


def keep_table(path: Path, body: bytes, source: str, *, required: Sequence[str]) -> None:
    """Write a table that has come, unless it is something else, such as a page that says that the site is closed.

    Args:
        path: Its place.
        body: The table.
        source: Where it is from; named in the error.
        required: Columns that it must have.

    Raises:
        FetchError: If it is not such a table; nothing is kept of it.
    """
    new = path.with_name(f".new.{path.name}")
    write_atomically(new, body)
    try:
        open_table(new, required=required)
    except InputError as error:
        new.unlink()
        reason = str(error).removeprefix(f"{new}: ")
        raise FetchError(f"{source}: not the table that was expected ({reason})") from error
    new.replace(path)


def kept_table(path: Path, *, required: Sequence[str]) -> Table:
    """A table that was kept.

    Raises:
        InputError: If it is not one; says that it may be fetched again.
    """
    try:
        return open_table(path, required=required)
    except InputError as error:
        raise InputError(f"{error}; remove it, and it is fetched again") from error

"""The files that images are made from: under which declared root they lie, what they are called, whether they changed.

I/O: links are followed, sizes and times looked at.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError
from locatlas.indexer.records import ImageRecord, Source

__all__ = ["below_root", "is_cut", "own_place", "root_of", "row_source", "source_name", "source_stat"]


def source_stat(sources: Iterable[Source]) -> str:
    """Size and modification time (ns) of each source: while equal, the bytes are taken as unchanged.

    Raises:
        ImageRejectedError: If a source is missing or cannot be looked at.
    """
    parts = []
    for source in sources:
        try:
            stat = source.path.stat()
        except OSError as error:
            message = f"{source.path}: {error.strerror or error}"
            raise ImageRejectedError(message) from error
        parts.append(f"{stat.st_size}:{stat.st_mtime_ns}")
    return ";".join(parts)


def root_of(path: Path, roots: Mapping[str, Path]) -> str | None:
    """Name of the first declared root that holds a path, by its own place or, if none does, by what it links to."""
    for place in (own_place(path), path.resolve()):
        for name, root in roots.items():
            if place.is_relative_to(root):
                return name
    return None


def source_name(record: ImageRecord, roots: Mapping[str, Path]) -> str:
    """How a record's source is called: path below its root, with the row of a stacked file."""
    path = record.sources[0].path
    name = root_of(path, roots)
    return _with_row(str(path.resolve()) if name is None else _below(path, roots[name]), record.row)


def row_source(row: Mapping[str, Any]) -> str:
    """What `source_name` says of the record that a row was made from; a cell that is cut out adds its name."""
    name = _with_row(row["sources"][0]["path"], row["row"])
    return f"{name} cell {row['cell']}" if is_cut(row) else name


def is_cut(row: Mapping[str, Any]) -> bool:
    """Whether a row is a cell that is cut out of its field, not an image of its own."""
    return row.get("box") is not None


def _with_row(name: str, row: int | None) -> str:
    return name if row is None else f"{name}[{row}]"


def own_place(path: Path) -> Path:
    """Where a file itself lies: a link is not followed, the folder that it is in is."""
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def _below(path: Path, root: Path) -> str:
    """The path below a root: that of a link where it lies there, so that its end is noticed, else of what it leads to.

    Raises:
        ValueError: If neither lies there.
    """
    place = own_place(path)
    return (place if place.is_relative_to(root) else path.resolve()).relative_to(root).as_posix()


def below_root(path: Path, root: Path, roots: Mapping[str, Path]) -> str:
    """How a file is stored: its path below its root, POSIX.

    Args:
        path: Of the file.
        root: Folder that is declared, below which it is to lie.
        roots: All declared folders by name: a link may lead into another one.

    Raises:
        ImageRejectedError: If it lies elsewhere.
    """
    resolved = path.resolve()
    try:
        if any(resolved.is_relative_to(one) for one in roots.values()):
            return _below(path, root)
    except ValueError:
        pass  # a declared root holds it, and another one the first source
    message = f"{path}: lies outside {root}; declare the folder it is in with --root"
    raise ImageRejectedError(message)

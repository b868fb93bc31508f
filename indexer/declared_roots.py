"""Say anew where the images of an atlas lie: the atlas or its images were moved. I/O."""

import logging
from collections.abc import Mapping
from pathlib import Path

from locatlas.errors import ImageRejectedError, InputError, UnknownNameError
from locatlas.indexer.files.images import source_digest
from locatlas.indexer.store.rows import record_from_row, rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store

__all__ = ["declare_roots"]

logger = logging.getLogger(__name__)

LOOKED_AT = 8
"""Images of a root that are read whole, to see that they are those that were indexed."""

_COLUMNS = ["id", "root", "sources"]


def declare_roots(store: Store, roots: Mapping[str, Path]) -> dict[str, str]:
    """Give declared roots other folders, in which the same images lie. The writer lock is held.

    Rows name their root and a path below it, so none is written. Images are looked for in the new folder, and some
    are read and compared by digest; that some are missing or changed is told, as `index` finds out which.

    Args:
        store: The atlas.
        roots: Folders by name of root.

    Returns:
        The folders of the roots that changed, by name.

    Raises:
        UnknownNameError: If no root has the name.
        InputError: If a folder is not there, is that of another root, or holds none of the images.
    """
    info = store.folder.info()
    changed: dict[str, str] = {}
    for name, given in roots.items():
        if name not in info["roots"]:
            raise UnknownNameError("root", name, info["roots"], "`locatlas index` declares new ones")
        path = given.expanduser().resolve()
        if not path.is_dir():
            message = f"{given}: no such folder; root {name!r} stays {info['roots'][name]}"
            raise InputError(message)
        declared = {**info["roots"], **changed}
        if taken := [other for other, folder in declared.items() if folder == str(path) and other != name]:
            message = f"{given}: is root {taken[0]!r} already; root {name!r} stays {info['roots'][name]}"
            raise InputError(message)
        if info["roots"][name] != str(path):
            _look(store, name, path, before=info["roots"][name])
            changed[name] = str(path)
    if changed:
        store.folder.write_info({**info, "roots": {**info["roots"], **changed}})
    return changed


def _look(store: Store, name: str, path: Path, *, before: str) -> None:
    """Refuse a folder of other images."""
    there: dict[str, bool] = {}
    whole: list[tuple[str, str]] = []  # an image in each file that is there
    for level, table in (("fov", "fovs"), ("cell", "cells")):
        columns = [*_COLUMNS, "box"] if level == "cell" else _COLUMNS
        for row in rows_of(store.read(table, columns)):
            if row["root"] != name or not row["sources"]:
                continue
            first = row["sources"][0]["path"]
            if first not in there:
                there[first] = (path / first).is_file()
                if there[first] and row.get("box") is None:
                    whole.append((level, row["id"]))
    n_missing = sum(not found for found in there.values())
    if there and n_missing == len(there):
        example = min(there)
        message = f"{path}: holds none of the {len(there)} files of root {name!r}, e.g. {example}; it stays {before}"
        raise InputError(message)
    looked_at = whole[:: max(1, len(whole) // LOOKED_AT)][:LOOKED_AT]
    others = [image_id for level, image_id in looked_at if not _is_same(store, level, image_id, name, path)]
    if looked_at and len(others) == len(looked_at):
        message = f"{path}: its files are not those of root {name!r}, e.g. that of {others[0]}; it stays {before}"
        raise InputError(message)
    if n_missing or others:
        logger.warning(
            "%s: %d of %d files of root %r are not there, %d of %d that were read have other bytes; `locatlas index` "
            "tells which",
            *(path, n_missing, len(there), name, len(others), len(looked_at)),
        )


def _is_same(store: Store, level: str, image_id: str, name: str, path: Path) -> bool:
    """Whether an image below the new folder has the bytes that were indexed."""
    row = store.read_rows(image_table(level), [image_id]).to_pylist()[0]
    roots = {**store.folder.root_paths(), name: path}
    try:
        return source_digest(record_from_row(row, level=level, roots=roots)) == row["source_digest"]
    except ImageRejectedError:
        return False

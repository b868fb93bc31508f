"""What becomes of decoded images: told when damaged, removed when nothing names them. I/O."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from locatlas.indexer.pixel_cache.segments import (
    KINDS,
    bytes_of,
    digest_of,
    entries_file,
    entry_key,
    planes_file,
    read_entries,
    segments,
)
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.sources import is_cut
from locatlas.indexer.store.tables import Store

__all__ = ["damaged_segments", "drop_segment", "held_images", "image_rows_of", "remove_stale", "wanted_keys"]

COLUMNS = ("id", "dataset", "root", "sources", "row", "source_digest", "source_stat", "height", "width", "channels")
"""What is asked of the image tables."""


def image_rows_of(store: Store, level: str) -> Iterator[dict[str, Any]]:
    """The rows of a level whose images are read whole, with `COLUMNS`: fields, and cells that are not cut out."""
    if not store.has(image_table(level)):
        return
    columns = [*COLUMNS, *(["box"] if level == "cell" else [])]
    for row in rows_of(store.read(image_table(level), columns)):
        if row["sources"] and not is_cut(row):
            yield row


def wanted_keys(store: Store) -> set[bytes]:
    """Keys of all images of an atlas, as they were when they were read last."""
    levels = ("fov", "cell")
    return {entry_key(row, row["source_stat"]) for level in levels for row in image_rows_of(store, level)}


def held_images(folder: Path) -> tuple[int, int]:
    """Images in the segments that can be read, and the bytes of their planes.

    Args:
        folder: Of the segments.
    """
    images = n_bytes = 0
    for name in segments(folder):
        try:
            images += len(read_entries(folder, name))
            n_bytes += planes_file(folder, name).stat().st_size
        except (OSError, ValueError):
            continue  # `verify` tells
    return images, n_bytes


def remove_stale(store: Store) -> int:
    """Remove segments of which the atlas wants no image any more, and planes that no entries name; bytes freed.

    Nobody writes segments meanwhile. Those of which some images are wanted stay whole.
    """
    folder = store.folder.decoded
    names = segments(folder)
    freed = 0
    for path in [*folder.glob(".*.part"), *(p for p in folder.glob("[0-9]*.planes") if p.stem not in set(names))]:
        freed += path.stat().st_size
        path.unlink()
    wanted: Collection[bytes] | None = None
    for name in names:
        try:
            entries = read_entries(folder, name)
        except (OSError, ValueError):
            continue  # `verify` tells
        if wanted is None:
            wanted = wanted_keys(store)
        if not any(one["key"].tobytes() in wanted for one in entries):
            freed += drop_segment(folder, name)
    return freed


def drop_segment(folder: Path, name: str) -> int:
    """Delete a segment, its entries first; bytes freed. Whoever reads it now decodes instead."""
    freed = 0
    for path in (entries_file(folder, name), planes_file(folder, name)):
        if path.exists():
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    return freed


def damaged_segments(atlas: AtlasFolder, *, full: bool) -> tuple[dict[str, str], int]:
    """Segments that are not what was written, as their entries below the atlas, with the reason; and the bytes read.

    Args:
        atlas: The atlas.
        full: Also compare every image's planes with their digest.
    """
    folder = atlas.decoded
    wrong: dict[str, str] = {}
    n_bytes = 0
    for name in segments(folder):
        try:
            entries = read_entries(folder, name)
            if full:
                with planes_file(folder, name).open("rb") as file:
                    for one in entries:
                        planes = np.fromfile(file, KINDS[int(one["kind"])], int(np.prod(one["shape"], dtype=np.int64)))
                        n_bytes += bytes_of(one)
                        if digest_of(planes) != one["planes"].tobytes():
                            message = "planes are not what was written"
                            raise ValueError(message)
        except (OSError, ValueError) as error:
            if entries_file(folder, name).exists():  # else it was removed just now
                wrong[entries_file(folder, name).relative_to(atlas.path).as_posix()] = str(error)
    return wrong, n_bytes

"""Decode every image of an atlas once and keep its planes (`locatlas pack`). I/O."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.files.read_ahead import read_ahead
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.pixel_cache.keeping import drop_segment, image_rows_of, remove_stale
from locatlas.indexer.pixel_cache.reading import PixelCache
from locatlas.indexer.pixel_cache.segments import entry_key, segments
from locatlas.indexer.pixel_cache.writing import Writer
from locatlas.indexer.published.writing import writes
from locatlas.indexer.store.disk import SPARE_BYTES, require_space
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.sources import source_stat
from locatlas.indexer.store.tables import Store
from locatlas.interrupts import check_stop
from locatlas.types import ChannelImage

__all__ = ["PackSummary", "pack"]

LEVELS = ("fov", "cell")

SLAB_ROWS = 4096
"""Rows that are held whole at once."""

AHEAD = 16
"""Images that are decoded ahead of who writes them."""


@dataclass(slots=True)
class PackSummary:
    """What `pack` did.

    Attributes:
        path: Of the atlas.
        images: That are held now.
        packed: That were decoded now.
        changed: Whose source is not what was indexed: to be indexed again.
        unreadable: That could not be decoded.
        reasons: Why, with how often.
        written_bytes: Now.
        bytes: That the cache takes now.
        freed_bytes: Of what was removed.
    """

    path: str
    images: int = 0
    packed: int = 0
    changed: int = 0
    unreadable: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    written_bytes: int = 0
    bytes: int = 0
    freed_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `pack`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Images that are not held: ids by level, their pixels by what decides how many bytes each of them has."""

    ids: dict[str, list[str]]
    pixels: Counter[tuple[str, str, str]]
    first: dict[tuple[str, str, str], tuple[str, str]]


@writes("pack")
def pack(
    *,
    atlas: str | Path,
    drop: bool = False,
    told: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
) -> PackSummary:
    """Decode every image of an atlas and keep its planes, so that `embed`, `reembed` and training need not decode it.

    What is held already stays; images that the atlas has no more are removed with their file. A run that was stopped or
    killed is continued by the next, and loses a minute's work at most. Nothing of the atlas itself changes.

    Args:
        atlas: Atlas folder.
        drop: Delete all that is held instead.
        told: Called with how many images will be decoded and about how many bytes that will take, before it begins.
        progress: Told of what goes on.

    Raises:
        InputError: If there is no atlas, it cannot be written, or the disk has no room for all images.
        AtlasLockedError: If another process packs.
    """
    store = Store.open(Path(atlas))
    summary = PackSummary(str(store.folder.path))
    folder = store.folder.decoded
    with store.folder.packing("pack"):
        if drop:
            summary.freed_bytes = sum(drop_segment(folder, name) for name in segments(folder)) + remove_stale(store)
            return summary
        summary.freed_bytes = remove_stale(store)
        roots = store.folder.root_paths()
        wanted = _wanted(store, PixelCache(store.folder))
        n = sum(map(len, wanted.ids.values()))
        n_bytes = sum(_bytes_per_pixel(store, wanted.first[kind], roots) * p for kind, p in wanted.pixels.items())
        if told is not None:
            told(n, n_bytes)
        require_space(folder, n_bytes, spare=SPARE_BYTES)
        with Writer(folder) as writer, read_ahead("locatlas-pack") as pool:
            for done, (row, found) in enumerate(_decoded(store, wanted, roots, pool), 1):
                check_stop()
                if isinstance(found, str):
                    summary.unreadable += 1
                    summary.reasons[found] = summary.reasons.get(found, 0) + 1
                elif found is None:
                    summary.changed += 1
                else:
                    writer.append(entry_key(row, row["source_stat"]), row["source_digest"], found.pixels)
                    summary.packed += 1
                if progress is not None:
                    progress("packing", done, n)
        summary.written_bytes = writer.written_bytes
        summary.images, summary.bytes = len(PixelCache(store.folder)), _size(folder)
    return summary


def _wanted(store: Store, held: PixelCache) -> _Wanted:
    wanted = _Wanted({level: [] for level in LEVELS}, Counter(), {})
    for level in LEVELS:
        for row in image_rows_of(store, level):
            source = held.holds(entry_key(row, row["source_stat"]))
            if source is not None and source.hex() == row["source_digest"]:
                continue
            wanted.ids[level].append(row["id"])
            kind = (level, row["dataset"], Path(row["sources"][0]["path"]).suffix.lower())
            wanted.pixels[kind] += len(row["channels"]) * row["height"] * row["width"]
            wanted.first.setdefault(kind, (level, row["id"]))
    return wanted


def _bytes_per_pixel(store: Store, first: tuple[str, str], roots: Mapping[str, Path]) -> int:
    """Of the first image of its data set and kind of file; 4 where that cannot be read."""
    for row in _rows(store, first[0], [first[1]]):
        found = _read(row, first[0], roots)[1]
        if isinstance(found, ChannelImage):
            return int(found.pixels.dtype.itemsize)
    return 4


def _rows(store: Store, level: str, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    names = [name for name in image_schema("fov" if level == "fov" else "cell").names if name != "thumbnail"]
    for start in range(0, len(ids), SLAB_ROWS):
        yield from store.read_rows(image_table(level), ids[start : start + SLAB_ROWS], names).to_pylist()


def _decoded(
    store: Store, wanted: _Wanted, roots: Mapping[str, Path], pool: ThreadPoolExecutor
) -> Iterator[tuple[dict[str, Any], ChannelImage | str | None]]:
    """Each row with its image, the reason why it cannot be read, or None where its source is another now."""
    waiting: deque[Future[tuple[dict[str, Any], ChannelImage | str | None]]] = deque()
    for level in LEVELS:
        for row in _rows(store, level, wanted.ids[level]):
            waiting.append(pool.submit(_read, row, level, roots))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(
    row: dict[str, Any], level: str, roots: Mapping[str, Path]
) -> tuple[dict[str, Any], ChannelImage | str | None]:
    try:
        record = record_from_row(row, level=level, roots=roots)
        if source_stat(record.sources) != row["source_stat"]:
            return row, None
        image, digest = read_image(record)
    except ImageRejectedError as error:
        return row, str(error)
    return row, image if digest == row["source_digest"] else None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("[0-9]*"))

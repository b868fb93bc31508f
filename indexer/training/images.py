"""The images that a network is trained on: rows of an atlas as scaled planes, kept up to a limit. Reads files."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.dropped import is_dropped
from locatlas.indexer.files.fields import SharedFields
from locatlas.indexer.memory import usable_memory
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.pixel_cache.reading import PixelCache, read_row
from locatlas.indexer.reading import cut_cell
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.sources import is_cut
from locatlas.indexer.store.tables import Store
from locatlas.models.channels import used_channels
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.planes import training_planes

__all__ = ["StoredImages", "default_cache_bytes"]

_SLAB_ROWS = 4096

_AT_ONCE = 64
"""Images that are read before the first of them is looked at; bounds what lies in memory beside what is kept."""


def default_cache_bytes() -> int:
    """A third of the machine's memory; 4 GiB where it cannot be asked."""
    memory = usable_memory()
    return 4 * 2**30 if memory is None else memory // 3


class StoredImages:
    """Images of an atlas for training: `locatlas.models.training.objective.TrainingImages`. Made by `load`.

    Their planes are the same bits whether they are kept or read again: both are rounded to float16, see
    `training_planes`.

    Attributes:
        ids: Of the images, in the order asked for.
        channels: Meaning of each plane.
        left_out: Why images that were asked for are not among them, by id.
    """

    def __init__(
        self,
        records: Sequence[tuple[ImageRecord, Mapping[str, Any]]],
        spec: EncoderSpec,
        channels: tuple[str, ...],
        cache_bytes: int,
        *,
        mixed: bool = False,
        cache: PixelCache | None = None,
    ) -> None:
        self.channels = channels
        self._mixed = mixed
        self.ids = tuple(record.id for record, _ in records)
        self.left_out: dict[str, str] = {}
        self._spec = spec
        self._rows = list(records)
        self._fields = SharedFields(cache=cache)
        self._kept: dict[str, Tensor] = {}
        self._room = cache_bytes

    @classmethod
    def load(
        cls,
        store: Store,
        level: str,
        ids: Sequence[str],
        spec: EncoderSpec,
        *,
        mixed: bool = False,
        cache_bytes: int | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Read images once: what cannot be used is left out and told, and what fits is kept.

        Args:
            store: The atlas.
            level: "fov" or "cell".
            ids: Of the images, distinct; those the atlas does not hold are left out as well.
            spec: Encoder that is trained; its crop cuts the cells.
            mixed: Let images of fewer channels than others take part with those they have, where the encoder's plan is
                one joint pass over whatever there is. Else the channels are those of most images, and images that lack
                one are left out.
            cache_bytes: Most memory for planes; None for `default_cache_bytes`.
            threads: That read; None for one a processor.
            progress: Told of what goes on.

        Raises:
            InputError: If no image is left.
        """
        roots = store.folder.root_paths()
        records: list[tuple[ImageRecord, Mapping[str, Any]]] = []
        left_out: dict[str, str] = {}
        names = [n for n in image_schema("fov" if level == "fov" else "cell").names if n != "thumbnail"]
        for start in range(0, len(ids), _SLAB_ROWS):
            slab = ids[start : start + _SLAB_ROWS]
            found = {row["id"]: row for row in store.read_rows(image_table(level), slab, names).to_pylist()}
            for i in slab:
                try:
                    records.append(_usable(i, found.get(i), level, roots, spec))
                except ImageRejectedError as error:
                    left_out[i] = str(error)
        is_open = mixed and not spec.stains and spec.passes == "joint"
        channels = _all_channels(records, spec) if is_open else _common_channels(records, spec)
        size = default_cache_bytes() if cache_bytes is None else cache_bytes
        images = cls(records, spec, channels, size, mixed=is_open, cache=PixelCache(store.folder))
        images.left_out = left_out
        images._read_all(threads or os.cpu_count() or 1, progress)
        if not images.ids:
            reasons = Counter(images.left_out.values())
            why = next(iter(reasons), "none was asked for")
            message = f"{store.folder.path}: none of {len(ids)} images can be trained on, e.g. {why}"
            raise InputError(message)
        return images

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all that decides each image's pixels: its source, and the place and mask of a cell."""
        return tuple(str(row["source_digest"]) for _, row in self._rows)

    def part(self, ids: Sequence[str]) -> Self:
        """Those of the images that have these ids, in this order, with the same memory; others are passed over."""
        place = {i: n for n, i in enumerate(self.ids)}
        found = [self._rows[place[i]] for i in ids if i in place]
        other = type(self)(found, self._spec, self.channels, 0, mixed=self._mixed)
        other._kept, other._fields = self._kept, self._fields
        return other

    @property
    def n_kept(self) -> int:
        """Images whose planes are in memory."""
        return sum(i in self._kept for i in self.ids)

    def channels_of(self, i: int) -> tuple[str, ...]:
        """All of `channels`; where images of fewer take part, those that image i has, in the same order."""
        return self._channels_of(self._rows[i][0])

    def _channels_of(self, record: ImageRecord) -> tuple[str, ...]:
        if not self._mixed:
            return self.channels
        return tuple(channel for channel in self.channels if channel in record.channels)

    def planes(self, i: int) -> Tensor:
        """An image's channels, float32 in [0, 1], (channels, h, w); from memory, or read anew.

        Raises:
            ImageRejectedError: If it was not kept and its file is not what it was.
        """
        kept = self._kept.get(self.ids[i])
        return (self._read(*self._rows[i]) if kept is None else kept).float()

    def _read(self, record: ImageRecord, row: Mapping[str, Any]) -> Tensor:
        """Float16 planes of a row."""
        path = str(record.sources[0].path)
        try:
            if is_cut(row):
                image = cut_cell(record, row, self._fields, self._spec.crop)
            else:
                image, digest = read_row(record, row, self._fields.cache)
                if digest != row["source_digest"]:
                    message = f"{path}: changed since it was indexed; index it again"
                    raise ImageRejectedError(message)
            if not (channels := self._channels_of(record)):
                used_channels(self._spec, record.channels)  # says which slots there are
            return training_planes(image, channels, self._spec)
        except ImageRejectedError as error:
            # the network's reasons do not know the file
            raise ImageRejectedError(str(error) if path in str(error) else f"{path}: {error}") from error

    def _read_all(self, threads: int, progress: Progress | None) -> None:
        """Try every image, keep the first that fit, leave out what cannot be used."""

        def tried(one: tuple[ImageRecord, Mapping[str, Any]]) -> Tensor | str:
            try:
                return self._read(*one)
            except ImageRejectedError as error:
                return str(error)

        # cells in the order of their fields, so that a field is decoded once
        order = sorted(range(len(self._rows)), key=lambda n: (self._rows[n][0].sources[0].path, n))
        good: set[int] = set()
        with ThreadPoolExecutor(threads, thread_name_prefix="locatlas-read") as pool:
            for start in range(0, len(order), _AT_ONCE):
                part = order[start : start + _AT_ONCE]
                for n, result in zip(part, pool.map(tried, [self._rows[n] for n in part]), strict=True):
                    if isinstance(result, str):
                        self.left_out[self.ids[n]] = result
                        continue
                    good.add(n)
                    if (size := result.numel() * result.element_size()) <= self._room:
                        self._kept[self.ids[n]] = result
                        self._room -= size
                if progress:
                    progress("reading images", start + len(part), len(order))
        usable = [self._rows[n] for n in range(len(self._rows)) if n in good]
        self._rows, self.ids = usable, tuple(record.id for record, _ in usable)


def _usable(
    image_id: str, row: Mapping[str, Any] | None, level: str, roots: Mapping[str, Path], spec: EncoderSpec
) -> tuple[ImageRecord, Mapping[str, Any]]:
    """An image's record and row.

    Raises:
        ImageRejectedError: If it cannot be read, by its row alone.
    """
    if row is None:
        message = f"{image_id}: not in the atlas"
        raise ImageRejectedError(message)
    record = record_from_row(row, level=level, roots=roots)
    if is_cut(row) and spec.crop is None:
        message = f"{image_id}: is cut out of its field, and encoder {spec.name} has no crop"
        raise ImageRejectedError(message)
    if is_dropped(row, spec.crop):
        message = "meets the border, and the encoder's crop drops such cells"
        raise ImageRejectedError(message)
    return record, row


def _all_channels(records: Sequence[tuple[ImageRecord, Mapping[str, Any]]], spec: EncoderSpec) -> tuple[str, ...]:
    """The slots that some image has a channel for, in their order."""
    there = {channel for names in {record.channels for record, _ in records} for channel in names}
    return tuple(slot for slot in spec.slots if slot in there)


def _common_channels(records: Sequence[tuple[ImageRecord, Mapping[str, Any]]], spec: EncoderSpec) -> tuple[str, ...]:
    """The channels that most images give the encoder; images that lack one of them are left out when they are read."""
    if spec.stains:
        return spec.stains
    counts: Counter[tuple[str, ...]] = Counter()
    for names, n in Counter(record.channels for record, _ in records).items():
        try:
            counts[used_channels(spec, names)] += n
        except ImageRejectedError:
            continue  # told when it is read
    # of equally many the richer, then by name, so that no order of rows decides
    return max(counts, key=lambda c: (counts[c], len(c), c), default=spec.slots[:1])

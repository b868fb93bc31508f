"""Packs that are stopped, killed, damaged or out of room: no image is ever given the pixels of another."""

import errno
import os
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.indexer.files.images import read_image
from locatlas.indexer.pixel_cache import reading, writing
from locatlas.indexer.pixel_cache.reading import PixelCache
from locatlas.indexer.pixel_cache.run import pack
from locatlas.indexer.pixel_cache.segments import segments
from locatlas.indexer.store import disk
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.made import name_of
from tests.indexer.pixel_cache.test_pixel_cache import FIELD_BYTES, atlas, decoded, embedded, folder_of, rows, source
from tests.indexer.verify.whole import flip
from tests.quick import some

__all__ = ["atlas", "decoded", "source"]


def test_a_stop_keeps_what_was_decoded_and_the_next_run_goes_on(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopError(BaseException):
        pass

    def stop(what: str, done: int, total: int) -> None:
        assert (what, total) == ("packing", 6)
        if done == 4:
            raise StopError

    with pytest.raises(StopError):
        pack(atlas=atlas, progress=stop)
    assert (pack(atlas=atlas).packed, pack(atlas=atlas).images) == (2, 6)


def test_what_a_kill_leaves_is_not_used_and_goes_with_the_next_run(atlas: Path, decoded: Counter[str]) -> None:
    pack(atlas=atlas)
    folder = folder_of(atlas)
    # killed before entries were renamed, and while planes were written
    [name] = segments(folder)
    (folder / f"{name}.planes").rename(folder / "000002-0a0b0c0d.planes")
    (folder / f"{name}.entries").unlink()
    (folder / ".000003-0a0b0c0d.planes.part").write_bytes(b"x" * 100)
    assert verify(atlas=atlas).damage == []
    embedded(atlas)
    assert sum(decoded.values()) == 6
    summary = pack(atlas=atlas)
    assert (summary.packed, summary.freed_bytes) == (6, 6 * FIELD_BYTES + 100)
    [name] = segments(folder)
    assert sorted(path.name for path in folder.glob("[!.]*")) == [f"{name}.entries", f"{name}.planes"]


def damage(kind: str, folder: Path) -> None:
    [name] = segments(folder)
    planes, entries = folder / f"{name}.planes", folder / f"{name}.entries"
    if kind == "flipped bit":
        flip(planes, 5000, 3)
    elif kind == "cut short":
        os.truncate(planes, planes.stat().st_size // 2)
    elif kind == "no planes":
        planes.unlink()
    else:
        flip(entries, 200, 3)


@pytest.mark.parametrize("kind", some(["flipped bit", "cut short", "no planes", "entries"], 0, 1))
def test_damage_is_found_and_repaired(kind: str, atlas: Path, decoded: Counter[str]) -> None:
    pack(atlas=atlas)
    [name] = segments(folder_of(atlas))
    damage(kind, folder_of(atlas))
    quick = verify(atlas=atlas, quick=True)
    assert len(quick.damage) == (0 if kind == "flipped bit" else 1)  # which only reading all bytes shows
    (finding,) = verify(atlas=atlas).findings
    assert (finding.severity, finding.kind, finding.where) == (
        "damage",
        "pixels damaged",
        f"cache/images/{name}.entries",
    )
    embedded(atlas)
    assert sum(decoded.values()) == (1 if kind == "flipped bit" else 6)  # not used
    assert verify(atlas=atlas, repair=True).damage == []
    assert segments(folder_of(atlas)) == []
    assert pack(atlas=atlas).packed == 6


def test_planes_that_are_cut_short_while_they_are_in_use_are_decoded(atlas: Path, source: Path) -> None:
    pack(atlas=atlas)
    cache = PixelCache(Store.open(atlas).folder)
    [name] = segments(folder_of(atlas))
    os.truncate(folder_of(atlas) / f"{name}.planes", FIELD_BYTES + 5)
    found = []
    for row in rows(atlas):
        record = record_from_row(row, level="fov", roots={row["root"]: source})
        found.append(cache.read(record, row) is None)
        assert reading.read_row(record, row, cache)[0].pixels.tobytes() == read_image(record)[0].pixels.tobytes()
    assert found.count(False) == 1


def test_a_reader_of_segments_that_are_gone_is_never_given_the_planes_of_others(atlas: Path, source: Path) -> None:
    """As an embedding of hours is while the pack is dropped and made anew, in another order."""
    pack(atlas=atlas)
    cache = PixelCache(Store.open(atlas).folder)
    pack(atlas=atlas, drop=True)
    (source / name_of(0)).unlink()  # the planes of all others move up
    assert pack(atlas=atlas).images == 5
    for row in rows(atlas)[1:]:
        record = record_from_row(row, level="fov", roots={row["root"]: source})
        assert reading.read_row(record, row, cache)[0].pixels.tobytes() == read_image(record)[0].pixels.tobytes()


def test_an_interrupt_while_planes_are_written_leaves_a_whole_segment(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Store.open(atlas).folder
    field = np.arange(2 * 8 * 8, dtype=np.uint16).reshape(2, 8, 8)

    def interrupted(_: Any) -> bytes:
        raise KeyboardInterrupt

    with folder.packing("pack"), suppress(KeyboardInterrupt), writing.Writer(folder.decoded) as writer:
        writer.append(b"k" * 16, "ab" * 16, field)
        monkeypatch.setattr(writing, "digest_of", interrupted)  # after the planes are written
        writer.append(b"l" * 16, "ab" * 16, field)
    assert verify(atlas=atlas).damage == []
    assert len(PixelCache(folder)) == 1


def test_what_a_full_disk_left_unfinished_is_removed(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("locatlas.indexer.pixel_cache.segments.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        pack(atlas=atlas)
    assert list(folder_of(atlas).glob("*.planes")) == []


def test_a_disk_without_room_is_refused_before_anything_is_written(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    usage = shutil.disk_usage(atlas)._replace(free=disk.SPARE_BYTES + 6 * FIELD_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"cache/images: 0\.0 MB are to be written and 8\.4 MB are free; nothing was"):
        pack(atlas=atlas, told=lambda *said: told.append(said))
    assert told == [(6, 6 * FIELD_BYTES)]
    assert segments(folder_of(atlas)) == []

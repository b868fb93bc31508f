"""Fields that many threads want: decoded once, few held, errors for all that ask."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.fields import SharedFields
from locatlas.indexer.pixel_cache import reading
from locatlas.indexer.records import ImageRecord, Source
from tests.indexer.made import pixels, write_field


def record(path: Path, **said: Any) -> ImageRecord:
    return ImageRecord(id=path.stem, level="cell", dataset="d", sources=(Source(path, ("nucleus", "protein")),), **said)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    read: Counter[str] = Counter()
    real = reading.read_image

    def slow(one: ImageRecord) -> Any:
        read[one.sources[0].path.name] += 1
        Event().wait(0.02)  # so that the others ask while this one reads
        return real(one)

    monkeypatch.setattr(reading, "read_image", slow)
    return read


def test_threads_that_ask_at_once_share_one_reading(tmp_path: Path, counted: Counter[str]) -> None:
    path = write_field(tmp_path, 1)
    shared, together = SharedFields(), Barrier(6)

    def ask(_: int) -> Any:
        together.wait()
        return shared.read(record(path), {})

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, range(6)))
    assert counted == {path.name: 1}
    assert all(image is found[0][0] and digest == found[0][1] for image, digest in found)
    assert (found[0][0].pixels == pixels(1)).all()


def test_only_the_last_fields_are_held(tmp_path: Path, counted: Counter[str]) -> None:
    paths = [write_field(tmp_path, n) for n in range(3)]
    shared = SharedFields(keep=2)
    for n in (0, 1, 0, 2, 0, 1):  # 2 makes 1 leave, not 0, which was asked for since
        shared.read(record(paths[n]), {})
    assert [counted[path.name] for path in paths] == [1, 2, 1]


def test_all_that_ask_for_a_broken_field_are_told(tmp_path: Path, counted: Counter[str]) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(b"no image")
    shared = SharedFields()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(shared.read, record(path), {}) for _ in range(3)]
    for one in asked:
        with pytest.raises(ImageRejectedError, match=r"broken\.tif"):
            one.result()


def test_one_file_with_two_pixel_sizes_is_two_fields(tmp_path: Path, counted: Counter[str]) -> None:
    path = write_field(tmp_path, 1)
    shared = SharedFields()
    sizes = [shared.read(record(path, pixel_size_um=um), {})[0].pixel_size_um for um in (0.1, 0.2, 0.1)]
    assert sizes == [0.1, 0.2, 0.1]
    assert counted == {path.name: 2}

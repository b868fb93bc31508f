"""The made collection as one data set, beside the readers of its two looks."""

from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.indexer.datasets import read_records
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.synthetic import make_collection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    make_collection(made, classes=("er", "golgi"), proteins_per_class=1, hpa_proteins_per_class=1, opencell_px=96,
                    hpa_px=96, workers=1)  # fmt: skip
    return made


def records(name: str, folder: Path, **options: str) -> list[ImageRecord]:
    items = list(read_records(name, folder, options=options))
    assert all(isinstance(item, ImageRecord) for item in items)
    return [item for item in items if isinstance(item, ImageRecord)]


def test_both_sources_are_read_with_masks_and_pixel_sizes(folder: Path) -> None:
    found = records("synthetic", folder)
    assert [r.id for r in found] == sorted(r.id for r in found)
    assert {(r.metadata["source"], r.pixel_size_um) for r in found} == {("opencell", 0.2), ("hpa", 0.32)}
    assert all(r.mask_path is not None and r.mask_path.is_file() for r in found)
    assert all(r.nucleus_mask_path is not None and r.nucleus_mask_path.is_file() for r in found)


@pytest.mark.parametrize("source", ["opencell", "hpa"])
def test_one_source_holds_the_images_that_its_own_reader_finds(folder: Path, source: str) -> None:
    mine = records("synthetic", folder, source=source)
    theirs = records(source, folder / source)
    assert [(r.sources, r.protein, r.localizations) for r in sorted(mine, key=lambda r: str(r.sources[0].path))] == [
        (r.sources, r.protein, r.localizations) for r in sorted(theirs, key=lambda r: str(r.sources[0].path))
    ]


def test_another_folder_is_said_to_hold_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no opencell/manifest.csv or hpa/manifest.csv"):
        list(read_records("synthetic", tmp_path))

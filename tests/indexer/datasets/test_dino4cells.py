"""DINO4Cells' tables: 68 columns, ids of fields and cells, paths that mean nothing here."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from locatlas.errors import InputError
from locatlas.indexer.files.images import read_image
from locatlas.indexer.labels import get_vocabulary

UUID = "000a9596-bbc4-11e8-b2bc-ac1f6b6435d0"
LABELS = [label.lower() for label in get_vocabulary("kaggle-2018").labels]
CELL_LINES = [f"line {i}" for i in range(35)]
HEADER = ["", "file", "protein_location", "cell_type", "ID", *LABELS, *CELL_LINES]


def row(file: str, name: str, *labels: str, location: str = "['x']") -> list[str]:
    flags = [str(label in labels) for label in LABELS]
    return ["0", file, f'"{location}"', "line 3", name, *flags, *(str(line == "line 3") for line in CELL_LINES)]


def table(*rows: list[str], header: list[str] = HEADER) -> str:
    return "\n".join(",".join(cells) for cells in [header, *rows]) + "\n"


@pytest.fixture
def planes(tmp_path: Path, rng):
    def write(name: str):
        pixels = rng.integers(0, 256, (4, 6, 5), dtype=np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels, photometric="minisblack")
        return pixels

    return write


def test_a_table_of_68_columns_is_read(read, make, planes, tmp_path: Path) -> None:
    assert len(HEADER) == 68
    pixels = planes("images/a.tif")
    planes("images/b.tif")
    make(
        "whole_images.csv",
        table(row("images/a.tif", "17168_166_H6_1", "cytosol", "rods & rings"), row("images/b.tif", UUID)),
    )
    (kaggle, site), rejected = read("dino4cells", tmp_path)
    assert not rejected
    assert (kaggle.id, kaggle.level, kaggle.localizations) == (f"dino4cells/{UUID}", "fov", ())
    assert site.id == "dino4cells/17168_166_H6_1"
    assert (site.antibody, site.plate, site.well, site.cell_line) == ("17168", "166", "H6", "line 3")
    assert site.localizations == ("Cytosol", "Rods & Rings")
    assert site.groups == {"antibody": "17168"}
    image, _ = read_image(site)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.channels == ("microtubules", "protein", "nucleus", "er")


def test_the_channel_order_is_an_option_because_sources_contradict(read, make, planes, tmp_path: Path) -> None:
    planes("a.tif")
    make("t.csv", "file,ID\na.tif,x\n")
    (record,), _ = read("dino4cells", tmp_path, channel_order="bgry")
    assert record.channels == ("nucleus", "protein", "microtubules", "er")
    assert record.metadata["channel_order"] == "bgry"
    with pytest.raises(InputError, match="rgby"):
        read("dino4cells", tmp_path, channel_order="rgb")


def test_single_cells_know_their_field(read, make, planes, tmp_path: Path) -> None:
    planes("a.tif")
    planes("b.tif")
    make("cells.csv", f"file,ID\na.tif,17168_166_H6_1_12\nb.tif,{UUID}_3\n")
    (kaggle, site), _ = read("dino4cells", tmp_path)
    assert (kaggle.id, kaggle.fov_id, kaggle.level) == (f"dino4cells/{UUID}/3", f"dino4cells/{UUID}", "cell")
    assert (site.id, site.fov_id) == ("dino4cells/17168_166_H6_1/12", "dino4cells/17168_166_H6_1")


def test_without_label_columns_the_list_counts(read, make, planes, tmp_path: Path) -> None:
    planes("a.tif")
    make("t.csv", "file,ID,protein_location\na.tif,x,\"['golgi apparatus', 'vesicles']\"\na.tif,y,__import__('os')\n")
    (record,), (rejected,) = read("dino4cells", tmp_path)
    assert record.localizations == ("Golgi apparatus", "vesicles")
    assert "not a list of names" in rejected.reason


def test_the_19_classes_of_single_cells_are_recognised(read, make, planes, tmp_path: Path) -> None:
    planes("a.tif")
    header = "file,ID,er,golgi,plasma membrane(+cell junctions),negative / no staining,mitochondria"
    make("t.csv", f"{header}\na.tif,x,1,0,True,False,0\n")
    (record,), _ = read("dino4cells", tmp_path)
    assert record.localizations == ("Endoplasmic reticulum", "Plasma membrane")
    assert record.metadata["vocabulary"] == "kaggle-2021"


@pytest.mark.parametrize("file", ["/scr/authors/disk/a.tif", "C:\\data\\a.tif"])
def test_private_absolute_paths_are_looked_up_by_name(file: str, read, make, planes, tmp_path: Path) -> None:
    planes("deep/down/a.tif")
    make("t.csv", f"file,ID\n{file},x\n")
    (record,), rejected = read("dino4cells", tmp_path)
    assert record.sources[0].path == tmp_path / "deep/down/a.tif"
    assert not rejected


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("/etc/passwd", "no file of that name"),
        ("../outside.tif", "outside the folders"),
        ("/x/twice.tif", "several files"),
        ("none.tif", "no such file"),
        ("", "empty"),
        ("a\0.tif", "NUL"),
    ],
)
def test_paths_never_leave_the_root(file: str, reason: str, read, make, planes, tmp_path: Path) -> None:
    planes("outside.tif")
    planes("root/a/twice.tif")
    planes("root/b/twice.tif")
    make("root/t.csv", f"file,ID\n{file},x\n")
    records, (rejected,) = read("dino4cells", tmp_path / "root")
    assert not records
    assert reason in rejected.reason


def test_a_second_row_of_an_id_is_rejected(read, make, planes, tmp_path: Path) -> None:
    """4,338 of the 117,883 published rows are such."""
    planes("a.tif")
    planes("b.tif")
    make("t.csv", "file,ID\na.tif,x\nb.tif,x\n")
    (record,), (rejected,) = read("dino4cells", tmp_path)
    assert record.sources[0].path.name == "a.tif"
    assert rejected.source == "b.tif"
    assert "a.tif" in rejected.reason


def test_a_cell_that_is_neither_true_nor_false_rejects_its_row(read, make, planes, tmp_path: Path) -> None:
    planes("a.tif")
    make("t.csv", "file,ID,cytosol\na.tif,x,maybe\na.tif,y,true\n")
    (record,), (rejected,) = read("dino4cells", tmp_path)
    assert record.localizations == ("Cytosol",)
    assert "'maybe'" in rejected.reason


def test_no_table_is_one_line(read, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file, ID"):
        read("dino4cells", tmp_path)

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.datasets.registry import read_records
from locatlas.indexer.labels import map_labels
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.synthetic import CollectionSummary, make_collection

SMALL = {
    "classes": ("golgi", "nucleoplasm"),
    "proteins_per_class": 2,
    "fovs_per_protein": 2,
    "hpa_proteins_per_class": 1,
    "hpa_fovs_per_protein": 2,
    "opencell_px": 110,
    "hpa_px": 100,
}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CollectionSummary]:
    folder = tmp_path_factory.mktemp("made") / "collection"
    return folder, make_collection(folder, seed=5, workers=1, **SMALL)


def rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_worker_processes_write_the_same_bytes_as_one_process(made, tmp_path: Path) -> None:
    make_collection(tmp_path, seed=5, workers=2, **SMALL)
    assert digests(tmp_path) == digests(made[0])


def test_another_seed_draws_other_images_under_the_same_names(made, tmp_path: Path) -> None:
    make_collection(tmp_path, seed=6, workers=1, **SMALL)
    one, other = digests(made[0]), digests(tmp_path)
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if name.endswith((".tif", ".png")))


def test_a_field_does_not_depend_on_what_else_is_made(made, tmp_path: Path) -> None:
    arguments = {**SMALL, "classes": ("golgi",), "fovs_per_protein": 3, "hpa_fovs_per_protein": 0}
    make_collection(tmp_path, seed=5, workers=1, **arguments)
    one, other = digests(made[0]), digests(tmp_path)
    shared = [name for name in one if name in other and name.endswith((".tif", "mask.png", "nuclei.png"))]
    assert len(shared) == 3 * (2 * 2)  # image and two masks of two fields of two proteins
    assert all(one[name] == other[name] for name in shared)


def test_the_summary_counts_what_is_on_disk(made) -> None:
    folder, summary = made
    assert summary.n_opencell_fovs == len(list(summary.opencell.rglob("*_proj.tif"))) == 2 * 2 * 2
    assert summary.n_hpa_fovs == len(list(summary.hpa.rglob("*_blue.png"))) == 2 * 1 * 2
    masks = [np.asarray(Image.open(path)) for path in folder.rglob("*_mask.png")]
    assert summary.n_cells == sum(int(mask.max()) for mask in masks) > 0
    assert [protein.graded(3)[0] for protein in summary.proteins] == ["nucleoplasm"] * 2 + ["golgi"] * 2


def test_tiffs_are_those_of_the_opencell_bucket(made) -> None:
    for path in made[1].opencell.rglob("*_proj.tif"):
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_imagej
            assert tiff.series[0].axes == "CYX"
            assert tiff.series[0].shape == (2, 110, 110)
            assert tiff.series[0].dtype == np.uint16
            numerator, denominator = tiff.pages[0].tags["XResolution"].value
            assert numerator / denominator == pytest.approx(1 / 0.2)


def test_hpa_files_hold_one_8_bit_plane_each(made) -> None:
    files = [path for path in made[1].hpa.rglob("*.png") if path.parent.name != "masks"]
    assert len(files) == 4 * 4
    for path in files:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (100, 100))


@pytest.mark.parametrize("source", ["opencell", "hpa"])
def test_nuclei_lie_inside_of_the_cells_of_their_number(made, source: str) -> None:
    for mask_path in (made[0] / source / "masks").glob("*_mask.png"):
        cells = np.asarray(Image.open(mask_path))
        nuclei = np.asarray(Image.open(str(mask_path).replace("_mask", "_nuclei")))
        assert nuclei.dtype == np.uint16
        assert set(np.unique(nuclei)) == set(range(int(cells.max()) + 1))
        inside = nuclei > 0
        np.testing.assert_array_equal(nuclei[inside], cells[inside])


@pytest.mark.parametrize("source", ["opencell", "hpa"])
def test_boxes_are_those_of_the_masks(made, source: str) -> None:
    folder = made[0] / source
    listed = rows(folder / "cells.csv")
    assert listed
    for manifest_row in rows(folder / "manifest.csv"):
        mask = np.asarray(Image.open(folder / manifest_row["mask_path"]))
        assert mask.dtype == np.uint16
        own = [row for row in listed if row["fov"] == manifest_row["id"]]
        assert [int(row["cell"]) for row in own] == list(range(1, int(mask.max()) + 1))
        for row in own:
            y, x = np.nonzero(mask == int(row["cell"]))
            box = tuple(int(row[name]) for name in ("top", "left", "bottom", "right"))
            assert box == (y.min(), x.min(), y.max() + 1, x.max() + 1)
            assert int(row["area_px"]) == len(y)
            edge = min(y.min(), x.min()) == 0 or max(y.max(), x.max()) == len(mask) - 1
            assert bool(int(row["touches_border"])) == edge


def test_the_opencell_reader_finds_every_field_with_the_labels_drawn(made) -> None:
    summary = made[1]
    records = list(read_records("opencell", summary.opencell))
    assert all(isinstance(record, ImageRecord) for record in records)
    assert len(records) == summary.n_opencell_fovs
    proteins = {protein.gene: protein for protein in summary.proteins}
    for record in records:
        protein = proteins[record.protein]
        assert record.localizations == tuple(sorted(protein.graded(3)))
        assert set(record.graded) == {(label, grade) for grade in (1, 2, 3) for label in protein.graded(grade)}
        assert record.ensembl_id == protein.ensembl_id


def test_the_hpa_reader_finds_every_field_and_its_locations_map_to_the_class(made) -> None:
    summary = made[1]
    records = list(read_records("hpa", summary.hpa))
    assert all(isinstance(record, ImageRecord) for record in records)
    assert len(records) == summary.n_hpa_fovs
    proteins = {protein.gene: protein for protein in summary.proteins}
    for record in records:
        assert record.channels == ("microtubules", "protein", "nucleus", "er")
        assert record.localizations == tuple(sorted(proteins[record.protein].hpa_locations))
        assert proteins[record.protein].graded(3)[0] in map_labels(record.localizations, "hpa->opencell")
    listed = rows(summary.hpa / "subcellular_location.tsv", "\t")
    assert {row["Gene name"] for row in listed} == {record.protein for record in records}


@pytest.mark.parametrize("source", ["opencell", "hpa"])
def test_the_manifest_names_masks_and_files_that_exist(made, source: str) -> None:
    records = list(read_records("manifest", made[0] / source / "manifest.csv"))
    assert records
    for record in records:
        assert isinstance(record, ImageRecord)
        assert record.mask_path.is_file()
        assert record.nucleus_mask_path.is_file()
        assert all(part.path.is_file() for part in record.sources)
        assert record.pixel_size_um == {"opencell": 0.2, "hpa": 0.32}[source]


def test_the_notice_says_that_the_images_are_made(made) -> None:
    text = (made[0] / "README.txt").read_text(encoding="utf-8")
    assert "made by a program" in text
    assert "no real cell" in text


def test_progress_is_told_after_every_field(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    arguments = {**SMALL, "classes": ["golgi"], "hpa_fovs_per_protein": 1}
    make_collection(tmp_path, workers=1, progress=lambda done, total: told.append((done, total)), **arguments)
    assert told == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"opencell_px": 32}, "at least 64 px"),
        ({"proteins_per_class": 0}, "a protein per class"),
        ({"fovs_per_protein": -1}, "must not be negative"),
        ({"fovs_per_protein": 100}, "at most 99"),
        ({"seed": -1}, "seed must not be negative"),
        ({"classes": ()}, "no field of view to make"),
        ({"fovs_per_protein": 0, "hpa_fovs_per_protein": 0}, "no field of view to make"),
    ],
)
def test_impossible_requests_are_refused_before_anything_is_written(tmp_path: Path, wrong, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_collection(tmp_path / "new", **{**SMALL, **wrong})
    assert not (tmp_path / "new").exists()


def test_an_unknown_class_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"golgy.*golgi"):
        make_collection(tmp_path / "new", classes=["golgy"])


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, locatlas.indexer.synthetic; print(*sys.modules)"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"scipy", "tifffile", "PIL", "torch", "lancedb", "faiss"} & set(done.stdout.split())

"""cytoself: rows of stacked arrays, labels as text, and never a pickle."""

import re
from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.files.images import read_image


@pytest.fixture
def arrays(make, rng):
    def write(protein: str, n: int = 3, labels: object = "text"):
        pixels = {part: rng.random((n, 8, 8)).astype(np.float32) for part in ("pro", "nuc", "nucdist")}
        for part, array in pixels.items():
            make(f"{protein}_{part}.npy", array)
        if labels is not None:
            rows = [["ENSG1", protein, "vesicles;Golgi"]] * n
            make(f"{protein}_label.npy", np.array(rows) if isinstance(labels, str) else labels)
        return pixels

    return write


def test_each_row_is_a_cell(read, arrays, tmp_path: Path) -> None:
    pixels = arrays("RAB-7A")
    records, rejected = read("cytoself", tmp_path)
    assert not rejected
    assert [r.id for r in records] == [f"cytoself/RAB-7A/{i}" for i in range(3)]
    for record in records:
        assert (record.level, record.protein, record.ensembl_id) == ("cell", "RAB-7A", "ENSG1")
        assert record.localizations == ("golgi", "vesicles")
        image, _ = read_image(record)
        assert image.channels == ("nucleus", "protein")
        np.testing.assert_array_equal(image.pixels[0], pixels["nuc"][record.row])
        np.testing.assert_array_equal(image.pixels[1], pixels["pro"][record.row])


def test_without_labels_the_name_of_the_file_is_the_protein(read, arrays, tmp_path: Path) -> None:
    arrays("A", labels=None)
    records, rejected = read("cytoself", tmp_path)
    assert {(r.protein, r.localizations) for r in records} == {("A", ())}
    assert not rejected


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array([["E", "A", "er"]] * 3, dtype=object), "Python objects"),
        (np.array([["E", "A", "er"]] * 2), "2 labels for 3 cells"),
        (np.array([["E", "A"]] * 3), r"text of \(3, 3\) expected"),
        (np.zeros((3, 3)), "dtype float64"),
    ],
)
def test_bad_labels_are_told_and_the_images_kept(labels, reason: str, read, arrays, tmp_path: Path) -> None:
    arrays("A", labels=labels)
    records, (rejected,) = read("cytoself", tmp_path)
    assert len(records) == 3
    assert rejected.source == "A_label.npy"
    assert re.search(reason, rejected.reason)


def test_pickled_images_are_refused(read, make, arrays, tmp_path: Path) -> None:
    arrays("GOOD")
    make("BAD_nuc.npy", np.zeros((2, 4, 4)))
    make("BAD_pro.npy", np.array([{"run": "me"}], dtype=object))
    records, (rejected,) = read("cytoself", tmp_path)
    assert {r.protein for r in records} == {"GOOD"}
    assert (rejected.source, "Python objects" in rejected.reason) == ("BAD_pro.npy", True)


def test_a_missing_partner_and_other_shapes_are_named(read, make, tmp_path: Path) -> None:
    make("A_pro.npy", np.zeros((2, 4, 4)))
    make("B_pro.npy", np.zeros((2, 4, 4)))
    make("B_nuc.npy", np.zeros((3, 4, 4)))
    make("C_pro.npy", b"\x93NUMPY junk")
    make("C_nuc.npy", np.zeros((3, 4, 4)))
    records, rejected = read("cytoself", tmp_path)
    assert not records
    assert ["missing A_nuc.npy" in rejected[0].reason, "(3, 4, 4)" in rejected[1].reason] == [True, True]
    assert (rejected[2].source, "not an npy file" in rejected[2].reason) == ("C_pro.npy", True)

"""Kaggle: both competitions by their columns, complete sets of stains, and the real fields."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.indexer.files.images import read_image

COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture
def images(make, tmp_path: Path):
    def write(*names: str, folder: str = "train", leave_out: str = "") -> Path:
        for name in names:
            for colour in COLOURS:
                if colour != leave_out:
                    make(f"{folder}/{name}_{colour}.png")
        return tmp_path

    return write


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "﻿"])
@pytest.mark.parametrize(
    ("text", "labels", "vocabulary"),
    [
        ("Id,Target\na,25 0\nb,16\n", [("Cytosol", "Nucleoplasm"), ("Cytokinetic bridge",)], "kaggle-2018"),
        ("ID,Label\na,16|0\nb,18\n", [("Cytosol", "Nucleoplasm"), ("Negative",)], "kaggle-2021"),
    ],
)
def test_the_columns_tell_the_competition(text, labels, vocabulary, bom, newline, read, make, images) -> None:
    root = images("b", "a")
    make("train.csv", bom + text.replace("\n", newline))
    records, rejected = read("hpa-kaggle", root)
    assert [r.localizations for r in records] == labels
    assert {r.metadata["vocabulary"] for r in records} == {vocabulary}
    assert {r.channels for r in records} == {("microtubules", "protein", "nucleus", "er")}
    assert not rejected


def test_images_without_a_row_stay_unlabelled(read, make, images) -> None:
    images("a")
    root = images("t", folder="test")
    make("train.csv", "Id,Target\na,0\n")
    make("sample_submission.csv", "Id,Predicted\nt,0\n")
    a, t = read("hpa-kaggle", root)[0]
    assert (a.localizations, t.localizations) == (("Nucleoplasm",), ())


def test_what_is_missing_is_named(read, make, images) -> None:
    images("a")
    root = images("b", leave_out="yellow")
    make("train.csv", "Id,Target\na,0\nb,1\nc,2\n../../etc/passwd,2\n")
    records, rejected = read("hpa-kaggle", root)
    assert [r.id for r in records] == ["hpa-kaggle/a"]
    assert any("missing b_yellow.png" in r.reason for r in rejected)
    assert [r.source for r in rejected if "none of its four images" in r.reason] == [
        "train.csv: ../../etc/passwd",
        "train.csv: c",
    ]


@pytest.mark.parametrize("target", ["28", "-1", "x", "0|1", "0,1"])
def test_a_wrong_class_rejects_its_row(target: str, read, make, images) -> None:
    root = images("a", "b")
    make("train.csv", f"Id,Target\na,{target}\nb,1\n")
    records, (rejected,) = read("hpa-kaggle", root)
    assert [r.id for r in records if r.localizations] == ["hpa-kaggle/b"]
    assert rejected.source.startswith("train.csv line 2")


def test_duplicates_of_rows_and_of_files_are_told(read, make, images) -> None:
    images("a")
    root = images("a", folder="train2")
    make("train.csv", "Id,Target\na,0\na,1\n")
    (record,), rejected = read("hpa-kaggle", root)
    assert record.localizations == ("Nucleoplasm",)
    assert all(s.path.parent.name == "train" for s in record.sources)
    assert len(rejected) == 1 + 4


def test_a_table_of_neither_competition_is_refused_when_given(read, make, images) -> None:
    root = images("a")
    table = make("labels.csv", "image,label\na,0\n")
    with pytest.raises(InputError, match=r"Id,Target .2018. nor ID,Label"):
        read("hpa-kaggle", root, table=table)


def test_the_real_fields_have_the_readmes_labels(read, shared_data: Path) -> None:
    records, rejected = read("hpa-kaggle", shared_data / "hpa_kaggle_fovs")
    assert not rejected
    assert len(records) == 30
    assert Counter(len(r.localizations) for r in records) == {1: 14, 2: 12, 3: 4}
    assert Counter(label for r in records for label in r.localizations) == {
        "Cytosol": 10, "Nucleoplasm": 9, "Nucleoli fibrillar center": 7, "Nuclear speckles": 6, "Golgi apparatus": 4,
        "Nuclear membrane": 3, "Mitochondria": 3, "Nucleoli": 2, "Plasma membrane": 2, "Cell Junctions": 2,
        "Nuclear bodies": 1, "Microtubules": 1,
    }  # fmt: skip
    image, _ = read_image(records[0])
    assert image.pixels.shape == (4, 512, 512)
    assert image.pixels.dtype == np.uint8

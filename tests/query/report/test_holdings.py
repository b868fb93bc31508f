"""Counts of what an atlas holds, by hand."""

import numpy as np
import pyarrow as pa

from locatlas.query.asking.view import View
from locatlas.query.report.holdings import (
    count_flags,
    count_labels,
    count_localizations,
    count_splits,
    quarantine_by_reason,
)


def a_view(**columns: list[object]) -> View:
    n = len(next(iter(columns.values())))
    return View("fov", pa.table({"id": [str(i) for i in range(n)], **columns}), np.zeros((n, 2), np.float32))


def test_localizations_count_images_proteins_and_groups() -> None:
    view = a_view(
        localizations=[["er"], ["er", "golgi"], [], ["golgi"]],
        protein=["A", "B", "C", None],
        plate=["1", "1", "2", "2"],
    )
    assert count_labels(view) == {"none": 1, "one": 2, "several": 1}
    assert count_localizations(view, "plate") == [
        {"localization": "er", "images": 2, "proteins": 2, "groups": 1},
        {"localization": "golgi", "images": 2, "proteins": 1, "groups": 2},
    ]


def test_splits_are_those_of_the_source() -> None:
    assert count_splits(a_view(protein=["A"])) == []
    expected = [{"split": None, "images": 1}, {"split": "test", "images": 1}, {"split": "train", "images": 2}]
    for name in ("split", "group_split", "metadata_split"):
        assert count_splits(a_view(**{name: ["train", "test", None, "train"]})) == expected


def test_flags_count_with_the_images_they_are_of() -> None:
    images = pa.table({"dataset": ["a", "a", "b"], "qc": [["tiny", "flat:er"], ["tiny"], []]})
    assert count_flags({"fov": images}) == [
        {"level": "fov", "dataset": "a", "flag": "flat:er", "images": 1, "of": 2},
        {"level": "fov", "dataset": "a", "flag": "tiny", "images": 2, "of": 2},
    ]


def test_reasons_that_differ_only_in_names_and_numbers_meet() -> None:
    said = "/data/f/{0}.tif: {0} planes, 2 declared"
    rows = [{"dataset": "d", "source": f"f/{n}.tif", "reason": said.format(n)} for n in (3, 1, 5, 4)]
    rows.append({"dataset": "d", "source": "x.tif", "reason": "no channel"})
    rows.append({"dataset": "c", "source": "y.tif", "reason": "no channel"})
    assert quarantine_by_reason(rows) == [
        {
            "dataset": "d",
            "reason": "/data/f/1.tif: 1 planes, 2 declared",
            "sources": 4,
            "examples": ["f/1.tif", "f/3.tif", "f/4.tif"],
        },
        {"dataset": "c", "reason": "no channel", "sources": 1, "examples": ["y.tif"]},
        {"dataset": "d", "reason": "no channel", "sources": 1, "examples": ["x.tif"]},
    ]

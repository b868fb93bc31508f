"""Which images stand for a class, against a choice by hand, and which proteins are asked for."""

import numpy as np
import pyarrow as pa

from locatlas.query.asking.view import View
from locatlas.query.report.choice import Chosen, as_table, choose_images, choose_proteins

CLASSES = ("er", "golgi", "nucleus")
#          er    golgi nucleus
SCORES = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0, 0, 0]])
IDS = ["a", "b", "c", "d", "e", "f"]
GROUPS = {"a": "p", "b": "p", "c": "q", "d": "q", "e": "p", "f": "p"}


def test_equal_shares_go_by_turns_of_the_groups_and_wrong_ones_by_what_they_are_taken_for() -> None:
    targets = np.array([[1, 0, 0]] * 6, dtype=bool)
    predicted = as_table(np.array([0, 0, 0, 1, 1, -1]), 3)
    found = choose_images(CLASSES, targets, predicted, SCORES, IDS, GROUPS, n=4)
    assert list(found) == ["er"]  # the others are nobody's
    typical, confused = found["er"]
    assert [one.id for one in typical] == ["a", "c", "b"]
    assert confused == [Chosen("d", "golgi", 0.8), Chosen("e", "golgi", 0.7), Chosen("f", None, 0.0)]


def test_an_image_of_several_classes_is_confused_only_by_a_class_that_it_has_not() -> None:
    targets = np.array([[1, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0]], dtype=bool)
    found = choose_images(CLASSES, targets, predicted, SCORES[:1], ["a"], GROUPS, n=4)
    assert found["er"] == ([Chosen("a", "er", 0.9)], [])
    assert found["golgi"] == ([], [Chosen("a", None, 0.0)])  # missed, and nothing else was said instead


def test_no_more_are_shown_than_asked_for() -> None:
    targets = np.array([[1, 0, 0]] * 6, dtype=bool)
    typical, confused = choose_images(CLASSES, targets, targets, SCORES, IDS, GROUPS, n=2)["er"]
    assert len(typical) == 2
    assert confused == []


def test_proteins_are_one_of_each_localization_the_most_frequent_first() -> None:
    said = [("P1", ["er"]), ("P1", ["er"]), ("P0", ["er"]), ("P2", ["golgi", "er"]), (None, ["nucleus"]), ("P3", [])]
    proteins, names = zip(*said, strict=True)
    meta = pa.table({"id": list("abcdef"), "protein": list(proteins), "localizations": list(names)})
    view = View("fov", meta, np.zeros((6, 2), np.float32))
    assert choose_proteins(view, n=8) == ["P1", "P2"]
    assert choose_proteins(view, n=1) == ["P1"]

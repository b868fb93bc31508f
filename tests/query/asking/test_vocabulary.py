"""Labels in one vocabulary: each row as if it were mapped alone, each distinct set of labels mapped once."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.indexer.labels import LabelMap, get_label_map
from locatlas.query.asking.view import View
from locatlas.query.asking.vocabulary import mapped_lists, with_mapped_labels

MAP = "hpa->opencell"
GRADED = pa.list_(pa.struct([("localization", pa.string()), ("grade", pa.int8())]))
LABELS = ("Nucleoplasm", "nucleoplasm", "Golgi apparatus", "golgi", "er", "Cytosol", "Aggresome", "a,b", "0", "")


def alone(labels: list[str]) -> list[str]:
    """What becomes of one row's labels, one label at a time."""
    known = get_label_map(MAP)
    kept = [(label,) if label in known.target.labels else known.apply([label]).labels for label in labels]
    return sorted({label for some in kept for label in some})


def alone_graded(graded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pairs = [(label, one["grade"]) for one in graded for label in alone([one["localization"]])]
    return [
        {"localization": label, "grade": max(grade for other, grade in pairs if other == label)}
        for label in sorted({label for label, _ in pairs})
    ]


@given(st.lists(st.none() | st.lists(st.sampled_from(LABELS), max_size=4), max_size=30), st.integers(0, 3))
def test_lists_become_what_each_row_becomes_alone(rows: list[list[str] | None], cut: int) -> None:
    lists = pa.array(rows, pa.list_(pa.string()))[cut:]  # offsets need not begin at 0
    expected = [None if row is None else alone(row) for row in rows[cut:]]
    assert mapped_lists(lists, MAP).to_pylist() == expected


GRADES = st.lists(st.tuples(st.sampled_from(LABELS), st.integers(-3, 3)), max_size=4)


@given(st.lists(st.tuples(st.none() | st.lists(st.sampled_from(LABELS), max_size=3), st.none() | GRADES), max_size=20))
@settings(deadline=None)
def test_a_view_is_mapped_with_its_grades(rows: list[tuple[list[str] | None, list[tuple[str, int]] | None]]) -> None:
    graded = [None if g is None else [{"localization": label, "grade": grade} for label, grade in g] for _, g in rows]
    columns = {
        "id": pa.array([f"d/{i:03}" for i in range(len(rows))], pa.string()),
        "localizations": pa.array([labels for labels, _ in rows], pa.list_(pa.string())),
        "graded": pa.array(graded, GRADED),
    }
    view = View("fov", pa.table(columns), np.ones((len(rows), 2), dtype=np.float32))
    mapped = with_mapped_labels(view, "hpa:opencell")
    assert mapped.column("localizations") == [alone(labels or []) for labels, _ in rows]
    assert mapped.column("graded") == [alone_graded(g or []) for g in graded]
    assert mapped.meta.schema.types == view.meta.schema.types
    assert mapped.ids == view.ids


def test_each_distinct_set_is_mapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, apply = [], LabelMap.apply

    def counted(self: LabelMap, labels: set[str]) -> Any:
        asked.append(labels)
        return apply(self, labels)

    monkeypatch.setattr(LabelMap, "apply", counted)
    lists = pa.array([["Nucleoplasm"], ["Cytosol"], ["Nucleoplasm", "Cytosol"], None] * 500, pa.list_(pa.string()))
    assert len(mapped_lists(lists, MAP)) == 2000
    assert len(asked) == 3

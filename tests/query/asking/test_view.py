"""Vectors joined with metadata by id, columns of groups and metadata, and proteins as means."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.schema import CELLS, FOVS
from locatlas.query.asking.view import View


def image(i: str, **given: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(CELLS.names)
    row |= {"id": i, "dataset": "d", "channels": ["protein"], "localizations": [], "graded": [], "source_digest": "x"}
    row |= {"groups": [], "metadata": [], "sources": [], "qc": []}
    return row | given


def pair(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def table(rows: list[dict[str, Any]], schema: pa.Schema = FOVS) -> pa.Table:
    return pa.Table.from_pylist([{k: v for k, v in r.items() if k in schema.names} for r in rows], schema=schema)


def test_rows_join_by_id_and_images_without_a_vector_stay_out() -> None:
    images = table([image("d/a", protein="A"), image("d/b", protein="B"), image("d/c", protein="C")])
    view = View.build("fov", ["d/a", "d/c"], np.eye(2, dtype=np.float32), images)
    assert view.ids == ["d/a", "d/c"]
    assert view.column("protein") == ["A", "C"]
    assert view.column("fov") == ["d/a", "d/c"]


def test_a_vector_without_its_image_is_an_error() -> None:
    with pytest.raises(KeyError):
        View.build("fov", ["d/a"], np.eye(1, dtype=np.float32), table([image("d/b")]))


def test_groups_and_metadata_become_columns_and_never_shadow_others() -> None:
    rows = [
        image("d/a", plate="p1", groups=[pair("composite", "c1"), pair("plate", "other")], metadata=[pair("dye", "x")]),
        image("d/b", metadata=[pair("composite", "meta")]),
    ]
    view = View.build("fov", ["d/a", "d/b"], np.eye(2, dtype=np.float32), table(rows))
    assert view.column("composite") == ["c1", None]
    assert view.column("group_composite") == ["c1", None]
    assert view.column("plate") == ["p1", None]
    assert view.column("group_plate") == ["other", None]
    assert view.column("metadata_composite") == [None, "meta"]
    assert view.column("dye") == ["x", None]
    with pytest.raises(UnknownNameError, match="unknown column 'colour'"):
        view.column("colour")


def test_a_group_is_not_hidden_by_an_empty_column_of_its_name() -> None:
    rows = [image("d/a", groups=[pair("plate", "p")]), image("d/b", groups=[pair("plate", "q")])]
    view = View.build("fov", ["d/a", "d/b"], np.eye(2, dtype=np.float32), table(rows))
    assert view.column("plate") == view.column("group_plate") == ["p", "q"]


def test_a_column_of_lists_is_no_group() -> None:
    view = View.build("fov", ["d/a"], np.eye(1, dtype=np.float32), table([image("d/a", localizations=["er"])]))
    with pytest.raises(InputError, match="'localizations' holds list values; a group needs names"):
        view.names("localizations")


def test_cells_know_their_field_of_view() -> None:
    rows = table([image("d/1/1", fov_id="d/1"), image("d/1/2", fov_id="d/1")], CELLS)
    assert View.build("cell", ["d/1/1", "d/1/2"], np.eye(2, dtype=np.float32), rows).column("fov") == ["d/1", "d/1"]


def test_metadata_of_the_same_name_never_stands_for_annotations() -> None:
    rows = table([image("d/1", metadata=[pair("annotated", "yes"), pair("annotated_by", "me")])], CELLS)
    view = View.build("cell", ["d/1"], np.eye(1, dtype=np.float32), rows)
    assert view.column("annotated") == [None]
    assert view.column("metadata_annotated") == ["yes"]
    assert view.column("annotated_by") == [None]


def test_a_column_of_lists_without_any_is_a_group_without_names() -> None:
    view = View.build("cell", ["d/1/1"], np.eye(1, dtype=np.float32), table([image("d/1/1", fov_id="d/1")], CELLS))
    assert view.names("annotated") == [None]
    assert not view.has("annotated", "er")
    assert view.coded("annotated").of_row.tolist() == [-1]


def test_masks_are_kept_read_only_and_the_last_few_only() -> None:
    view = View("fov", pa.table({"id": ["a", "b"]}), np.zeros((2, 3), dtype=np.float32))
    made: list[int] = []

    def mask(number: int) -> np.ndarray:
        return view.kept_mask(number, lambda: made.append(number) or np.array([True, number % 2 == 0]))

    assert mask(0) is mask(0)
    assert not mask(1)[1]
    with pytest.raises(ValueError, match="read-only"):
        mask(0)[0] = False
    for number in range(2, 40):
        mask(number)
    mask(39)
    mask(0)
    assert made == [*range(40), 0]

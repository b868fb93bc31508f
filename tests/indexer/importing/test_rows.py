"""Rows of imported vectors, made by columns: the same as made row by row."""

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from locatlas.indexer.importing.rows import imported_rows
from locatlas.indexer.store.rows import image_rows, pairs
from locatlas.indexer.units import positive_number

NAMES = [
    "protein", "well", "channels", "localizations", "pixel_size_um", "fov_id", "level", "path", "group_plate",
    "group_", "group_a", "dye", "b",
]  # fmt: skip
TEXTS = st.sampled_from([None, "", "x", "er;golgi", " er ; ;er", ";", "0.2", "é"])
OWN = {"protein", "ensembl_id", "antibody", "cell_line", "plate", "well"}


def row_by_row(ids: list[str], columns: dict[str, list[str | None]], level: str) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for n, name in enumerate(ids):
        said = {key: values[n] for key, values in columns.items() if values[n]}
        words = (said.get("localizations") or "").split(";")
        other = OWN | {"localizations", "pixel_size_um", "fov_id", "path", "channels", "level", "dataset"}
        rows.append(
            {
                **{key: said.get(key) for key in OWN},
                "id": name,
                "dataset": "d",
                "channels": [c for c in (said.get("channels") or "").split(";") if c],
                "pixel_size_um": positive_number(said.get("pixel_size_um")),
                "localizations": sorted({w.strip() for w in words if w.strip()}),
                "groups": pairs({k.removeprefix("group_"): v for k, v in said.items() if k.startswith("group_") and v}),
                "metadata": pairs(
                    {k: v for k, v in said.items() if k not in other and not k.startswith("group_") and v}
                ),
                "graded": [],
                "sources": [],
                "qc": [],
                "source_digest": f"digest of {name}",
                "fov_id": said.get("fov_id"),
            }
        )
    return image_rows(rows, level)


@given(st.data(), st.sampled_from(["fov", "cell"]), st.integers(1, 6))
def test_rows_made_by_columns_are_those_made_one_by_one(data: st.DataObject, level: str, n: int) -> None:
    chosen = data.draw(st.lists(st.sampled_from(NAMES), unique=True))
    columns = {name: data.draw(st.lists(TEXTS, min_size=n, max_size=n)) for name in chosen}
    ids = [f"d/{i}" for i in range(n)]
    made = imported_rows(
        pa.array(ids),
        pa.array([f"digest of {i}" for i in ids]),
        {name: pa.array(values, pa.string()) for name, values in columns.items()},
        dataset="d",
        level=level,
    )
    expected = row_by_row(ids, columns, level)
    assert made.schema == expected.schema
    assert made.to_pylist() == expected.to_pylist()


def test_part_of_a_column_is_made_as_the_whole_is() -> None:
    ids, dye = pa.array([f"d/{i}" for i in range(9)]), pa.array(["x", None, "y"] * 3)
    columns = {"dye": dye, "localizations": dye, "group_g": dye}
    whole = imported_rows(ids, ids, columns, dataset="d", level="fov")
    part = imported_rows(ids[4:7], ids[4:7], {n: c[4:7] for n, c in columns.items()}, dataset="d", level="fov")
    assert part.to_pylist() == whole.to_pylist()[4:7]

"""What check_rows lets through: exactly the schema, ids as they must be, no null or number that means nothing."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import SchemaMismatchError
from locatlas.indexer.store.row_checks import check_rows
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import FOVS, embedding_schema
from locatlas.indexer.store.tables import Store

ROW: dict[str, Any] = {
    "id": "d/a",
    "dataset": "d",
    "channels": ["protein"],
    "localizations": [],
    "graded": [],
    "groups": [],
    "metadata": [],
    "sources": [],
    "source_digest": "x",
    "qc": [],
}


def fovs(*rows: dict[str, Any]) -> pa.Table:
    return image_rows([ROW | row for row in rows], "fov")


def embeddings(ids: list[str | None], vectors: list[list[float | None] | None]) -> pa.Table:
    columns = [pa.array(ids, pa.string()), pa.array(["x"] * len(ids)), pa.array(vectors, pa.list_(pa.float32(), 2))]
    return pa.table(columns, names=["id", "source_digest", "vector"])


BAD = {
    "columns differ .missing .'protein'.": fovs({}).drop_columns(["protein"]),
    "unexpected .'extra'.": fovs({}).append_column("extra", pa.array([1])),
    "or another order": fovs({}).select([*FOVS.names[::-1]]),
    "column row is int64, must be int32": fovs({}).set_column(
        FOVS.names.index("row"), pa.field("row", pa.int64()), pa.array([1])
    ),
    "column id is int64, must be string": fovs({}).set_column(0, pa.field("id", pa.int64()), pa.array([1])),
    "column dataset has 1 nulls": fovs({"dataset": None}),
    "column channels has 1 nulls": fovs({"channels": None}),
    "column channels has 1 nulls inside of its lists": fovs({"channels": ["protein", None]}),
    "column groups has 1 nulls inside of its lists": fovs({"groups": [{"name": "plate", "value": None}]}),
    "1 ids occur more than once, e.g. .'d/a'.": fovs({}, {}),
    "id '' is empty": fovs({"id": ""}),
    r"id 'd/a\\n' is empty or has control characters": fovs({"id": "d/a\n"}),
    r"id 'd/\\x85' is empty or has control characters": fovs({"id": "d/\x85"}),
    "id 'd/e\u0301' is not NFC-normalised": fovs({"id": "d/e\u0301"}),
    "column pixel_size_um has numbers that are not finite": fovs({"pixel_size_um": float("nan")}),
}


@pytest.mark.parametrize("reason", BAD)
def test_rows_that_are_not_exactly_the_schema_are_refused_and_nothing_is_written(reason: str, empty: Store) -> None:
    empty.upsert("fovs", fovs({"id": "d/before"}))
    version = empty.version("fovs")
    with pytest.raises(SchemaMismatchError, match=reason) as caught:
        empty.upsert("fovs", BAD[reason])
    assert "table fovs: " in str(caught.value)
    assert str(caught.value).endswith("; nothing was written")
    assert empty.version("fovs") == version


@pytest.mark.parametrize(
    ("ids", "vectors", "reason"),
    [
        (["a", "b"], [[1, 2], [float("nan"), 0]], "1 vectors are not finite, first: b"),
        (["a", "b"], [[float("inf"), 2], [float("-inf"), 0]], "2 vectors are not finite, first: a"),
        (["a"], [[1, None]], "a vector has nulls"),
        (["a"], [None], "column vector has 1 nulls"),
        ([None], [[1, 2]], "column id has 1 nulls"),
        (["a", "a"], [[1, 2], [1, 2]], "1 ids occur more than once"),
    ],
)
def test_vectors_with_nulls_nan_or_infinity_are_refused_by_id(ids: Any, vectors: Any, reason: str) -> None:
    with pytest.raises(SchemaMismatchError, match=reason):
        check_rows(embeddings(ids, vectors), embedding_schema(2), table="emb")


def test_vectors_are_checked_in_every_chunk_and_in_slices() -> None:
    good, bad = embeddings(["a"], [[1, 2]]), embeddings(["b", "c"], [[1, 2], [float("nan"), 2]])
    with pytest.raises(SchemaMismatchError, match="first: c"):
        check_rows(pa.concat_tables([good, bad]), embedding_schema(2), table="emb")
    check_rows(pa.concat_tables([good, bad]).slice(0, 2), embedding_schema(2), table="emb")


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match=r"vector is fixed_size_list<.*>\[2\], must be .*\[3\]"):
        check_rows(embeddings(["a"], [[1, 2]]), embedding_schema(3), table="emb")


def test_nulls_pass_where_a_value_may_be_unknown_and_empty_batches_pass() -> None:
    check_rows(fovs({}), FOVS, table="fovs")
    check_rows(FOVS.empty_table(), FOVS, table="fovs")
    check_rows(embedding_schema(2).empty_table(), embedding_schema(2), table="emb")


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@given(st.lists(names, min_size=1, max_size=8))
def test_ids_pass_exactly_if_they_differ_and_are_normalised(ids: list[str]) -> None:
    import unicodedata

    rows = embeddings(list(ids), [[1.0, 2.0]] * len(ids))
    if len(set(ids)) == len(ids) and all(unicodedata.normalize("NFC", i) == i for i in ids):
        check_rows(rows, embedding_schema(2), table="emb")
    else:
        with pytest.raises(SchemaMismatchError):
            check_rows(rows, embedding_schema(2), table="emb")

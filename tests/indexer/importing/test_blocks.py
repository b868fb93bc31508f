"""Vectors of a file, some rows at a time: nothing lost at the seams, little held, and a file that changes is told."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.indexer.importing import parquet as vector_parquet
from locatlas.indexer.importing.blocks import in_blocks
from locatlas.indexer.importing.files import read_vector_file

FLOATS = pa.list_(pa.float32())


def write(path: Path, vectors: list[list[float]], rows: int) -> Path:
    table = pa.table({"id": [f"{n}" for n in range(len(vectors))], "vector": pa.array(vectors, FLOATS)})
    pq.write_table(table, path, row_group_size=rows)
    return path


@given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 9))
def test_blocks_hold_all_rows_in_order_and_are_full_but_for_the_last(sizes: list[int], rows: int) -> None:
    whole = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    blocks = list(in_blocks(iter(np.split(whole, np.cumsum(sizes)[:-1]) if sizes else []), rows))
    assert [len(block) for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 2), np.float32), *blocks]), whole)


@pytest.mark.parametrize("at_once", [1, 7, 13, 100])
def test_vectors_of_small_row_groups_are_put_together(tmp_path: Path, at_once: int) -> None:
    made = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    found = read_vector_file(write(tmp_path / "v.parquet", made.tolist(), 9))
    blocks = list(found.blocks(at_once))
    assert {len(block) for block in blocks[:-1]} <= {at_once}
    np.testing.assert_array_equal(np.concatenate(blocks), made)


@pytest.mark.parametrize(("last", "why"), [([1.0], r"\(1, 2\)"), (None, r"\(2, null\)")])
def test_a_length_that_differs_in_a_later_row_group_is_refused(tmp_path: Path, last: list[float], why: str) -> None:
    path = write(tmp_path / "v.parquet", [[1.0, 2.0]] * 9 + [last], 5)
    with pytest.raises(InputError, match=rf"v\.parquet: vectors of different lengths or null {why}"):
        read_vector_file(path)


def test_a_vector_that_is_not_finite_is_named_wherever_it_stands(tmp_path: Path) -> None:
    vectors = [[1.0, 2.0]] * 20_000
    vectors[17_001] = vectors[19_000] = [1.0, float("nan")]
    with pytest.raises(InputError, match=r"vector of '17001' is not finite \(2 such\)"):
        read_vector_file(write(tmp_path / "v.parquet", vectors, 6000))


def test_a_file_that_is_written_meanwhile_is_refused(tmp_path: Path) -> None:
    found = read_vector_file(write(tmp_path / "v.parquet", [[1.0, 2.0]] * 9, 3))
    write(tmp_path / "v.parquet", [[2.0, 2.0]] * 10, 3)
    with pytest.raises(InputError, match="was written while it was read"):
        list(found.blocks(4))


def test_a_file_that_is_replaced_while_its_names_are_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "v.parquet", [[1.0, 2.0], [3.0, 4.0]], 3)
    pq.write_table(pq.read_table(path)[::-1], tmp_path / "other.parquet")
    texts = vector_parquet.texts

    def then_replaced(column: pa.ChunkedArray) -> pa.Array:
        if (tmp_path / "other.parquet").exists():
            (tmp_path / "other.parquet").rename(path)
        return texts(column)

    monkeypatch.setattr(vector_parquet, "texts", then_replaced)
    with pytest.raises(InputError, match="was written while it was read"):
        read_vector_file(path)
    assert read_vector_file(path).ids == ["1", "0"]


@pytest.mark.parametrize("how", ["gone", "damaged", "without rows"])
def test_a_file_that_cannot_be_read_a_second_time_is_told_in_one_line(tmp_path: Path, how: str) -> None:
    found = read_vector_file(write(tmp_path / "v.parquet", [[1.0, 2.0]] * 9, 3))
    if how == "gone":
        (tmp_path / "v.parquet").unlink()
    elif how == "damaged":
        (tmp_path / "v.parquet").write_bytes(b"no Parquet" * 100)
    else:
        write(tmp_path / "v.parquet", [], 3)
    with pytest.raises(InputError, match=r"v\.parquet: was written while it was read; .* import it again$"):
        list(found.blocks(4))


def test_a_file_is_not_read_whole(tmp_path: Path) -> None:
    made = np.random.default_rng(0).standard_normal((200_000, 32)).astype(np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), 32)
    pq.write_table(pa.table({"id": [f"{n}" for n in range(len(made))], "vector": flat}), tmp_path / "v.parquet")
    before, most = pa.total_allocated_bytes(), 0
    for block in read_vector_file(tmp_path / "v.parquet").blocks(4096):
        assert len(block)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < made.nbytes / 2

"""Tables in files: mapped as they were written, refused where a text would reach beyond its file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from locatlas.indexer.store.arrow_files import mapped_table, read_table, write_table

TABLE = pa.table({"name": pa.chunked_array([["abc", None], ["def"]]), "n": [1, 2, 3]})


def test_a_table_is_mapped_and_read_as_it_was_written_each_column_in_one_piece(tmp_path: Path) -> None:
    write_table(tmp_path / "t.arrow", TABLE)
    for found in (mapped_table(tmp_path / "t.arrow"), read_table((tmp_path / "t.arrow").read_bytes())):
        assert found.equals(TABLE)
        assert found["name"].num_chunks == 1
    mapped = mapped_table(tmp_path / "t.arrow")
    (tmp_path / "t.arrow").unlink()
    assert mapped.equals(TABLE)


def test_text_that_would_end_beyond_the_file_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "t.arrow", TABLE)
    ends = np.array([0, 3, 3, 6], np.int32)
    data = (tmp_path / "t.arrow").read_bytes()
    assert data.count(ends.tobytes()) == 1
    ends[-1] += 1 << 20
    (tmp_path / "t.arrow").write_bytes(data.replace(np.array([0, 3, 3, 6], np.int32).tobytes(), ends.tobytes()))
    with pytest.raises(pa.ArrowInvalid):
        mapped_table(tmp_path / "t.arrow")

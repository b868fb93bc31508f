"""An index on disk that is cut, flipped or foreign: told, never used."""

from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import StoreDamagedError
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.disk import DiskCodes, disk_params, write_codes
from locatlas.indexer.indices.files import index_paths
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.indices.made import D, N, below, folder_of, made, names, opened, put
from tests.indexer.store.test_encoders import spec

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_file_that_is_cut_or_missing_is_not_used_and_told(empty: Store, encoder: StoredEncoder) -> None:
    build(empty, encoder, DISK)
    for part in below(folder_of(empty, encoder)):
        for damage in ("truncated", "missing"):
            path = folder_of(empty, encoder) / part
            data = path.read_bytes()
            path.unlink()
            if damage == "truncated":
                path.write_bytes(data[:-1])
            assert opened(empty, encoder) == (None, "index file damaged")
            report = verify(atlas=empty.folder.path, quick=True)
            assert [f.kind for f in report.damage] == ["index damaged"]
            path.write_bytes(data)


def test_a_flipped_bit_in_any_file_is_found_by_verify_and_answers_stay_among_the_rows(
    empty: Store,
    encoder: StoredEncoder,
) -> None:
    build(empty, encoder, DISK)
    query = made(1, seed=9)[0]
    for part, data in below(folder_of(empty, encoder)).items():
        path = folder_of(empty, encoder) / part
        for at in range(0, len(data), max(1, len(data) // 4)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            assert [f.kind for f in verify(atlas=empty.folder.path).damage] == ["index damaged"], part
            index, _ = opened(empty, encoder)
            if index is not None:
                found = index.candidates(query, 3, None)
                assert 3 <= len(found) == len(set(found.tolist()))
                assert ((found >= 0) & (found < N)).all()
        path.write_bytes(data)
    assert verify(atlas=empty.folder.path).damage == []


def test_an_index_on_disk_of_another_table_is_foreign(empty: Store, encoder: StoredEncoder) -> None:
    other = StoredEncoder("fov", spec(1, embedding_dim=D), "superseded")
    encoders.put(empty, other)
    put(empty, other, names(N), made(N))
    build(empty, encoder, DISK)
    mine, theirs = (index_paths(empty.folder, one.table)[1] for one in (encoder, other))
    mine.rename(theirs)
    assert opened(empty, other) == (None, "index of another table or encoder")
    assert "index foreign" in [f.kind for f in verify(atlas=empty.folder.path).damage]


def test_rows_that_it_never_held_are_told_and_not_answered(
    empty: Store, encoder: StoredEncoder, tmp_path: Path
) -> None:
    held = empty.read_vectors(encoder.table)
    write_codes(empty.folder.db / f"{encoder.table}.lance", held, disk_params(N, D), tmp_path)
    rows = np.load(tmp_path / "rows.npy")
    for off in ((1, 0), (0, 1), (0, -1), (0, 1 << 40)):
        np.save(tmp_path / "rows.npy", rows + np.array(off)[:, None])
        index = DiskCodes(tmp_path, n_list=disk_params(N, D)["n_list"])
        with pytest.raises(StoreDamagedError, match="proposes rows that it does not hold"):
            index.search(made(1), 300, 7, None)

"""Vectors made elsewhere in an atlas: joined by id, searchable, imported once, metadata kept or brought up to date."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from locatlas.errors import AtlasLockedError, EncoderMismatchError, InputError
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.labels import get_vocabulary
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from tests.indexer.made import contents, id_of, vectors, versions

VECTORS = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)


def write(path: Path, ids: list[str], made: Any = None, **columns: Any) -> Path:
    made = VECTORS[: len(ids)] if made is None else np.asarray(made, np.float32)
    pq.write_table(pa.table({"id": ids, "vector": pa.array(list(made)), **columns}), path)
    return path


def do(file: Path, atlas: Path, **options: Any) -> dict[str, Any]:
    return import_embeddings(file, atlas=atlas, **{"name": "elsewhere", **options})


def held(atlas: Path, table: str = "fovs") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in Store.open(atlas).read(table).to_pylist()}


def test_a_new_atlas_of_imported_vectors_can_be_searched(tmp_path: Path) -> None:
    file = write(
        tmp_path / "v.parquet",
        ["a", "b", "c", "d"],
        [[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]],
        protein=["A", "B", "C", None],
        localizations=["er", "er;golgi", "", None],
        pixel_size_um=[0.2, None, None, None],
        group_plate=["p1", "p2", None, None],
        dye=["x", None, None, None],
    )
    done = do(file, tmp_path / "atlas")
    assert (done["imported"], done["updated"], done["skipped"], done["dim"]) == (4, 0, 0, 3)
    assert done["encoder"]["state"] == "current"
    hits = open_atlas(tmp_path / "atlas").neighbors(id="imported/a", k=3, exclude="self")
    assert hits["id"].to_pylist()[0] == "imported/b"
    assert hits["localizations"].to_pylist()[0] == ["er", "golgi"]
    row = held(tmp_path / "atlas")["imported/a"]
    assert (row["protein"], row["pixel_size_um"], row["sources"], row["height"]) == ("A", 0.2, [], None)
    assert (row["groups"], row["metadata"]) == ([{"name": "plate", "value": "p1"}], [{"name": "dye", "value": "x"}])


def test_npz_and_feature_files_are_imported_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array(["a", "b"]), vectors=VECTORS[:2], protein=np.array(["A", "B"]))
    labels = np.eye(2, len(get_vocabulary("kaggle-2018").labels))
    torch.save([torch.tensor(VECTORS[2:]), labels, ["U2OS", "A431"], ["c", "d"]], tmp_path / "v.pth")
    do(tmp_path / "v.npz", tmp_path / "atlas")
    do(tmp_path / "v.pth", tmp_path / "atlas")
    rows = held(tmp_path / "atlas")
    assert [rows[f"imported/{i}"]["protein"] for i in "abcd"] == ["A", "B", None, None]
    assert rows["imported/c"]["localizations"] == sorted(get_vocabulary("kaggle-2018").labels)[:1]
    assert rows["imported/d"]["cell_line"] == "A431"
    ids, found = open_atlas(tmp_path / "atlas").embeddings()
    assert ids == [f"imported/{i}" for i in "abcd"]
    np.testing.assert_array_equal(found, VECTORS)


def test_a_second_import_does_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", ["a", "b"], protein=["A", None], group_plate=["p", "q"])
    do(file, tmp_path / "atlas")
    store = Store.open(tmp_path / "atlas")
    before = versions(store)
    done = do(file, tmp_path / "atlas")
    assert (done["imported"], done["updated"], done["skipped"]) == (0, 0, 2)
    assert versions(store) == before


def test_a_changed_vector_replaces_the_old_one_alone(tmp_path: Path) -> None:
    do(write(tmp_path / "v.parquet", ["a", "b"]), tmp_path / "atlas")
    store = Store.open(tmp_path / "atlas")
    table = next(t for t in store.tables() if t.startswith("emb_"))
    before = vectors(store, table)
    changed = np.vstack([VECTORS[0], VECTORS[3]])
    assert do(write(tmp_path / "v.parquet", ["a", "b"], changed), tmp_path / "atlas")["imported"] == 1
    after = vectors(store, table)
    assert after["imported/a"] == before["imported/a"]
    assert after["imported/b"] == VECTORS[3].tobytes()


def test_changed_metadata_of_vectors_without_an_image_are_brought_up_to_date(tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    do(write(tmp_path / "v.parquet", ["a", "b"], protein=["A", "B"], dye=["x", "y"], plate=["1", "1"]), atlas)
    file = write(tmp_path / "w.parquet", ["a", "b"], localizations=["er", None], dye=["x", "z"], stain=["s", None])
    done = do(file, atlas)
    assert (done["imported"], done["updated"], done["skipped"]) == (0, 2, 0)
    rows = held(atlas)
    assert [rows[i]["protein"] for i in rows] == ["A", "B"], "what the file does not say stays"
    assert rows["imported/a"]["localizations"] == ["er"]
    assert rows["imported/a"]["metadata"] == [{"name": "dye", "value": "x"}, {"name": "stain", "value": "s"}]
    assert rows["imported/b"]["metadata"] == [{"name": "dye", "value": "z"}]
    assert do(file, atlas)["skipped"] == 2


def test_vectors_of_images_join_them_and_leave_their_metadata_and_encoder(
    atlas: Path, store: Store, tmp_path: Path
) -> None:
    before = contents(store)
    file = write(tmp_path / "v.parquet", [id_of(1), "FID00000002", "new"], protein=["WRONG", "WRONG", "NEW"])
    done = do(file, atlas, dataset="opencell")
    assert (done["imported"], done["encoder"]["state"]) == (3, "beside")
    rows = held(atlas)
    assert [rows[id_of(n)]["protein"] for n in (1, 2)] == ["GENE1", "GENE2"]
    assert contents(store)["fovs"][:6] == before["fovs"]
    assert rows["opencell/new"]["protein"] == "NEW"
    found = encoders.current(store, "fov")
    assert found is not None
    assert found.spec.name == "locatlas_pico.synthetic"
    ids, made = open_atlas(atlas).embeddings(encoder="elsewhere")
    assert dict(zip(ids, made.tolist(), strict=True))[id_of(2)] == VECTORS[1].tolist()
    assert open_atlas(atlas).neighbors(id=id_of(1), k=2, exclude="self", encoder="elsewhere").num_rows == 2
    assert do(file, atlas, dataset="opencell")["skipped"] == 3


def test_a_name_stands_for_vectors_of_one_length(tmp_path: Path, atlas: Path, store: Store) -> None:
    do(write(tmp_path / "v.parquet", ["a"]), atlas)
    before = versions(store)
    with pytest.raises(
        EncoderMismatchError, match=r"vectors of 2 numbers; 'elsewhere' in .* has 3. Choose another --name"
    ):
        do(write(tmp_path / "w.parquet", ["a"], [[1, 2]]), atlas)
    with pytest.raises(
        EncoderMismatchError, match=r"is an encoder of .* that embeds images itself; choose another --name"
    ):
        do(tmp_path / "v.parquet", atlas, name="locatlas_pico.synthetic")
    assert versions(store) == before
    assert do(tmp_path / "w.parquet", atlas, name="shorter")["imported"] == 1


def test_equal_vectors_under_two_names_are_two_encoders(tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", ["a", "b"])
    one, two = do(file, tmp_path / "atlas"), do(file, tmp_path / "atlas", name="again")
    assert one["encoder"]["fingerprint"] != two["encoder"]["fingerprint"]
    assert (two["imported"], two["encoder"]["state"]) == (2, "beside")


def test_levels_are_kept_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", ["a", "b"], fov_id=["imported/f", None])
    do(file, tmp_path / "atlas", level="cell")
    assert held(tmp_path / "atlas", "cells")["imported/a"]["fov_id"] == "imported/f"
    assert Store.open(tmp_path / "atlas").count("fovs") == 0


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"pixel_size_um": ["0.2 um", "1"]}, "pixel_size_um of 'imported/a' must be a positive number .* got '0.2 um'"),
        ({"pixel_size_um": ["1", "-1"]}, "pixel_size_um of 'imported/b' must be a positive number"),
        ({"pixel_size_um": ["1", "inf"]}, "pixel_size_um of 'imported/b' must be a positive number"),
    ],
)
def test_numbers_that_are_none_are_refused_by_file_and_id_and_nothing_is_written(
    tmp_path: Path, columns: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=rf"v\.parquet: {reason}"):
        do(write(tmp_path / "v.parquet", ["a", "b"], **columns), tmp_path / "atlas")
    assert Store.open(tmp_path / "atlas").tables() == []


def test_ids_that_meet_under_the_data_sets_name_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", ["x", "imported/x"])
    with pytest.raises(
        InputError, match=r"v\.parquet: ids meet once the data set's name stands before them: 'imported/x'"
    ):
        do(file, tmp_path / "atlas")


@pytest.mark.parametrize(
    ("option", "value"), [("name", ""), ("name", "a\n"), ("dataset", "a/b"), ("dataset", ""), ("level", "protein")]
)
def test_arguments_that_cannot_be_names_are_refused_before_an_atlas_is_made(
    tmp_path: Path, option: str, value: str
) -> None:
    file = write(tmp_path / "v.parquet", ["a"])
    with pytest.raises(InputError, match=r"name|level"):
        do(file, tmp_path / "atlas", **{option: value})
    assert not (tmp_path / "atlas").exists()


def test_a_file_that_cannot_be_read_makes_no_atlas(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        do(tmp_path / "none.parquet", tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


def test_an_import_waits_for_nobody(tmp_path: Path, atlas: Path, store: Store) -> None:
    file = write(tmp_path / "v.parquet", ["a"])
    with store.folder.writer("index"), pytest.raises(AtlasLockedError):
        do(file, atlas)


def test_an_import_is_in_the_ledger(tmp_path: Path) -> None:
    do(write(tmp_path / "v.parquet", ["a"]), tmp_path / "atlas")
    (run,) = Store.open(tmp_path / "atlas").read("runs").to_pylist()
    assert (run["command"], run["state"], run["level"]) == ("import-embeddings", "done", "fov")
    assert '"imported": 1' in run["counts"]

"""Parquet for embedding-atlas: places of the stored map, neighbors by row, pictures."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from locatlas.errors import InputError
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.export.test_export import atlas, cosines, nearest
from tests.query.made_atlas import DIM, encoder, make_atlas, row

__all__ = ["atlas"]


def with_thumbnails(path: Path) -> Atlas:
    store = Store.open(path)
    rows = store.read("fovs").to_pylist()
    with store.folder.writer("a test"):
        changed = [r | {"thumbnail": f"WebP of {r['id']}".encode()} for r in rows[1:]]
        store.upsert("fovs", image_rows(changed, "fov"))
    return open_atlas(path)


def test_parquet_has_places_row_numbers_of_neighbors_and_pictures(tmp_path: Path) -> None:
    atlas = with_thumbnails(make_atlas(tmp_path / "atlas", levels=("fov",)))
    points = atlas.map("fov")
    done = atlas.export("parquet", tmp_path / "my fovs.parquet", k=4)
    assert done.command == (
        f"uvx embedding-atlas '{tmp_path}/my fovs.parquet' --x x --y y --neighbors neighbors --image thumbnail"
    )
    table, view = pq.read_table(tmp_path / "my fovs.parquet"), atlas.view("fov")
    assert table["id"].to_pylist() == view.ids
    assert np.array_equal(np.column_stack([table["x"], table["y"]]), points.xy)
    neighbors = table["neighbors"].to_pylist()
    assert [set(n["ids"]) for n in neighbors] == nearest(view, 4)
    expected = [[1 - cosines(view)[i, j] for j in n["ids"]] for i, n in enumerate(neighbors)]
    np.testing.assert_allclose([n["distances"] for n in neighbors], expected, atol=1e-6)
    assert all(sorted(n["distances"]) == n["distances"] for n in neighbors)
    pictures = table["thumbnail"].to_pylist()
    assert pictures[0] is None
    assert pictures[1] == {"bytes": f"WebP of {view.ids[1]}".encode(), "path": None}
    assert {"protein", "localizations", "plate", "dataset"} <= set(table.column_names)
    assert json.loads(table.schema.metadata[b"locatlas"])["fingerprint"] == encoder().fingerprint


def test_rows_that_are_not_on_the_map_are_left_out_and_counted(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    open_atlas(path).map("fov")
    store = Store.open(path)
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([row("a/new", protein="NEW", metadata=[{"name": "x", "value": "X"}])], "fov"))
        store.put_embeddings("fov", encoder().fingerprint, ["a/new"], ["x"], np.ones((1, DIM), np.float32))
    atlas = open_atlas(path)
    done = atlas.export("parquet", tmp_path / "out.parquet", k=3)
    assert done.rows == 18
    assert done.notes[0].startswith("left out: 1 rows not on the pca map, or with another vector now; `locatlas map")
    table = pq.read_table(tmp_path / "out.parquet")
    view = atlas.view("fov").take(np.arange(1, 19))
    assert [set(n["ids"]) for n in table["neighbors"].to_pylist()] == nearest(view, 3)  # numbers of rows of the file
    atlas.map("fov")
    atlas.export("parquet", tmp_path / "out.parquet", overwrite=True)
    again = pq.read_table(tmp_path / "out.parquet")
    assert again["placed"].to_pylist() == [True] + [False] * 18
    assert again["x_"].to_pylist() == ["X"] + [None] * 18  # the manifest's own column x


def test_a_point_whose_vector_changed_since_is_not_shown_where_it_was(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    open_atlas(path).map("fov")
    store = Store.open(path)
    with store.folder.writer("a test"):
        store.put_embeddings("fov", encoder().fingerprint, ["d/00"], ["x"], np.ones((1, DIM), np.float32))
    done = open_atlas(path).export("parquet", tmp_path / "out.parquet")
    assert done.rows == 17
    assert "d/00" not in pq.read_table(tmp_path / "out.parquet")["id"].to_pylist()


def test_proteins_of_some_images_are_others_than_those_on_the_map(atlas: Atlas, tmp_path: Path) -> None:
    atlas.map("protein")
    with pytest.raises(InputError, match="no row is on the pca map with the vector that it has now; `locatlas map"):
        atlas.export("parquet", tmp_path / "out.parquet", level="protein", where=["plate=plate0"])


def test_without_a_map_the_command_that_makes_one_is_told(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no map of level fov .*`locatlas map --atlas"):
        atlas.export("parquet", tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_proteins_are_exported_without_pictures(atlas: Atlas, tmp_path: Path) -> None:
    atlas.map("protein", of="cell")
    done = atlas.export("parquet", tmp_path / "out.parquet", level="protein", of="cell")
    assert done.command is not None
    assert "--image" not in done.command
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [f"P{n}" for n in range(6)]

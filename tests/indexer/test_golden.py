"""Atlases that were made by the code of each schema version (scripts/make_golden.py) stay what they were."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.indexer.backup.restore import restore
from locatlas.indexer.index import index
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store.encoders import stored_encoders
from locatlas.indexer.store.schema import SCHEMA_VERSION
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas

FOLDER = Path(__file__).resolve().parents[1] / "data" / "golden"
VERSIONS = sorted(int(path.name.removeprefix("v").removesuffix(".tar.xz")) for path in FOLDER.glob("v*.tar.xz"))


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with atlas and images, and what the code of the time said of them."""
    with tarfile.open(FOLDER / f"v{request.param}.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path, json.loads((FOLDER / f"v{request.param}.json").read_text())


def test_there_is_one_of_every_schema_version() -> None:
    assert list(range(1, SCHEMA_VERSION + 1)) == VERSIONS, "run scripts/make_golden.py"


def vectors(store: Store) -> dict[str, dict[str, list[float]]]:
    found = {t: store.read_vectors(t) for t in store.tables() if t.startswith("emb_")}
    return {t: dict(zip(held.ids, held.vectors.tolist(), strict=True)) for t, held in found.items()}


def test_it_is_opened_with_the_rows_vectors_and_neighbors_that_it_had(golden: tuple[Path, dict[str, Any]]) -> None:
    folder, said = golden
    assert json.loads((folder / "atlas" / "atlas.json").read_text())["schema_version"] == said["schema_version"]
    store = Store.open(folder / "atlas")
    assert store.folder.info()["schema_version"] == SCHEMA_VERSION
    assert set(store.tables()) == said["rows"].keys() | said["vectors"].keys()
    for table, expected in said["rows"].items():
        assert store.read(table, list(expected[0])).to_pylist() == expected
    assert vectors(store) == said["vectors"]
    atlas = open_atlas(folder / "atlas")
    for image_id, expected in said["neighbors"].items():
        level = "fov" if image_id in {r["id"] for r in said["rows"]["fovs"]} else "cell"
        hits = atlas.neighbors(id=image_id, level=level, k=len(expected), exclude="self").to_pylist()
        assert [hit["id"] for hit in hits] == [i for i, _ in expected]
        assert [hit["similarity"] for hit in hits] == pytest.approx([s for _, s in expected], abs=1e-5)


def test_its_faiss_index_is_used_or_refused_and_never_wrong(
    golden: tuple[Path, dict[str, Any]], one_thread: None
) -> None:
    store = Store.open(golden[0] / "atlas")
    for encoder in stored_encoders(store):
        held = store.read_vectors(encoder.table)
        opened, state = open_index(store, encoder, held)
        assert opened is not None, state


def test_indexing_the_same_images_in_their_new_place_leaves_every_vector(golden: tuple[Path, dict[str, Any]]) -> None:
    folder, said = golden
    maintain(atlas=folder / "atlas", roots={"manifest": folder / "source"})
    options: dict[str, Any] = {}
    if said["options"]:
        assert said["options"] == ["--level", "both", "--crop", "20px"]
        options = {"level": "both"}
    done = index(folder / "source" / "manifest.csv", atlas=folder / "atlas", dataset="manifest", **options)
    assert (done.embedded, [r.source for r in done.quarantined]) == (0, ["broken.tif"])
    store = Store.open(folder / "atlas")
    assert vectors(store) == said["vectors"]
    for table in ("fovs", "cells"):
        expected = said["rows"][table]
        assert store.read(table, list(expected[0])).to_pylist() == expected


def test_what_it_was_before_the_upgrade_can_be_had_again(golden: tuple[Path, dict[str, Any]]) -> None:
    folder, said = golden
    if said["schema_version"] == SCHEMA_VERSION:
        return
    before = (folder / "atlas" / "atlas.json").read_bytes()
    Store.open(folder / "atlas")
    restore(folder / "atlas" / "before-upgrade" / f"schema-{said['schema_version']}", to=folder / "again")
    assert (folder / "again" / "atlas.json").read_bytes() == before
    assert vectors(Store.open(folder / "again")) == said["vectors"]


def test_made_vectors_are_finite_and_differ(golden: tuple[Path, dict[str, Any]]) -> None:
    """That the expected numbers say something."""
    for held in golden[1]["vectors"].values():
        array = np.array(list(held.values()))
        assert np.isfinite(array).all()
        assert len(np.unique(array, axis=0)) == len(array)

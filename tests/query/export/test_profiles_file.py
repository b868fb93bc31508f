"""Profiles read back by Arrow and by copairs."""

import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from locatlas.query.atlas import Atlas
from tests.query.export.test_export import atlas, installed
from tests.query.made_atlas import DIM

__all__ = ["atlas"]


def test_profiles_are_metadata_and_features(atlas: Atlas, tmp_path: Path) -> None:
    atlas.export("profiles", tmp_path / "out.parquet", level="cell", where=["plate=plate0"])
    table = pq.read_table(tmp_path / "out.parquet")
    features = [name for name in table.column_names if not name.startswith("Metadata_")]
    assert features == [f"feature_{i:04}" for i in range(DIM)]
    view = atlas.view("cell")
    rows = np.flatnonzero(np.array(view.column("plate")) == "plate0")
    assert table["Metadata_id"].to_pylist() == [view.ids[i] for i in rows]
    assert np.array_equal(np.column_stack([table[name] for name in features]), view.vectors[rows])
    assert set(table["Metadata_plate"].to_pylist()) == {"plate0"}


def test_copairs_reads_profiles(atlas: Atlas, tmp_path: Path) -> None:
    copairs = installed("copairs.map")
    pandas = installed("pandas")
    atlas.export("profiles", tmp_path / "out.parquet", level="fov")
    frame = pandas.read_parquet(tmp_path / "out.parquet")
    metadata, features = frame.filter(regex="^Metadata"), frame.filter(regex="^(?!Metadata)").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = copairs.average_precision(
            metadata, features, ["Metadata_protein"], [], [], ["Metadata_protein"], progress_bar=False
        )
    assert len(found) == 18
    assert found["average_precision"].between(0, 1).all()

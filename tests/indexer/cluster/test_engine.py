"""What the engine of a cluster refuses before anything is written."""

import sys
from pathlib import Path

import pytest

from locatlas.errors import InputError
from locatlas.indexer.cluster.engine import RayEngine
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store.encoders import stored_encoders
from locatlas.indexer.store.tables import Store


def test_without_ray_nothing_is_written(
    plain: None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    index(source, atlas=tmp_path / "atlas", dataset="opencell")
    other = EncoderRequest(mapping="random", seed=3)
    with RayEngine() as engine, pytest.raises(InputError, match="--engine ray needs Ray: pip install"):
        embed(atlas=tmp_path / "atlas", request=other, engine=engine)
    assert len(stored_encoders(Store.open(tmp_path / "atlas"))) == 1
    with RayEngine() as engine, pytest.raises(InputError, match="--engine ray needs Ray: pip install"):
        index(source, atlas=tmp_path / "none", dataset="opencell", engine=engine)
    assert not (tmp_path / "none").exists()

"""A run that is told no level gives no level its first vectors, unless none has any."""

import logging
from pathlib import Path

import pytest

from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.maintain import drop_vectors
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from tests.indexer.masked import write_masked

pytestmark = pytest.mark.usefixtures("plain")

CROP = CropPlan(size_px=9)
OTHER = EncoderRequest(mapping="random", seed=3, crop=CROP)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Three fields that were searched for their four cells, of which only these have vectors."""
    fields = write_masked(tmp_path / "fields")
    index(fields, atlas=tmp_path / "atlas", dataset="manifest", level="cell", request=EncoderRequest(crop=CROP))
    return tmp_path / "atlas"


def states(atlas: Path) -> list[tuple[str, str, str]]:
    return sorted((e.level, e.spec.mapping, e.state) for e in encoders.stored_encoders(Store.open(atlas)))


def test_only_levels_that_have_vectors_are_embedded_and_the_others_told(
    cells: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        summary = embed(atlas=cells, request=OTHER)
    assert (summary.embedded, list(summary.encoders)) == (4, ["cell"])
    assert states(cells) == [("cell", "natural", "superseded"), ("cell", "random", "current")]
    assert caplog.messages == [
        "level cell, which has vectors, is embedded; none of the 3 images at level fov has one: --level fov gives "
        "them theirs"
    ]
    assert embed(atlas=cells, request=OTHER, levels=("fov",)).embedded == 3
    caplog.clear()
    # now that both have vectors, both are meant
    summary = embed(atlas=cells, request=EncoderRequest(mapping="random", seed=4))
    assert (summary.embedded, sorted(summary.encoders)) == (7, ["cell", "fov"])
    assert not [said for said in caplog.messages if "gives them theirs" in said]


def test_where_no_level_has_vectors_all_are_embedded(cells: Path) -> None:
    store = Store.open(cells)
    (only,) = encoders.stored_encoders(store)
    with store.folder.writer("a test"):
        drop_vectors(store, only)
        encoders.forget(store, only)
    summary = embed(atlas=cells, request=OTHER)
    assert (summary.embedded, sorted(summary.encoders)) == (7, ["cell", "fov"])

"""Channels that no slot of an encoder takes."""

import dataclasses
from pathlib import Path

import pytest

from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import FOVS
from locatlas.indexer.store.tables import Store
from locatlas.indexer.unread_channels import unread_channels
from tests.query.made_atlas import encoder, row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    sets = [["nucleus", "protein", "er"], ["nucleus", "er"], ["protein", "actin"], ["actin"]]
    store = Store.create(tmp_path / "atlas")
    rows = [row(f"d/{i}", channels=channels) for i, channels in enumerate(sets)]
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([{k: v for k, v in r.items() if k in FOVS.names} for r in rows], "fov"))
    return store


def test_they_are_counted_by_name(store: Store) -> None:
    spec = dataclasses.replace(encoder(), slots=("nucleus", "protein"))
    # the last image has no channel for it, and would be in quarantine
    assert unread_channels(store, StoredEncoder("fov", spec, "current")) == {"actin": 1, "er": 2}
    whole = dataclasses.replace(encoder(), slots=("actin", "er", "nucleus", "protein"))
    assert unread_channels(store, StoredEncoder("fov", whole, "current")) == {}


def test_stains_that_were_named_are_what_was_wanted(store: Store) -> None:
    spec = dataclasses.replace(encoder(), slots=("nucleus", "protein"), stains=("protein",))
    assert unread_channels(store, StoredEncoder("fov", spec, "current")) == {}

"""What a sweep over an atlas says of its groups."""

from pathlib import Path

import pytest

from locatlas.query.atlas import Atlas, open_atlas
from tests.query.made_atlas import make_atlas


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    folder: Path = tmp_path_factory.mktemp("made")
    return open_atlas(make_atlas(folder / "atlas"))


def test_groups_that_share_a_protein_are_told_since_the_interval_draws_them_as_independent(atlas: Atlas) -> None:
    by_field = atlas.sweep(level="cell", group="fov", exclude="fov", ks=[1]).to_dict()["notes"]
    assert any("6 of 6 proteins stand in several groups (fov)" in note for note in by_field)
    by_protein = atlas.sweep(level="cell", group="protein", ks=[1]).to_dict()["notes"]
    assert not any("several groups" in note for note in by_protein)

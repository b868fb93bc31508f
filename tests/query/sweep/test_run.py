"""What a sweep over an atlas says of its groups."""

from pathlib import Path

import pytest

from locatlas.errors import InputError
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


def test_a_sample_asks_some_and_lets_all_vote(atlas: Atlas) -> None:
    """What a sampled row is predicted is what the whole sweep predicts for it."""
    whole = atlas.sweep(level="cell", ks=[1, 5], keep_predictions=True)
    part = atlas.sweep(level="cell", ks=[1, 5], keep_predictions=True, sample=20)
    assert (part.n, part.n_queries, part.n_rows) == (20, 20, whole.n_rows)
    at = {name: i for i, name in enumerate(whole.ids)}
    for mine, theirs in zip(part.results, whole.results, strict=True):
        assert mine.predicted.tolist() == [theirs.predicted[at[name]] for name in part.ids]
    assert any("20 of 72 cells are asked" in note for note in part.to_dict()["notes"])
    other = atlas.sweep(level="cell", ks=[1], sample=20, seed=1)
    assert set(other.ids) != set(part.ids)
    assert set(atlas.sweep(level="cell", ks=[1], sample=10**6).ids) == set(whole.ids)


def test_classes_that_a_sample_lost_are_told(atlas: Atlas) -> None:
    notes = atlas.sweep(level="cell", ks=[1], sample=1).to_dict()["notes"]
    assert any("2 of 3 classes have no image in the sample" in note for note in notes)
    assert not any("have no image in the sample" in n for n in atlas.sweep(level="cell", ks=[1]).to_dict()["notes"])


def test_a_sample_of_images_cannot_score_what_needs_all_of_them(atlas: Atlas) -> None:
    with pytest.raises(InputError, match="cannot score a protein"):
        atlas.sweep(level="cell", ks=[1], by="protein", sample=5)

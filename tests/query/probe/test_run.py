"""Heads on the vectors of an atlas: which rows, whose labels, what the encoder was trained on."""

from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import InputError, LeakageError, UnknownNameError
from locatlas.indexer.store.trainings import put_training
from locatlas.models.training.manifest import TrainingManifest
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.made_atlas import CLASSES, encoder, make_atlas

QUICK: dict[str, Any] = {"folds": 2, "seeds": 1, "steps": 40}


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return open_atlas(make_atlas(tmp_path_factory.mktemp("made") / "atlas"))


def test_cells_are_probed_by_protein_and_the_document_says_what_this_is(atlas: Atlas) -> None:
    found = atlas.probe(level="cell", **QUICK).to_dict()
    assert found["what"] == "frozen backbone, trained head (what the paper calls zero-shot)"
    assert (found["n"], found["n_groups"], found["classes"]) == (72, 6, list(CLASSES))
    assert (found["level"], found["label_source"], found["encoder"]["name"]) == ("cell", "inherited", "made")
    assert (found["trained_on"], found["lone_labels"], found["left_out"]) == (None, {}, {})
    assert "torch" in found["versions"]
    assert any("inherited" in note for note in found["notes"])
    # each class has two proteins, one in each fold: the other trains, and none can be spared to stop it
    assert found["results"][0]["n_train_groups"] == 3
    assert found["results"][0]["n_validation"] == 0
    assert found["results"][0]["steps"] == {"median": 40, "min": 40, "max": 40}


def test_fields_and_proteins_and_some_rows_only_can_be_probed(atlas: Atlas) -> None:
    assert atlas.probe(level="fov", where=["plate=plate0"], **QUICK).n == 12
    assert atlas.probe(level="protein", **QUICK).n == 6
    own = atlas.probe(label_source="annotated", level="cell", **QUICK).to_dict()
    assert (own["n"], own["left_out"]) == (11, {"unlabelled": 61})


def test_groups_that_share_proteins_or_fields_are_told(atlas: Atlas) -> None:
    notes = atlas.probe(level="cell", group="plate", **QUICK).to_dict()["notes"]
    assert any("6 of 6 proteins stand in several groups (plate)" in note for note in notes)
    assert not any("fields stand" in note for note in notes)
    by_cell = atlas.probe(level="cell", group="id", **QUICK).to_dict()["notes"]
    assert any("18 of 18 fields stand in several groups (id)" in note for note in by_cell)
    plain = atlas.probe(level="cell", **QUICK).to_dict()["notes"]
    assert not any("stand in several groups" in note for note in plain)


def test_what_the_encoder_was_trained_on_is_refused_left_out_or_told(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas"))
    manifest = TrainingManifest(
        encoder="made",
        weights_sha256=str(encoder().weights_sha256),
        objective="dino",
        level="fov",
        group="protein",
        images=("d/00",),
    )
    with atlas.store.folder.writer("a test"):
        put_training(atlas.store, manifest)
    with pytest.raises(LeakageError, match=r"trained on 1 of 6 groups \(protein\) .* 3 of 18 rows"):
        atlas.probe(level="fov", **QUICK)
    unseen = atlas.probe(level="fov", held_out=True, **QUICK)
    assert (unseen.n, unseen.n_groups, unseen.n_rows) == (15, 5, 18)
    assert unseen.to_dict()["trained_on"]["n_seen_rows"] == 3
    everything = atlas.probe(level="fov", allow_training_groups=True, **QUICK).to_dict()
    assert (everything["n"], everything["trained_on"]["evaluated"]) == (18, "all")


def test_questions_that_have_no_answer_are_refused(atlas: Atlas) -> None:
    with pytest.raises(InputError, match="unknown for all 18 images; groups that are known"):
        atlas.probe(group="antibody", **QUICK)
    with pytest.raises(UnknownNameError, match="column"):
        atlas.probe(group="nothing", **QUICK)
    with pytest.raises(InputError, match="2 to 6 possible"):
        atlas.probe(folds=7)
    with pytest.raises(InputError, match="0 seeds"):
        atlas.probe(seeds=0)
    with pytest.raises(InputError, match="one of linear, mlp, wide"):
        atlas.probe(head="deep")  # type: ignore[arg-type]

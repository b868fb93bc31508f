"""What an encoder was trained on: found by id, field, group and lineage; refused, left out, or taken in and told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from locatlas.errors import InputError, LeakageError
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store.encoders import StoredEncoder, stored_encoders
from locatlas.indexer.store.encoders import put as put_encoder
from locatlas.indexer.store.trainings import put_training
from locatlas.models.training.manifest import TrainingManifest
from locatlas.query.asking.leakage import part_named, training_overlap
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.made_atlas import CLASSES, encoder, make_atlas

WEIGHTS = encoder().weights_sha256
assert WEIGHTS is not None


def manifest(**said: Any) -> TrainingManifest:
    plain: dict[str, Any] = {
        "encoder": "made",
        "weights_sha256": WEIGHTS,
        "objective": "supervised",
        "level": "fov",
        "group": "protein",
        "images": (),
    }
    return TrainingManifest(**plain | said)


def trained(folder: Path, *manifests: TrainingManifest) -> Atlas:
    atlas = open_atlas(make_atlas(folder / "atlas"))
    with atlas.store.folder.writer("a test"):
        for one in manifests:
            put_training(atlas.store, one)
    return atlas


def seen(atlas: Atlas, level: Any, group: str) -> set[str]:
    view = atlas.view(level)
    images = atlas.view("fov") if level == "protein" else None
    overlap = training_overlap(atlas.store, encoder(), view, group, images=images)
    return {name for name, met in zip(view.ids, overlap.seen, strict=True) if met}


FIELDS_OF_P0 = {"d/00", "d/01", "d/02"}


@pytest.mark.parametrize(
    ("said", "group", "expected"),
    [
        ({"images": ("d/00",)}, "protein", FIELDS_OF_P0),
        ({"validation_images": ("d/02",)}, "protein", FIELDS_OF_P0),
        ({"groups": {"protein": ("P0",)}}, "protein", FIELDS_OF_P0),
        ({"images": ("d/00",), "groups": {"protein": ("P0",)}}, "fov", {"d/00"}),
        ({"images": ("d/00/3",), "level": "cell"}, "fov", {"d/00"}),
        ({"groups": {"fov": ("d/00",)}}, "fov", {"d/00"}),
        ({"groups": {"plate": ("d/plate1",)}}, "plate", {f"d/{p}1" for p in range(6)}),
        ({"groups": {"plate": ("other/plate1",)}}, "plate", set()),
        ({"groups": {"plate": ("plate1",)}}, "plate", set()),
        ({"groups": {"protein": ("P9",)}, "images": ("elsewhere/1",)}, "protein", set()),
    ],
)
def test_a_field_was_seen_by_id_by_its_cells_or_by_its_group(
    said: dict[str, Any], group: str, expected: set[str], tmp_path: Path
) -> None:
    assert seen(trained(tmp_path, manifest(**said)), "fov", group) == expected


def test_a_cell_was_seen_with_its_field_and_a_protein_with_any_of_its_images(tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(images=("d/00",)))
    assert seen(atlas, "cell", "fov") == {f"d/00/{c}" for c in range(4)}
    assert seen(atlas, "protein", "protein") == {"P0"}


def test_what_the_parents_saw_counts_though_the_child_does_not_list_it(tmp_path: Path) -> None:
    first = replace(encoder(), name="first", weights_sha256="imported:first")
    atlas = trained(
        tmp_path,
        manifest(images=("d/00",), parent=first.fingerprint),
        manifest(encoder="first", weights_sha256="imported:first", images=("d/10",), parent="f" * 64),
    )
    with atlas.store.folder.writer("a test"):
        put_encoder(atlas.store, StoredEncoder("fov", first, "superseded"))
    assert seen(atlas, "fov", "protein") == FIELDS_OF_P0 | {"d/10", "d/11", "d/12"}


def test_what_a_forgotten_parent_saw_counts_by_the_name_that_its_child_says(tmp_path: Path) -> None:
    own = replace(encoder(), architecture="a network of this test")
    root = replace(own, name="root", weights_sha256="imported:root")
    first = replace(own, name="first", weights_sha256="imported:first", parent=root.fingerprint)
    atlas = trained(
        tmp_path,
        manifest(images=("d/00",), parent=first.fingerprint, parent_name="first"),
        manifest(
            encoder="first", weights_sha256="imported:first", images=("d/10",), parent=root.fingerprint,
            parent_name="root",
        ),
        manifest(encoder="root", weights_sha256="imported:root", images=("d/20",)),
        manifest(encoder="root", weights_sha256="imported:another root", images=("d/30",)),
        manifest(encoder="none of them", weights_sha256="imported:none", images=("d/40",)),
    )  # fmt: skip
    with atlas.store.folder.writer("a test"):
        put_encoder(*(atlas.store, *(StoredEncoder("fov", one, "beside") for one in (root, first))))
    expected = {f"d/{protein}{field}" for protein in range(3) for field in range(3)}
    assert seen(atlas, "fov", "protein") == expected
    maintain(atlas=atlas.store.folder.path, drop_encoders=["first", "root"])
    assert {e.spec.name for e in stored_encoders(atlas.store)} == {"made"}
    # two trainings have the name of the root now: which of them it was, nothing tells
    assert seen(open_atlas(atlas.store.folder.path), "fov", "protein") == expected | {"d/30", "d/31", "d/32"}


def test_without_a_manifest_nothing_is_claimed_and_a_known_parent_is_noted(tmp_path: Path) -> None:
    atlas = trained(tmp_path)
    plain = training_overlap(atlas.store, encoder(), atlas.view("fov"), "protein")
    assert (plain.manifest, plain.seen.any(), plain.notes) == (None, False, ())
    child = replace(encoder(), name="child", weights_sha256="imported:child", parent=encoder().fingerprint)
    overlap = training_overlap(atlas.store, child, atlas.view("fov"), "protein")
    assert overlap.notes == (
        "child was trained from made, but this atlas does not know on what: it may have seen these images",
    )
    rows = np.ones(18, dtype=np.bool_)
    assert overlap.said(rows, "unseen") is None
    assert overlap.choose(rows, "held-out").all()
    document = atlas.sweep(level="fov", ks=[1]).to_dict()
    assert document["trained_on"] is None
    assert document["n_queries"] == document["n_rows"] == 18


def test_a_sweep_over_what_was_seen_is_refused_with_its_extent_and_the_two_ways_out(tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(images=("d/00", "d/11"), groups={"protein": ("P0", "P1")}))
    with pytest.raises(LeakageError) as caught:
        atlas.sweep(level="fov", ks=[1])
    assert str(caught.value) == (
        "encoder made was trained on 2 of 6 groups (protein) that would be evaluated, 6 of 18 rows: "
        "--held-out (held_out=True) evaluates the other 12 rows, --allow-training-groups all of them, as if they were "
        "new"
    )
    clean = atlas.sweep(level="fov", ks=[1], where=["protein!=P0", "protein!=P1"]).to_dict()["trained_on"]
    assert (clean["evaluated"], clean["n_rows"], clean["n_seen_rows"]) == ("unseen", 12, 0)


def test_nothing_left_over_is_refused_too(tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(groups={"protein": tuple(f"P{p}" for p in range(6))}))
    for options in ({}, {"held_out": True}):
        with pytest.raises(LeakageError, match=r"6 of 6 groups .* nothing is left for --held-out"):
            atlas.sweep(level="fov", ks=[1], **options)
    with pytest.raises(InputError, match="one of them"):
        part_named(held_out=True, allow_training_groups=True)


@pytest.mark.parametrize("level", ["fov", "cell"])
def test_held_out_rows_are_scored_by_all_others_as_scikit_learn_does(level: Any, tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(groups={"protein": ("P0", "P1", "P4")}))
    result = atlas.sweep(level=level, ks=[1, 5], held_out=True)
    view = atlas.view(level)
    proteins = np.array(view.column("protein"))
    classes = np.array([CLASSES.index(next(iter(names))) for names in view.localizations])
    fresh = ~np.isin(proteins, ["P0", "P1", "P4"])
    for step, k in enumerate((1, 5)):
        found = np.full(len(view), -1)
        for name in ("P2", "P3", "P5"):
            own = proteins == name
            peer = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(view.vectors[~own], classes[~own])
            found[own] = peer.predict(view.vectors[own])
        expected = f1_score(
            classes[fresh], found[fresh], average="macro", labels=np.unique(classes[fresh]), zero_division=0
        )
        assert result.results[step].macro_f1 == pytest.approx(expected)
        assert result.results[step].counts.support.sum() == fresh.sum()
    assert set(result.ids) == set(np.array(view.ids)[fresh])
    document = result.to_dict()
    said = document["trained_on"]
    assert said["evaluated"] == "held-out"
    assert (document["n"], document["n_queries"], document["n_rows"]) == (fresh.sum(), fresh.sum(), len(view))
    assert (said["n_evaluated_rows"], said["n_seen_rows"]) == (fresh.sum(), (~fresh).sum())
    assert (said["n_evaluated_groups"], said["n_seen_groups"], document["n_groups"]) == (3, 3, 3)


def test_allowed_training_groups_change_no_score_and_stand_in_the_document(tmp_path: Path) -> None:
    before = trained(tmp_path / "a").sweep(level="fov", ks=[1, 3]).to_dict()
    atlas = trained(tmp_path / "b", manifest(images=("d/00",)))
    after = atlas.sweep(level="fov", ks=[1, 3], allow_training_groups=True).to_dict()
    assert after["results"] == before["results"]
    assert (after["trained_on"]["evaluated"], after["trained_on"]["n_seen_rows"]) == ("all", 3)


def test_held_out_units_and_folds_are_those_of_unseen_proteins(tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(groups={"protein": ("P0", "P1", "P4")}))
    fields = atlas.sweep(by="fov", ks=[3], held_out=True)
    assert set(fields.ids) == {f"d/{p}{f}" for p in (2, 3, 5) for f in range(3)}
    assert (fields.n, fields.n_queries, fields.n_rows) == (9, 36, 72)
    folds = atlas.sweep(level="fov", protocol="kfold", folds=3, ks=[3], held_out=True).to_dict()
    assert (folds["n"], folds["n_queries"], folds["n_rows"]) == (9, 9, 18)
    assert 1 <= len(folds["results"][0]["macro_f1_folds"]) <= 3


def test_a_record_of_training_elsewhere_is_found_by_the_weights_and_else_by_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder was trained on another atlas of the same images: only this user's own encoders know."""
    atlas = trained(tmp_path)
    spec = replace(encoder(), name="tuned", weights_sha256="ab" * 32)
    known = manifest(encoder="tuned", weights_sha256="ab" * 32, images=("d/00",), parent_name="base", parent="e" * 64)
    base = manifest(encoder="base", weights_sha256="cd" * 32, images=("d/10",))
    monkeypatch.setattr("locatlas.models.registry.training", {"base": base}.get)
    monkeypatch.setattr("locatlas.models.registry.training_by_weights", {known.weights_sha256: known}.get)
    overlap = training_overlap(atlas.store, spec, atlas.view("fov"), "fov")
    assert {name for name, met in zip(atlas.view("fov").ids, overlap.seen, strict=True) if met} == {"d/00", "d/10"}
    other = training_overlap(atlas.store, replace(spec, weights_sha256="ef" * 32), atlas.view("fov"), "fov")
    assert other.manifest is None


def test_a_group_that_the_manifest_does_not_record_is_told(tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(images=("d/00",), groups={"protein": ("P0",)}))
    notes = training_overlap(atlas.store, encoder(), atlas.view("fov"), "plate").notes
    assert len(notes) == 1
    assert "does not say which values of plate" in notes[0]
    assert training_overlap(atlas.store, encoder(), atlas.view("fov"), "protein").notes == ()


@pytest.mark.parametrize("options", [{"level": "cell"}, {"level": "protein"}, {"by": "fov"}])
def test_classify_tells_how_many_of_its_rows_were_seen(options: dict[str, Any], tmp_path: Path) -> None:
    atlas = trained(tmp_path, manifest(groups={"protein": ("P0",)}))
    notes = json.loads(atlas.classify(k=3, **options).schema.metadata[b"locatlas"])["notes"]
    n, of = (1, 6) if options.get("level") == "protein" else (12, 72)
    assert f"made was trained on {n} of {of} classified rows or on others of their protein" in " ".join(notes)
    clean = json.loads(atlas.classify(protein="P1", k=3, **options).schema.metadata[b"locatlas"])["notes"]
    assert not any("was trained on" in note for note in clean)

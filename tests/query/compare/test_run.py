"""Two encoders on the same rows, against brute force over made vectors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from locatlas.errors import InputError, LeakageError
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.trainings import put_training
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest
from locatlas.query.atlas import Atlas, open_atlas
from locatlas.query.compare.result import Comparison
from tests.query.made_atlas import encoder, made_rows, made_vectors, make_atlas

NEW = replace(encoder(), name="new", weights_sha256="imported:new", parent=encoder().fingerprint)


def put_encoder(
    atlas: Atlas, level: Any, spec: EncoderSpec, ids: list[str], vectors: NDArray[np.float32], state: Any = "current"
) -> None:
    with atlas.store.folder.writer("a test"):
        stored = StoredEncoder(level, spec, state)
        atlas.store.put_embeddings(level, stored.fingerprint, ids, ["x"] * len(ids), vectors)
        old = encoders.current(atlas.store, level)
        encoders.put(atlas.store, stored, *([StoredEncoder(level, old.spec, "superseded")] if old else []))


def two_encoders(folder: Path, *, without: int = 0) -> Atlas:
    """Fields and cells by the encoder `made`, and by `new`, which lacks the first few cells, and knows less."""
    atlas = open_atlas(make_atlas(folder / "atlas"))
    for level, rows in zip(("fov", "cell"), made_rows(), strict=True):
        vectors = made_vectors(rows, seed=77)
        noise = np.random.default_rng(3).normal(size=vectors.shape)
        kept = slice(without if level == "cell" else 0, None)
        ids = [row["id"] for row in rows]
        put_encoder(atlas, level, NEW, ids[kept], (vectors + 0.8 * noise).astype(np.float32)[kept])
    return atlas


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return two_encoders(tmp_path_factory.mktemp("two"))


def ranked(view: Any, proteins: NDArray[Any]) -> list[list[str]]:
    """Ids of all rows that each may meet, nearest first, by float64 cosine."""
    unit = view.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = unit @ unit.T
    ids = np.array(view.ids)
    return [
        [str(ids[j]) for j in np.argsort(-scores[i], kind="stable") if proteins[j] != proteins[i]]
        for i in range(len(ids))
    ]


@pytest.mark.parametrize(("level", "k"), [("fov", 3), ("fov", 15), ("cell", 5), ("protein", 2)])
def test_overlap_ranks_and_chance_equal_brute_force(level: Any, k: int, atlas: Atlas) -> None:
    found = atlas.compare("made", encoder="new", level=level, k=k)
    new, old = atlas.view(level, encoder="new"), atlas.view(level, encoder="made")
    assert new.ids == old.ids
    proteins = np.array(new.column("protein"))
    lists = ranked(new, proteins), ranked(old, proteins)
    place = {name: i for i, name in enumerate(found.ids)}
    depth = min(10 * k, len(lists[0][0]))
    for row, name in enumerate(new.ids):
        one, other = lists[0][row], lists[1][row]
        at = place[name]
        assert found.overlap[at] == len(set(one[:k]) & set(other[:k])) / k
        changes = []
        for mine, its in ((one, other), (other, one)):
            for rank, near in enumerate(mine[:k], start=1):
                there = its.index(near) + 1
                changes.append(abs(rank - (there if there <= depth else depth + 1)))
        assert found.found.rank_change[at] == pytest.approx(np.mean(changes))
    document = found.to_dict()
    assert document["neighbors"]["overlap"] == pytest.approx(found.overlap.mean())
    assert document["neighbors"]["overlap_sd"] == pytest.approx(found.overlap.std(ddof=1))
    assert document["neighbors"]["chance"] == pytest.approx(k / len(lists[0][0]))
    low, high = document["neighbors"]["overlap_ci95"]
    assert low <= document["neighbors"]["overlap"] <= high
    assert document["left_out"] == {}
    by_hand = {p: 1 - np.mean([found.overlap[place[i]] for i, q in zip(new.ids, proteins, strict=True) if q == p])
               for p in set(proteins)}  # fmt: skip
    assert {one["name"]: pytest.approx(one["moved"]) for one in document["moved"]} == by_hand
    assert [one["moved"] for one in document["moved"]] == sorted(one["moved"] for one in document["moved"])[::-1]
    assert found.to_arrow()["name"].to_pylist() == [one["name"] for one in document["moved"]]


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_scores_are_those_of_the_two_sweeps_and_their_difference_is_drawn_in_pairs(labels: Any, atlas: Atlas) -> None:
    document = atlas.compare(encoder="new", level="cell", k=7, labels=labels).to_dict()
    scores = document["classification"]
    sweeps = {
        which: atlas.sweep(level="cell", ks=[7], labels=labels, encoder=name).to_dict()["results"][0]
        for which, name in (("new", "new"), ("old", "made"))
    }
    for which, result in sweeps.items():
        assert scores["macro_f1"][which] == result["macro_f1"]
        assert {name: one[which] for name, one in scores["per_class_f1"].items()} == result["per_class_f1"]
        assert {name: one["support"] for name, one in scores["per_class_f1"].items()} == result["support"]
    for one in (scores["macro_f1"], *scores["per_class_f1"].values()):
        assert one["difference"] == one["new"] - one["old"]
        assert one["ci95"][0] <= one["difference"] <= one["ci95"][1]
    assert (scores["n"], scores["n_voters"], scores["macro_f1"]["n_groups"]) == (72, 72, 6)
    assert {one["n_groups"] for one in scores["per_class_f1"].values()} == {2}


def test_an_encoder_compared_with_itself_agrees_exactly(atlas: Atlas) -> None:
    document = atlas.compare("made", encoder="made", level="cell", k=9).to_dict()
    neighbors = document["neighbors"]
    assert (neighbors["overlap"], neighbors["overlap_sd"], neighbors["rank_change"]) == (1, 0, 0)
    assert neighbors["overlap_ci95"] == [1, 1]
    scores = document["classification"]
    for one in (scores["macro_f1"], *scores["per_class_f1"].values()):
        assert (one["difference"], one["ci95"]) == (0, [0, 0])
    assert {one["moved"] for one in document["moved"]} == {0}
    assert "made is compared with itself" in document["notes"]


def test_ties_in_what_moved_follow_no_name(atlas: Atlas) -> None:
    moved = [one["name"] for one in atlas.compare("made", encoder="made", level="cell", k=9).to_dict()["moved"]]
    assert sorted(moved) == [f"P{p}" for p in range(6)]
    assert moved not in (sorted(moved), sorted(moved)[::-1])


def test_rows_that_only_one_has_take_no_part_and_are_counted(atlas: Atlas, tmp_path: Path) -> None:
    fewer = two_encoders(tmp_path, without=10)
    found = fewer.compare(level="cell", k=4)
    assert found.to_dict()["left_out"] == {"only by the old encoder": 10}
    assert found.n_rows == 62
    gone = {row["id"] for row in made_rows()[1][:10]}
    filtered = atlas.compare(level="cell", k=4, where=[f"id!={name}" for name in gone])
    assert set(found.ids) == set(filtered.ids)
    assert found.to_dict()["neighbors"] == filtered.to_dict()["neighbors"]
    assert found.to_dict()["classification"] == filtered.to_dict()["classification"]


def train_new(atlas: Atlas, proteins: tuple[str, ...]) -> None:
    manifest = TrainingManifest(
        encoder="new",
        weights_sha256=str(NEW.weights_sha256),
        objective="supervised",
        level="cell",
        group="protein",
        images=(),
        groups={"protein": proteins},
    )
    with atlas.store.folder.writer("a test"):
        put_training(atlas.store, manifest)


def scored(found: Comparison, atlas: Atlas) -> set[str]:
    of = dict(zip(atlas.view("cell").ids, atlas.view("cell").column("protein"), strict=True))
    return {of[name] for name in found.ids}


def test_what_the_new_encoder_was_trained_on_is_a_neighbor_but_not_scored(tmp_path: Path) -> None:
    atlas = two_encoders(tmp_path)
    everything = atlas.compare(level="cell", k=5)
    train_new(atlas, ("P0", "P1", "P2", "P4"))
    found = atlas.compare(level="cell", k=5)
    assert scored(found, atlas) == {"P3", "P5"}
    kept = dict(zip(everything.ids, everything.overlap, strict=True))
    assert dict(zip(found.ids, found.overlap, strict=True)) == {name: kept[name] for name in found.ids}
    document = found.to_dict()
    assert (document["n_rows"], document["n_queries"], document["n_groups"]) == (72, 24, 2)
    assert document["trained_on"]["old"] is None
    said = document["trained_on"]["new"]
    assert (said["n_seen_rows"], said["n_evaluated_rows"], said["evaluated"]) == (48, 24, "held-out")
    for which, name in (("new", "new"), ("old", "made")):
        whole = atlas.sweep(level="cell", ks=[5], encoder=name, allow_training_groups=True)
        held = atlas.sweep(level="cell", ks=[5], encoder=name, where=[], held_out=name == "new")
        assert document["classification"]["n"] == 24
        if name == "new":
            assert document["classification"]["macro_f1"][which] == held.results[0].macro_f1
        assert whole.n == 72
    allowed = atlas.compare(level="cell", k=5, allow_training_groups=True).to_dict()
    assert allowed["neighbors"] == everything.to_dict()["neighbors"]
    assert allowed["trained_on"]["new"]["evaluated"] == "all"
    train_new(atlas, tuple(f"P{p}" for p in range(6)))
    with pytest.raises(LeakageError, match="nothing is left"):
        atlas.compare(level="cell", k=5)


def test_what_cannot_be_compared_gets_one_line(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="k = 61 is too large: some scored row may meet only 60 references; use at most 60"
    ):
        atlas.compare(level="cell", k=61)
    with pytest.raises(InputError, match=r"group .antibody. is unknown"):
        atlas.compare(level="cell", group="antibody")
    alone = open_atlas(make_atlas(tmp_path / "atlas"))
    with pytest.raises(InputError, match=r"compare made with which encoder\? .* others at level cell: none"):
        alone.compare(level="cell")
    put_encoder(alone, "cell", NEW, ["d/00/0"], np.ones((1, 8), np.float32))
    with pytest.raises(InputError, match="some row may meet no other"):
        alone.compare(level="cell")


def test_without_labels_neighbors_are_compared_all_the_same(atlas: Atlas) -> None:
    document = atlas.compare(level="cell", k=4, label_source="annotated", where=["area_px>100"]).to_dict()
    assert document["classification"] is None
    assert any("only neighbors are compared" in note for note in document["notes"])


def test_the_default_k_is_what_every_row_may_meet(atlas: Atlas) -> None:
    assert atlas.compare(level="cell").k == 20
    assert atlas.compare(level="fov").k == 15
    assert atlas.compare(level="protein").k == 5


def test_macro_f1_by_both_equals_scikit_learn(atlas: Atlas) -> None:
    """At k = 1 the vote is the nearest neighbor's class."""
    scores = atlas.compare(level="cell", k=1).to_dict()["classification"]["macro_f1"]
    for which, name in (("new", "new"), ("old", "made")):
        view = atlas.view("cell", encoder=name)
        label = {i: next(iter(names)) for i, names in zip(view.ids, view.localizations, strict=True)}
        near = ranked(view, np.array(view.column("protein")))
        expected = f1_score([label[i] for i in view.ids], [label[one[0]] for one in near], average="macro")
        assert scores[which] == pytest.approx(expected)

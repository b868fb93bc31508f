"""Sweeps against separate searches, scikit-learn and hand-worked cases."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from locatlas.errors import InputError
from locatlas.query.scores.protocols import grouped_folds
from locatlas.query.sweep.every_k import SweepResult, sweep
from tests.quick import some

KS = [1, 2, 5, 11]
N_CLASSES = 4


@pytest.fixture
def made(rng: np.random.Generator) -> dict[str, Any]:
    """240 rows of 30 proteins in 4 classes; classes overlap, rows of a protein lie close together."""
    protein_class = rng.permutation(np.arange(30) % N_CLASSES)
    protein = np.concatenate([np.arange(30), rng.integers(0, 30, 210)])
    centres, spread = rng.normal(size=(N_CLASSES, 8)), rng.normal(size=(30, 8))
    vectors = centres[protein_class[protein]] + spread[protein] + 0.5 * rng.normal(size=(240, 8))
    return {
        "vectors": vectors.astype(np.float32),
        "labels": [{f"c{protein_class[p]}"} for p in protein],
        "groups": [f"p{p}" for p in protein],
        "ids": [f"row{i:03d}" for i in range(240)],
    }


def codes(made: dict[str, Any]) -> np.ndarray:
    return np.array([int(next(iter(names))[1:]) for names in made["labels"]])


def in_order(result: SweepResult, made: dict[str, Any], step: int) -> np.ndarray:
    """Predictions of a result in the order of the arguments."""
    place = {name: i for i, name in enumerate(result.ids)}
    predicted = result.results[step].predicted
    assert predicted is not None
    return predicted[[place[name] for name in made["ids"]]]


@pytest.mark.parametrize("rule", some(["uniform", "distance"], 1))
def test_every_k_equals_scikit_learn_fitted_without_the_group(made: dict[str, Any], rule: str) -> None:
    result = sweep(**made, ks=KS, weights=rule, ties="first", keep_predictions=True)  # type: ignore[arg-type]
    targets, groups = codes(made), np.array(made["groups"])
    for step, k in enumerate(KS):
        expected = np.empty_like(targets)
        for name in np.unique(groups):
            own = groups == name
            peer = KNeighborsClassifier(k, metric="cosine", weights=rule, algorithm="brute")
            expected[own] = peer.fit(made["vectors"][~own], targets[~own]).predict(made["vectors"][own])
        np.testing.assert_array_equal(in_order(result, made, step), expected)
        found = result.results[step]
        assert found.macro_f1 == pytest.approx(f1_score(targets, expected, average="macro"))
        assert found.accuracy == pytest.approx(np.mean(targets == expected))
        assert found.macro_f1_sd is None
        assert found.confusion is not None
        assert found.confusion.sum() == 240
        assert np.trace(found.confusion) == (targets == expected).sum()


def test_kfold_equals_scikit_learn_on_the_same_folds(made: dict[str, Any]) -> None:
    result = sweep(**made, ks=KS, protocol="kfold", folds=3, seed=7, ties="first", keep_predictions=True)
    targets = codes(made)
    fold = grouped_folds(made["groups"], folds=3, seed=7, table=targets[:, None] == np.arange(N_CLASSES))
    for step, k in enumerate(KS):
        scores, expected = [], np.empty_like(targets)
        for part in range(3):
            own = fold == part
            peer = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
            expected[own] = peer.fit(made["vectors"][~own], targets[~own]).predict(made["vectors"][own])
            scores.append(f1_score(targets[own], expected[own], average="macro", labels=np.unique(targets[own])))
        np.testing.assert_array_equal(in_order(result, made, step), expected)
        found = result.results[step]
        np.testing.assert_allclose(found.macro_f1_folds, scores)
        assert found.macro_f1_sd == pytest.approx(np.std(scores, ddof=1))
        assert found.macro_f1 == pytest.approx(f1_score(targets, expected, average="macro"))


@pytest.mark.parametrize("protocol", ["leave-group-out", "kfold"])
@pytest.mark.parametrize("mode", ["single", "multi"])
def test_every_k_equals_a_sweep_of_its_own(
    made: dict[str, Any], protocol: Any, mode: Any, rng: np.random.Generator
) -> None:
    if mode == "multi":
        made["labels"] = [names | ({"c9"} if rng.random() < 0.3 else set()) for names in made["labels"]]
    options = {
        "protocol": protocol,
        "labels_mode": mode,
        "weights": ("uniform", "distance", "softmax"),
        "n_bootstrap": 50,
    }
    whole = sweep(**made, ks=KS, **options).to_dict()["results"]
    for k in KS:
        alone = sweep(**made, ks=[k], **options).to_dict()["results"]
        assert alone == [one for one in whole if one["k"] == k]
    assert [(one["weights"], one["k"]) for one in whole] == [
        (rule, k) for rule in ("uniform", "distance", "softmax") for k in KS
    ]


@pytest.mark.parametrize("protocol", ["leave-group-out", "kfold"])
def test_the_order_of_rows_does_not_matter(made: dict[str, Any], protocol: Any, rng: np.random.Generator) -> None:
    made["vectors"][::5] = made["vectors"][0]  # ties
    order = rng.permutation(240)
    mixed = {"vectors": made["vectors"][order]} | {
        name: [made[name][i] for i in order] for name in ("labels", "groups", "ids")
    }
    options = {"ks": KS, "protocol": protocol, "weights": "softmax"}
    assert sweep(**made, **options).to_dict() == sweep(**mixed, **options).to_dict()


def test_ties_do_not_follow_ids_that_tell_the_class() -> None:
    """All vectors are equal, so the 21 neighbors are chosen by the tie rule alone; ids sort by class."""
    ids = [f"img{i:03d}" for i in range(400)]
    table = [{"a"} if i < 200 else {"b"} for i in range(400)]
    result = sweep(np.ones((400, 3)), table, ids, ids, ks=[21], n_bootstrap=0, keep_predictions=True)
    first = sum(name < "img200" for name in result.ids[:22])  # by id, all of them; 11 expected, sd 2.3
    assert 4 <= first <= 18
    predicted = result.results[0].predicted
    assert predicted is not None
    assert (predicted[22:] == int(sum(name < "img200" for name in result.ids[:21]) < 11)).all()


def test_kept_scores_are_those_that_decided_and_only_the_ks_named_keep_them(made: dict[str, Any]) -> None:
    result = sweep(**made, ks=KS, weights="softmax", keep_predictions=(KS[1],), n_bootstrap=0)
    assert [one.k for one in result.results if one.scores is not None] == [KS[1]]
    assert [one.k for one in result.results if one.predicted is not None] == [KS[1]]
    found = result.results[1]
    assert found.scores is not None
    assert found.predicted is not None
    assert result.targets is not None
    np.testing.assert_allclose(found.scores.sum(axis=1), 1)
    rows = np.arange(result.n)
    np.testing.assert_array_equal(found.scores[rows, found.predicted], found.scores.max(axis=1))
    assert np.mean(result.targets[rows, found.predicted]) == found.accuracy
    assert sweep(**made, ks=KS, n_bootstrap=0).targets is None


def test_multi_label_scores_equal_scikit_learn(made: dict[str, Any], rng: np.random.Generator) -> None:
    made["labels"] = [set(rng.choice(["a", "b", "c"], rng.integers(1, 4), replace=False)) for _ in range(240)]
    result = sweep(**made, ks=[7], labels_mode="multi", keep_predictions=True)
    table = np.array([[name in names for name in "abc"] for names in made["labels"]])
    predicted = in_order(result, made, 0)
    found = result.results[0]
    assert found.macro_f1 == pytest.approx(f1_score(table, predicted, average="macro", zero_division=0))
    assert found.micro_f1 == pytest.approx(f1_score(table, predicted, average="micro", zero_division=0))
    assert found.accuracy == pytest.approx((table == predicted).all(axis=1).mean())
    assert predicted.any(axis=1).all()
    assert found.confusion is None


def test_rows_that_cannot_be_evaluated_are_counted(made: dict[str, Any]) -> None:
    made["labels"][3], made["labels"][4], made["labels"][5] = set(), None, {"c0", "c1"}
    made["groups"][6] = None
    made["groups"][7] = ""
    made["vectors"][8] = 0
    result = sweep(**made, ks=[1])
    assert result.left_out == {"unlabelled": 2, "several labels": 1, "no group": 2, "zero vector": 1}
    assert result.n == 234
    assert not {f"row00{i}" for i in range(3, 9)} & set(result.ids)


def test_lone_labels_are_evaluated_and_told(made: dict[str, Any]) -> None:
    alone = [i for i, name in enumerate(made["groups"]) if name == "p3"]
    for i in alone:
        made["labels"][i] = {"rare"}
    result = sweep(**made, ks=[1])
    assert result.lone_labels == {"rare": len(alone)}
    assert result.results[0].per_class_f1[result.classes.index("rare")] == 0


def test_a_class_of_rows_that_are_left_out_is_no_class(made: dict[str, Any]) -> None:
    made["labels"][0], made["groups"][0] = {"only here"}, None
    assert sweep(**made, ks=[1]).classes == ("c0", "c1", "c2", "c3")


def test_further_exclusions_strike_neighbors_of_other_groups(made: dict[str, Any]) -> None:
    """Every row has a twin with another protein in the same FOV: k = 1 finds it unless FOVs are excluded."""
    n = 100
    vectors = np.vstack([made["vectors"][:n], made["vectors"][:n] * 2])
    labels = made["labels"][:n] * 2
    groups, ids = [f"g{i}" for i in range(2 * n)], [f"r{i}" for i in range(2 * n)]
    fovs = [f"f{i}" for i in range(n)] * 2
    assert sweep(vectors, labels, groups, ids, ks=[1]).results[0].accuracy == 1
    found = sweep(vectors, labels, groups, ids, ks=[1], exclude={"fov": fovs})
    assert found.results[0].accuracy < 1
    assert found.excluded == ("id", "fov")


def test_k_beyond_the_references_is_refused_with_n(made: dict[str, Any]) -> None:
    largest = max(made["groups"].count(name) for name in made["groups"])
    sweep(**made, ks=[240 - largest], n_bootstrap=0)
    with pytest.raises(InputError, match=f"k = {241 - largest} is too large: .* use at most {240 - largest}$"):
        sweep(**made, ks=[1, 241 - largest])
    pairs = list(zip(made["groups"], ["one", "two"] * 120, strict=True))
    fewest = min(sum(a != c and b != d for c, d in pairs) for a, b in pairs)
    with pytest.raises(InputError, match=f"may meet only {fewest}; use at most {fewest}$"):
        sweep(**made, ks=[fewest + 1], exclude={"plate": [plate for _, plate in pairs]}, n_bootstrap=0)
    assert sweep(**made, ks=[fewest], exclude={"plate": [plate for _, plate in pairs]}, n_bootstrap=0).results
    with pytest.raises(InputError, match=r"may meet only 0$"):  # no k fits
        sweep(**made, ks=[1], exclude={"plate": ["one"] * 240})


def test_the_refusal_of_a_k_says_that_rows_with_several_labels_are_missing(made: dict[str, Any]) -> None:
    labels = [names | {"another"} if i % 2 else names for i, names in enumerate(made["labels"])]
    with pytest.raises(InputError, match=r"120 rows with several labels were left out, which labels 'multi' takes$"):
        sweep(**made | {"labels": labels}, ks=[200])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ks": []}, "whole numbers"),
        ({"ks": [0]}, "whole numbers"),
        ({"ks": [2.0]}, "whole numbers"),
        ({"protocol": "loo"}, "leave-group-out, kfold"),
        ({"weights": "gauss"}, "uniform, distance, softmax"),
        ({"labels_mode": "both"}, "single, multi"),
        ({"folds": 31, "protocol": "kfold"}, "2 to 30"),
        ({"ties": "last"}, "nearest, first"),
        ({"ids": ["a"] * 240}, "'a' stands more than once"),
        ({"groups": ["a"]}, "1 groups for 240 vectors"),
        ({"exclude": {"fov": ["a"]}}, "1 fov for 240 vectors"),
        ({"labels": [set()] * 240}, "nothing to evaluate among 240 rows: 240 unlabelled"),
    ],
)
def test_bad_arguments_get_one_clear_line(made: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        sweep(**(made | {"ks": [1]} | changes))


def test_the_interval_holds_the_score_and_one_group_each_gives_none(made: dict[str, Any]) -> None:
    for protocol in ("leave-group-out", "kfold"):
        for one in sweep(**made, ks=KS, protocol=protocol).results:  # type: ignore[arg-type]
            for name in ("macro_f1", "micro_f1", "accuracy", "balanced_accuracy"):
                low, high = one.ci95[name]
                assert 0 <= low < high <= 1
                assert low - 0.1 < getattr(one, name) < high + 0.1
    assert sweep(**made, ks=[1], n_bootstrap=0).to_dict()["results"][0]["macro_f1_ci95"] is None


def test_the_document_is_json_with_the_promised_keys(made: dict[str, Any]) -> None:
    result = sweep(**made, ks=KS, group="protein").with_context(level="cell")
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {"protocol", "group", "n", "classes", "results", "n_groups", "left_out", "definitions"} <= set(document)
    assert (document["protocol"], document["group"], document["level"]) == ("leave-group-out", "protein", "cell")
    promised = {"k", "weights", "macro_f1", "macro_f1_sd", "macro_f1_ci95", "micro_f1", "accuracy"}
    promised |= {"balanced_accuracy", "per_class_f1"}
    for one in document["results"]:
        assert promised <= set(one)
        assert set(one["per_class_f1"]) == set(document["classes"])
        assert len(one["macro_f1_ci95"]) == 2


def test_the_table_holds_the_same_numbers(made: dict[str, Any]) -> None:
    result = sweep(**made, ks=KS, weights=("uniform", "softmax"))
    table = result.to_arrow()
    assert table.num_rows == 8
    assert table["k"].to_pylist() == KS * 2
    assert table["macro_f1"].to_pylist() == [one.macro_f1 for one in result.results]
    assert table["f1/c1"].to_pylist() == [one.per_class_f1[1] for one in result.results]
    assert table["macro_f1_sd"].null_count == 8


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_figure_is_written_in_the_format_of_its_name(made: dict[str, Any], tmp_path: Path, suffix: str) -> None:
    path = sweep(**made, ks=KS, weights=("uniform", "softmax")).plot(tmp_path / f"sweep{suffix}")
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == ".png" else b"<?xml" in start
    with pytest.raises(InputError, match="not known"):
        sweep(**made, ks=[1]).plot(tmp_path / "sweep.xyz")


def test_five_nearest_on_hela_features_are_as_right_as_scikit_learn_says(shared_data: Path) -> None:
    """Real features: 862 images, 10 classes. One image a group, so folds are stratified by class alone."""
    with np.load(shared_data / "embeddings" / "hela2d_slf7dna.npz") as file:
        features, names = file["features"], file["labels"].astype(str)
    spread = features.std(axis=0)
    vectors = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    ids = [f"image{i}" for i in range(len(names))]
    found = sweep(vectors, [{name} for name in names], ids, ids, ks=[5], protocol="kfold", folds=10, ties="first")
    fold = grouped_folds(ids, folds=10, table=names[:, None] == np.unique(names))
    right = 0
    for part in range(10):
        own = fold == part
        peer = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(vectors[~own], names[~own])
        right += int((peer.predict(vectors[own]) == names[own]).sum())
    assert found.n == 862
    assert found.results[0].counts.tp.sum() == right
    # 0.746 to 0.758 with seeds 0 to 3; the data's README measured 0.74 on z-scored columns with other folds
    assert found.results[0].accuracy == pytest.approx(0.75, abs=0.015)


def test_without_sizes_those_that_fit_are_swept(made: dict[str, Any]) -> None:
    largest = max(made["groups"].count(name) for name in made["groups"])
    assert 240 - largest >= 200
    assert [r.k for r in sweep(**made, n_bootstrap=0).results] == [1, 3, 5, 10, 20, 50, 100, 200]
    few = {name: values[:60] for name, values in made.items()}
    assert [r.k for r in sweep(**few, n_bootstrap=0).results] == [1, 3, 5, 10, 20, 50]
    alone = {name: values[:3] for name, values in made.items()} | {"groups": ["p", "p", "p"]}
    with pytest.raises(InputError, match="k = 1 is too large"):
        sweep(**alone, n_bootstrap=0)

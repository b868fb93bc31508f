"""Trained heads against scikit-learn, and what must not leak into them."""

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from locatlas.errors import InputError
from locatlas.models.training.fit_head import HeadPlan
from locatlas.query.probe import heads as module
from locatlas.query.probe.heads import probe
from locatlas.query.scores.protocols import grouped_folds

CLASSES = ("er", "golgi", "nucleus")
QUICK = HeadPlan(steps=60, batch_size=32)

Rows = tuple[NDArray[np.float32], list[Collection[str] | None], list[str | None], list[str]]


def made(n_groups: int = 30, rows_each: int = 4, *, spread: float = 1.0, by_group: float = 0.0, seed: int = 0) -> Rows:
    """Groups of one class each; `by_group` moves each group by itself, so that it can be known again."""
    random = np.random.default_rng(seed)
    of = np.repeat(random.permutation(n_groups) % 3, rows_each)
    own = np.repeat(random.normal(0, by_group, (n_groups, 6)), rows_each, axis=0)
    centres = np.random.default_rng(99).normal(size=(3, 6))
    vectors = (centres[of] + own + random.normal(0, spread, (len(of), 6))).astype(np.float32)
    groups: list[str | None] = [f"p{i}" for i in np.repeat(np.arange(n_groups), rows_each)]
    return vectors, [{CLASSES[c]} for c in of], groups, [f"id{i}" for i in range(len(of))]


def test_a_linear_head_scores_as_logistic_regression_in_the_same_folds() -> None:
    vectors, labels, groups, ids = made(60, 4, spread=0.9)
    found = probe(vectors, labels, groups, ids, plan=HeadPlan(), folds=4, seeds=(0, 1), n_bootstrap=0)
    named = np.array([next(iter(names)) for names in labels if names])
    table = named[:, None] == np.array(CLASSES)
    for place, seed in enumerate((0, 1)):
        folds = grouped_folds(groups, folds=4, seed=seed, table=table)
        predicted = np.empty(len(named), dtype=object)
        for fold in range(4):
            scaler = StandardScaler().fit(vectors[folds != fold])
            theirs = LogisticRegression(class_weight="balanced", max_iter=500)
            theirs.fit(scaler.transform(vectors[folds != fold]), named[folds != fold])
            predicted[folds == fold] = theirs.predict(scaler.transform(vectors[folds == fold]))
        expected = f1_score(list(named), list(predicted), average="macro")
        assert 0.6 < expected < 0.95
        assert found.points[0].scores["macro_f1"].seeds[place] == pytest.approx(expected, abs=0.05)


def test_scores_are_scikit_learns_of_the_predictions() -> None:
    vectors, labels, groups, ids = made(20, 3, spread=1.5)
    found = probe(vectors, labels, groups, ids, plan=QUICK, folds=3, seeds=(4, 5), n_bootstrap=50)
    point = found.points[0]
    by_id = dict(zip(ids, labels, strict=True))
    true = [CLASSES.index(next(iter(by_id[name] or ()))) for name in found.ids]
    for place in range(2):
        predicted = point.predicted[place].argmax(axis=1)
        assert (point.predicted[place].sum(axis=1) == 1).all()
        each = f1_score(true, predicted, average=None)
        np.testing.assert_allclose(point.per_class_f1[place], each)
        assert point.scores["macro_f1"].seeds[place] == pytest.approx(each.mean())
        assert point.scores["accuracy"].seeds[place] == pytest.approx((predicted == true).mean())
        assert point.scores["balanced_accuracy"].seeds[place] == pytest.approx(balanced_accuracy_score(true, predicted))
    spread = point.scores["macro_f1"]
    assert spread.sd == pytest.approx(abs(spread.seeds[0] - spread.seeds[1]) / np.sqrt(2))
    assert spread.ci95 is not None
    assert spread.ci95[0] < spread.mean < spread.ci95[1]


@pytest.mark.slow
def test_labels_dealt_out_to_groups_at_random_are_recovered_by_chance_only() -> None:
    # groups are known again easily, so that any leak of a group's own rows would score near 1
    vectors, _, groups, ids = made(45, 4, spread=0.05, by_group=3.0)
    random = np.random.default_rng(3)
    dealt = {f"p{i}": CLASSES[c] for i, c in enumerate(random.permutation(45) % 3)}
    labels = [{dealt[str(name)]} for name in groups]
    found = probe(vectors, labels, groups, ids, plan=HeadPlan(steps=100), seeds=(0, 1, 2), n_bootstrap=0)
    assert 0.2 < found.points[0].scores["macro_f1"].mean < 0.47
    # the same rows, each a group of its own: now the leak is there
    split = probe(vectors, labels, ids, ids, plan=HeadPlan(steps=300), seeds=(0,), n_bootstrap=0)
    assert split.points[0].scores["macro_f1"].mean > found.points[0].scores["macro_f1"].mean + 0.1


def test_rows_of_a_fold_reach_nothing_that_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels, groups, ids = made(15, 3)
    given: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    real = module.fit_head

    def spy(train: NDArray[Any], table: NDArray[np.bool_], plan: HeadPlan, **how: Any) -> Any:
        head = real(train, table, plan, **how)
        np.testing.assert_allclose(head.scaler.mean, train.astype(np.float64).mean(axis=0))
        scores = head.scores

        def told(test: NDArray[Any]) -> NDArray[np.float64]:
            given.append((train, how["validation"][0], test))
            return scores(test)

        return SimpleNamespace(scores=told, step=head.step)

    monkeypatch.setattr(module, "fit_head", spy)
    probe(vectors, labels, groups, ids, plan=QUICK, folds=5, fractions=(0.5, 1), seeds=(0, 1), n_bootstrap=0)
    assert len(given) == 5 * 2 * 2
    group_of = {row.tobytes(): name for row, name in zip(vectors, groups, strict=True)}
    for parts in given:
        train, stop, test = ({group_of[row.tobytes()] for row in part} for part in parts)
        assert not train & stop
        assert not (train | stop) & test


def test_the_order_of_the_rows_changes_nothing() -> None:
    vectors, labels, groups, ids = made(12, 3)
    order = np.random.default_rng(1).permutation(len(ids)).tolist()
    how: dict[str, Any] = {"plan": QUICK, "folds": 3, "fractions": (0.5, 1), "seeds": (0,), "n_bootstrap": 20}
    mixed = probe(vectors[order], *([of[i] for i in order] for of in (labels, groups, ids)), **how)  # type: ignore[arg-type]
    assert mixed.to_dict() == probe(vectors, labels, groups, ids, **how).to_dict()


def test_a_class_of_one_group_is_told_and_never_right() -> None:
    vectors, labels, groups, ids = made(12, 3)
    labels[:3] = [{"lone"}] * 3
    found = probe(vectors, labels, groups, ids, plan=QUICK, folds=3, seeds=(0,), n_bootstrap=0)
    assert found.lone_labels == {"lone": 3}
    assert found.to_dict()["results"][0]["per_class_f1"]["lone"] == 0


def test_several_labels_a_row_are_predicted_each_and_at_least_one() -> None:
    vectors, labels, groups, ids = made(30, 3, spread=0.3)
    both: list[Collection[str] | None] = [{*(names or ()), "er"} for names in labels]
    plan = HeadPlan(labels="multi", loss="focal", steps=200)
    found = probe(vectors, both, groups, ids, plan=plan, seeds=(0,), n_bootstrap=0)
    assert found.points[0].predicted.any(axis=2).all()
    assert found.points[0].scores["accuracy"].mean > 0.9  # the whole set is right
    assert probe(vectors, both, groups, ids, plan=QUICK, folds=3, seeds=(0,), n_bootstrap=0).left_out


def test_rows_that_are_not_scored_are_still_trained_on() -> None:
    vectors, labels, groups, ids = made(15, 4)
    scored = np.array([name in {"p0", "p1", "p2", "p3", "p4"} for name in groups])
    how: dict[str, Any] = {"plan": QUICK, "folds": 3, "seeds": (0,), "n_bootstrap": 0}
    some, everything = (probe(vectors, labels, groups, ids, scored=of, **how) for of in (scored, None))
    assert (some.n, some.n_groups, some.n_rows) == (20, 5, 60)
    assert some.points[0].sizes == everything.points[0].sizes
    where = [everything.ids.index(name) for name in some.ids]
    assert (some.points[0].predicted == everything.points[0].predicted[:, where]).all()
    with pytest.raises(InputError, match="nothing to score"):
        probe(vectors, labels, groups, ids, scored=np.zeros(60, np.bool_), **how)


def test_a_figure_is_drawn(tmp_path: Path) -> None:
    found = probe(*made(9, 2), plan=QUICK, folds=3, fractions=(0.5, 1), seeds=(0, 1), n_bootstrap=20)
    assert found.plot(tmp_path / "p.svg").read_text().startswith("<?xml")
    with pytest.raises(InputError, match="format"):
        found.plot(tmp_path / "p.doc")


@pytest.mark.slow
def test_heads_on_the_hela_features_come_near_the_published_accuracy(shared_data: Path) -> None:
    table = np.load(shared_data / "embeddings" / "hela2d_slf7dna.npz")
    labels: list[Collection[str] | None] = [{name.decode()} for name in table["labels"]]
    ids = [f"row{i}" for i in range(len(labels))]
    found = probe(table["features"], labels, list(ids), ids, plan=HeadPlan(), seeds=(0, 1, 2), n_bootstrap=0)
    # logistic regression on all training rows, 80 % of which the head has: 0.83
    assert 0.78 < found.points[0].scores["macro_f1"].mean < 0.86

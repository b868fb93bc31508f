from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from locatlas.errors import InputError, TrainingStoppedError
from locatlas.models.training.fit_head import FittedHead, HeadPlan, fit_head
from locatlas.models.training.heads import HEADS, HeadKind, HeadSpec

CENTRES = np.random.default_rng(9).normal(size=(3, 8))


def clouds(n: int, seed: int, spread: float = 0.5) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows of three classes around fixed centres; the last class is rare."""
    random = np.random.default_rng(seed)
    of = random.choice(3, n, p=[0.45, 0.45, 0.1])
    of[:3] = [0, 1, 2]
    vectors = CENTRES[of] + random.normal(0, spread, (n, 8))
    return (vectors * 50 + 7).astype(np.float32), np.eye(3, dtype=np.bool_)[of]


def weights(head: FittedHead) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in head.network.parameters()])


def test_a_linear_head_agrees_with_logistic_regression() -> None:
    vectors, table = clouds(300, 0, spread=1.0)
    others, targets = clouds(400, 1, spread=1.0)
    scaler = StandardScaler().fit(vectors)
    # balanced batches are balanced class weights; the rest is the same optimum up to the weight decay
    theirs = LogisticRegression(class_weight="balanced", C=10.0, max_iter=2000)
    theirs.fit(scaler.transform(vectors), table.argmax(axis=1))
    mine = fit_head(vectors, table, HeadPlan(steps=1500, lr=0.03, batch_size=256)).scores(others)
    expected = theirs.predict_proba(scaler.transform(others))
    assert np.abs(mine - expected).mean() < 0.02
    assert (mine.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.97
    assert abs((mine.argmax(1) == targets.argmax(1)).mean() - (expected.argmax(1) == targets.argmax(1)).mean()) < 0.02


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_tells_clouds_apart_that_are_apart(kind: HeadKind) -> None:
    vectors, table = clouds(150, 0)
    others, targets = clouds(150, 1)
    head = fit_head(vectors, table, HeadPlan(head=HeadSpec(kind=kind), steps=150, batch_size=32, lr=1e-2))
    scores = head.scores(others)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-6)
    assert (scores.argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_several_classes_a_row_are_learned_each_by_itself(loss: str) -> None:
    random = np.random.default_rng(2)
    vectors = random.normal(size=(400, 4)).astype(np.float32)
    table = np.column_stack([vectors[:, 0] > 0, vectors[:, 1] > 0, vectors[:, 2] > -3])
    plan = HeadPlan(labels="multi", loss=loss, steps=500, lr=0.03)  # type: ignore[arg-type]
    scores = fit_head(vectors[:300], table[:300], plan).scores(vectors[300:])
    assert ((scores >= 0.5) == table[300:]).mean() > 0.95
    assert scores[:, 2].min() > 0.5  # nearly all rows have it


def test_a_seed_decides_everything_and_torchs_generator_is_left_alone() -> None:
    vectors, table = clouds(60, 0)
    plan = HeadPlan(head=HeadSpec(kind="mlp"), steps=10)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = fit_head(vectors, table, plan, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(weights(first), weights(fit_head(vectors, table, plan, seed=1)))
    assert not torch.equal(weights(first), weights(fit_head(vectors, table, plan, seed=2)))


def test_the_weights_that_are_kept_are_those_of_the_best_look() -> None:
    vectors, table = clouds(60, 0, spread=2.0)
    validation = clouds(60, 3, spread=2.0)
    plan = HeadPlan(steps=200, lr=0.05, batch_size=16, validate_every=1, patience=200)
    head = fit_head(vectors, table, plan, validation=validation)
    assert head.validation is not None
    # an independent look: macro F1 of the validation rows with the weights that came out
    predicted, true = head.scores(validation[0]).argmax(axis=1), validation[1].argmax(axis=1)
    f1 = [2 * ((predicted == c) & (true == c)).sum() / ((predicted == c).sum() + (true == c).sum()) for c in range(3)]
    assert head.validation.macro_f1 == pytest.approx(np.mean(f1), abs=1e-6)
    assert 0 < head.step < 200
    patient = fit_head(vectors, table, replace(plan, patience=5), validation=validation)
    assert patient.step <= head.step


def test_a_validation_part_of_other_classes_does_not_stop_anything() -> None:
    vectors, table = clouds(40, 0)
    only = table[:, 2]
    head = fit_head(vectors[~only], table[~only], HeadPlan(steps=8), validation=(vectors[only], table[only]))
    assert (head.step, head.validation) == (8, None)


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_validation_rows_of_unknown_classes_alone_count_for_nothing(labels: str) -> None:
    vectors, table = clouds(60, 0, spread=1.5)
    known = ~table[:, 2]
    plan = HeadPlan(labels=labels, steps=20, validate_every=10)  # type: ignore[arg-type]
    looks = [
        fit_head(vectors[known], table[known], plan, validation=validation).validation
        for validation in (clouds(60, 3, spread=1.5), [part[~clouds(60, 3)[1][:, 2]] for part in clouds(60, 3, 1.5)])
    ]
    assert looks[0] == looks[1]


def test_a_class_without_a_training_row_is_never_predicted() -> None:
    vectors, table = clouds(80, 0)
    kept = ~table[:, 1]
    scores = fit_head(vectors[kept], table[kept], HeadPlan(steps=20)).scores(vectors)
    assert scores.shape == (80, 3)
    assert (scores[:, 1] == 0).all()


def test_rows_of_the_validation_part_do_not_reach_scale_or_classes() -> None:
    vectors, table = clouds(60, 0)
    validation = (vectors[:20] * 1000, np.roll(table[:20], 1, axis=1))
    plan = HeadPlan(steps=6, validate_every=6)
    alone, watched = fit_head(vectors, table, plan), fit_head(vectors, table, plan, validation=validation)
    # one look, after the last step: the weights must be the same ones
    assert torch.equal(weights(alone), weights(watched))
    assert (alone.scaler.mean == watched.scaler.mean).all()


def test_a_rare_class_comes_as_often_as_the_others() -> None:
    # identical vectors: with balanced batches nothing can be known but the balance itself
    table = np.eye(2, dtype=np.bool_)[[0] * 95 + [1] * 5]
    scores = fit_head(np.zeros((100, 2), np.float32), table, HeadPlan(steps=300, lr=0.01)).scores(np.zeros((1, 2)))
    np.testing.assert_allclose(scores, [[0.5, 0.5]], atol=0.05)


def test_rows_and_plans_that_do_not_fit_are_refused() -> None:
    vectors, table = clouds(10, 0)
    with pytest.raises(InputError, match="exactly one class"):
        fit_head(vectors, np.ones((10, 3), np.bool_), HeadPlan())
    with pytest.raises(InputError, match="at least one class"):
        fit_head(vectors, np.zeros((10, 3), np.bool_), HeadPlan(labels="multi"))
    with pytest.raises(InputError, match="as many rows"):
        fit_head(vectors[:4], table, HeadPlan())
    with pytest.raises(InputError, match="bce or focal"):
        HeadPlan(labels="multi", loss="ce")
    with pytest.raises(InputError, match="steps 0"):
        HeadPlan(steps=0)
    with pytest.raises(TrainingStoppedError, match="smaller learning rate"):
        fit_head(np.full((10, 8), np.nan), table, HeadPlan(steps=1))

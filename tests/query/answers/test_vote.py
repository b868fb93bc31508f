"""Votes against a slow formula, hand-worked shares and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from locatlas.errors import InputError
from locatlas.query.answers.vote import LabelSets, neighbor_weights, predict_multi, predict_single, vote, votes
from locatlas.query.search.exact import search
from locatlas.types import Neighbors

RULES = ("uniform", "distance", "softmax")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Neighbors, np.ndarray]:
    """Neighbors, nearest first, some places empty, some at distance 0; labels of the references."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, k, n_references, n_classes = (draw(st.integers(1, top)) for top in (4, 6, 5, 4))
    similarities = rng.choice(np.float32([1, 0.9, 0.5, 0.1, -0.3, -1]), (n, k))
    similarities = -np.sort(-similarities, axis=1)
    missing = np.arange(k) >= rng.integers(0, k + 1, n)[:, None]
    similarities[missing] = np.nan
    indices = np.where(missing, -1, rng.integers(0, n_references, (n, k)))
    return Neighbors(indices, similarities), rng.random((n_references, n_classes)) < 0.4


def slow_vote(near: Neighbors, labels: np.ndarray, k: int, rule: str, temperature: float) -> np.ndarray:
    scores = np.zeros((len(near.indices), labels.shape[1]))
    for i, (indices, similarities) in enumerate(zip(near.indices, near.similarities, strict=True)):
        pairs = [(j, float(s)) for j, s in zip(indices[:k], similarities[:k], strict=True) if j >= 0]
        touching = any(s >= 1 for _, s in pairs)
        weight = {
            "uniform": lambda s: 1.0,
            "distance": lambda s, touching=touching: float(s >= 1) if touching else 1 / (1 - s),
            "softmax": lambda s: np.exp(s / temperature),
        }[rule]
        total = sum(weight(s) for _, s in pairs)
        for j, s in pairs:
            scores[i] += weight(s) / total * labels[j]
    return scores


@given(cases(), st.sampled_from(RULES), st.sampled_from([0.05, 0.07, 1.0]))
@settings(deadline=None)
def test_equals_the_slow_formula_at_every_k(case: tuple[Neighbors, np.ndarray], rule: str, temperature: float) -> None:
    near, labels = case
    for k in range(1, near.k + 1):
        fast = vote(near, labels, k=k, weights=rule, temperature=temperature)
        np.testing.assert_allclose(fast, slow_vote(near, labels, k, rule, temperature), atol=1e-9)


@given(cases(), st.sampled_from(RULES))
@settings(deadline=None)
def test_running_sums_equal_separate_votes(case: tuple[Neighbors, np.ndarray], rule: str) -> None:
    near, labels = case
    ks = sorted({1, near.k, (near.k + 1) // 2})
    for rows, scores in votes(near, labels, ks=ks, weights=rule):
        for step, k in enumerate(ks):
            np.testing.assert_allclose(scores[step], vote(near, labels, k=k, weights=rule)[rows], atol=1e-12)


@given(cases(), st.sampled_from(RULES))
@settings(deadline=None)
def test_weights_are_shares_of_the_k_in_use(case: tuple[Neighbors, np.ndarray], rule: str) -> None:
    near, _ = case
    for k in range(1, near.k + 1):
        shares = neighbor_weights(near.similarities, k=k, weights=rule)
        there = (near.indices[:, :k] >= 0).any(axis=1)
        np.testing.assert_allclose(shares.sum(axis=1), there.astype(float), atol=1e-12)
        assert (shares[near.indices[:, :k] < 0] == 0).all()


def test_softmax_stays_finite_at_a_tiny_temperature() -> None:
    near = Neighbors(np.array([[0, 1]]), np.array([[-0.9, -0.95]], dtype=np.float32))
    scores = vote(near, np.eye(2, dtype=bool), k=2, weights="softmax", temperature=1e-6)
    np.testing.assert_array_equal(scores, [[1, 0]])


@pytest.mark.parametrize("rule", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_scores_and_predictions_equal_scikit_learn(rng: np.random.Generator, rule: str, k: int) -> None:
    references, queries = rng.normal(size=(150, 5)), rng.normal(size=(60, 5))
    queries[:5] = references[:5]  # at distance 0
    classes = rng.integers(0, 4, 150)
    peer = KNeighborsClassifier(k, metric="cosine", weights=rule, algorithm="brute").fit(references, classes)
    near = search(queries, references, k=k)
    labels = classes[:, None] == np.arange(4)
    scores = vote(near, labels, k=k, weights=rule)
    # both see 1 - s near a query's own copy; scikit-learn's float64 may leave 1e-16 there, which outweighs all else
    np.testing.assert_allclose(scores, peer.predict_proba(queries), atol=1e-4)
    if rule == "uniform":
        np.testing.assert_array_equal(predict_single(scores, near, labels, k=k, ties="first"), peer.predict(queries))


def test_a_tie_goes_to_the_class_whose_nearest_member_is_closest() -> None:
    # order of nearness: class 2, 0, 0, 2, 1
    near = Neighbors(np.array([[0, 1, 2, 3, 4]]), np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], dtype=np.float32))
    labels = np.array([2, 0, 0, 2, 1])[:, None] == np.arange(3)
    predicted = {
        k: [int(predict_single(vote(near, labels, k=k), near, labels, k=k, ties=t)[0]) for t in ("nearest", "first")]
        for k in range(1, 6)
    }
    # k = 2: one vote each for 2 and 0; k = 3: two for 0; k = 4, 5: two each
    assert predicted == {1: [2, 2], 2: [2, 0], 3: [0, 0], 4: [2, 0], 5: [2, 0]}


def test_without_neighbors_nothing_is_predicted() -> None:
    near = Neighbors(np.full((1, 3), -1), np.full((1, 3), np.nan, dtype=np.float32))
    labels = np.eye(3, dtype=bool)
    for rule in RULES:
        scores = vote(near, labels, k=3, weights=rule)
        np.testing.assert_array_equal(scores, 0)
        assert predict_single(scores, near, labels, k=3).tolist() == [-1]
        assert not predict_multi(scores, top_if_none=True).any()


def test_a_score_equal_to_the_threshold_counts() -> None:
    scores = np.array([[3 / 10, 1 / 2, 0.2], [0.1, 0.2, 0.2], [0, 0, 0]])
    assert predict_multi(scores).tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert predict_multi(scores, threshold=0.3)[0].tolist() == [True, True, False]
    assert predict_multi(scores, top_if_none=True)[1].tolist() == [False, True, True]


def test_the_votes_of_many_queries_come_in_pieces_that_cover_all(rng: np.random.Generator) -> None:
    indices = rng.integers(0, 9, (5000, 3))
    near = Neighbors(indices, np.full((5000, 3), 0.5, dtype=np.float32))
    labels = rng.random((9, 2)) < 0.5
    pieces = [rows for rows, _ in votes(near, labels, ks=[3])]
    assert [(rows.start, rows.stop) for rows in pieces][-1][1] == 5000
    np.testing.assert_allclose(vote(near, labels, k=3), labels[indices].mean(axis=1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"k": 0}, "k = 0"),
        ({"k": 4}, "k = 4: 1 to 3"),
        ({"weights": "gauss"}, "uniform, distance, softmax"),
        ({"temperature": 0.0}, "positive"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object], reason: str) -> None:
    near = Neighbors(np.zeros((1, 3), dtype=np.int64), np.ones((1, 3), dtype=np.float32))
    with pytest.raises(InputError, match=reason):
        vote(near, np.ones((1, 1), dtype=bool), **({"k": 1} | changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threshold"):
        predict_multi(np.zeros((1, 1)), threshold=0)
    with pytest.raises(InputError, match="nearest, first"):
        predict_single(np.zeros((1, 1)), near, np.ones((1, 1), dtype=bool), k=1, ties="last")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ascending"):
        next(votes(near, np.ones((1, 1), dtype=bool), ks=[2, 1]))


@pytest.mark.parametrize("n_classes", [1, 3, 17, 65])
@pytest.mark.parametrize("kind", ["one", "several", "graded"])
def test_sets_of_labels_are_the_distinct_rows(rng: np.random.Generator, n_classes: int, kind: str) -> None:
    table = rng.random((400, n_classes)) < min(0.4, 2 / n_classes)
    if kind == "one":
        table = np.arange(n_classes) == (rng.permutation(400) % n_classes)[:, None]
    elif kind == "graded":
        table = table * rng.choice([0.25, 0.5, 1.0], table.shape)  # type: ignore[assignment]
    sets, set_of = np.unique(table, axis=0, return_inverse=True)
    found = LabelSets.of(table)
    np.testing.assert_array_equal(found.sets, sets)
    np.testing.assert_array_equal(found.set_of, set_of.reshape(-1))
    weights = rng.random((7, len(sets)))
    np.testing.assert_allclose(found.carried(weights), weights @ sets, rtol=1e-12)
    assert (found.only is not None) == (kind == "one")

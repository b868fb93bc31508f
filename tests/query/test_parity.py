"""Votes and scores against those of other programs, written anew here from their definition, loop by loop.

scikit-learn's own single-label votes stand in test_vote and test_sweep, its scores in test_metrics.
"""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from locatlas.query.answers.vote import DEFAULT_TEMPERATURE, predict_single, vote
from locatlas.query.search.exact import search
from locatlas.query.sweep.every_k import sweep

KS = (1, 2, 5, 10, 20)
N_CLASSES = 5


@pytest.fixture
def made(rng: np.random.Generator) -> dict[str, Any]:
    """200 references and 60 queries of 5 classes that overlap, in 6 dimensions."""
    centres = rng.normal(size=(N_CLASSES, 6))
    of = rng.integers(0, N_CLASSES, 260)
    vectors = (centres[of] + rng.normal(size=(260, 6))).astype(np.float32)
    table = (of[:, None] == np.arange(N_CLASSES)) | (rng.random((260, N_CLASSES)) < 0.25)
    return {"references": vectors[:200], "queries": vectors[200:], "classes": of, "table": table}


def cosines(made: dict[str, Any]) -> NDArray[np.float64]:
    one, other = (np.asarray(made[name], np.float64) for name in ("queries", "references"))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    return unit[0] @ unit[1].T


def dino_votes(similarities: NDArray[np.float64], labels: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """eval_knn.py of facebookresearch/dino: each of the k nearest adds exp(s / 0.07) to its class; not normalised."""
    scores = np.zeros((len(similarities), labels.shape[1]))
    for query, row in enumerate(similarities):
        for reference in sorted(range(len(row)), key=lambda i: -row[i])[:k]:
            for label in np.flatnonzero(labels[reference]):
                scores[query, label] += math.exp(row[reference] / 0.07)
    return scores


def dinov2_votes(
    similarities: NDArray[np.float64], labels: NDArray[np.bool_], k: int, max_k: int
) -> NDArray[np.float64]:
    """eval/knn.py of facebookresearch/dinov2: a softmax over max(k) neighbors, of which the first k are summed."""
    scores = np.zeros((len(similarities), labels.shape[1]))
    for query, row in enumerate(similarities):
        nearest = sorted(range(len(row)), key=lambda i: -row[i])[:max_k]
        total = sum(math.exp(row[i] / 0.07) for i in nearest)
        for reference in nearest[:k]:
            scores[query] += math.exp(row[reference] / 0.07) / total * labels[reference]
    return scores


def macro_f1_of_all_labels(targets: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """torchmetrics' MultilabelF1Score(average="macro"), which dinov2 takes for Cell-DINO: the mean over all labels."""
    scores = []
    for label in range(targets.shape[1]):
        tp = fp = fn = 0
        for target, claim in zip(targets[:, label], predicted[:, label], strict=True):
            tp, fp, fn = tp + (target and claim), fp + (claim and not target), fn + (target and not claim)
        scores.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("k", KS)
def test_softmax_votes_are_those_of_dino_divided_by_their_sum(made: dict[str, Any], k: int) -> None:
    assert DEFAULT_TEMPERATURE == 0.07
    labels = made["classes"][:200, None] == np.arange(N_CLASSES)
    near = search(made["queries"], made["references"], k=k)
    scores = vote(near, labels, k=k, weights="softmax")
    peer = dino_votes(cosines(made), labels, k)
    np.testing.assert_allclose(scores, peer / peer.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(predict_single(scores, near, labels, k=k), peer.argmax(axis=1))


def test_softmax_votes_of_dinov2_name_the_same_class_but_shrink_with_k(made: dict[str, Any]) -> None:
    """Its softmax runs over max(k), so that a threshold means something else at every k; ours over the k in use."""
    labels = made["classes"][:200, None] == np.arange(N_CLASSES)
    near = search(made["queries"], made["references"], k=20)
    for k in KS:
        scores = vote(near, labels, k=k, weights="softmax")
        peer = dinov2_votes(cosines(made), labels, k, 20)
        np.testing.assert_array_equal(scores.argmax(axis=1), peer.argmax(axis=1))
        shares = peer.sum(axis=1)
        np.testing.assert_allclose(scores * shares[:, None], peer, atol=1e-5)
        np.testing.assert_allclose(scores.sum(axis=1), 1)
        assert (shares < 0.9).any() == (k < 20)


def multi(made: dict[str, Any], **how: Any) -> Any:
    """A sweep in which each query meets the 200 references and no other query: all queries are of one part."""
    ids = [f"row{i:03d}" for i in range(len(made["table"]))]
    parts = ids[:200] + ["query"] * (len(ids) - 200)
    result = sweep(
        np.vstack([made["references"], made["queries"]]),
        [{f"c{c}" for c in np.flatnonzero(row)} for row in made["table"]],
        ids,
        ids,
        queries=np.array(parts) == "query",
        exclude={"part": parts},
        labels_mode="multi",
        top_if_none=False,
        n_bootstrap=0,
        **how,
    )
    assert result.n == len(ids) - 200
    return result


def test_multi_label_macro_f1_is_that_of_dinov2_at_its_largest_k(made: dict[str, Any]) -> None:
    targets = made["table"][200:]
    assert targets.any(axis=0).all()
    for k in KS:
        found = multi(made, ks=[k], weights="softmax").results[0]
        whole = dinov2_votes(cosines(made), made["table"][:200], k, k) > 0.5
        assert found.macro_f1 == pytest.approx(macro_f1_of_all_labels(targets, whole))
        # cut from a softmax over 20 neighbors, nothing is predicted that we do not predict, and less the smaller k is
        cut = dinov2_votes(cosines(made), made["table"][:200], k, 20) > 0.5
        assert not (cut & ~whole).any()
        assert (cut.sum() < whole.sum()) == (k < 20)


@pytest.mark.parametrize("rule", ["uniform", "distance"])
def test_multi_label_votes_and_f1_equal_scikit_learn(made: dict[str, Any], rule: str) -> None:
    targets = made["table"][200:]
    for k in (1, 5, 11):  # odd: a tie of uniform votes is none for scikit-learn, and is the label for us
        peer = KNeighborsClassifier(k, metric="cosine", weights=rule, algorithm="brute")
        predicted = peer.fit(made["references"], made["table"][:200].astype(int)).predict(made["queries"]) == 1
        found = multi(made, ks=[k], weights=rule).results[0]
        assert found.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0))
        assert found.micro_f1 == pytest.approx(f1_score(targets, predicted, average="micro", zero_division=0))
        assert found.accuracy == pytest.approx((targets == predicted).all(axis=1).mean())

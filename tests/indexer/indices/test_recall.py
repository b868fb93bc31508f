"""Recall of an index for questions as they are asked, against counts by hand; and as thorough a search as it takes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.indexer.indices.candidates import find_candidates
from locatlas.indexer.indices.faiss_index import new_index, train_and_add
from locatlas.indexer.indices.kinds import Kind
from locatlas.indexer.indices.recall import RECALL_WANTED, measure_recall, truth_of, tuned
from locatlas.indexer.indices.unit import unit_vectors
from tests.indexer.indices.made import FAISS_KINDS, clustered

pytestmark = pytest.mark.usefixtures("one_thread")


def built(kind: Kind, vectors: NDArray[np.float32]) -> tuple[Any, dict[str, int]]:
    index, params = new_index(kind, *vectors.shape)
    train_and_add(index, vectors, kind)
    return index, params


def by_hand(
    index: Any, kind: Kind, params: dict[str, int], unit: NDArray[Any], groups: NDArray[Any], rows: Any
) -> float:
    shares = []
    for row in rows:
        allowed = (groups != groups[row]) | (groups[row] < 0)
        allowed[row] = False
        exact = np.argsort(-np.where(allowed, unit.astype(np.float64) @ unit[row], -2))[:10]
        found = find_candidates(index, kind, params, unit[[row]], 10, allowed)[0]
        shares.append(len(set(exact.tolist()) & set(found.tolist())) / 10)
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", FAISS_KINDS)
@pytest.mark.parametrize("grouped", [False, True])
def test_recall_is_that_of_a_count_by_hand(kind: Kind, grouped: bool) -> None:
    unit = clustered(600, 16)
    groups = np.arange(600) % 30 if grouped else np.full(600, -1)
    index, params = built(kind, unit)
    truth = truth_of(3 * unit, groups if grouped else None, seed=0)
    measured = measure_recall(index, kind, params, 3 * unit, truth)
    assert measured == pytest.approx(by_hand(index, kind, params, unit, groups, truth.rows), abs=1e-9)
    assert measured == 1.0 if kind == "flat" else measured > 0.9


def test_recall_of_an_index_that_finds_half_is_a_half() -> None:
    """An index over other vectors than those it is measured with."""
    unit = clustered(400, 8)
    other = unit.copy()
    other[200:] = -unit[200:]
    index, params = built("flat", other)
    assert 0.2 < measure_recall(index, "flat", params, unit, truth_of(unit, None, seed=0)) < 0.8


def test_equal_vectors_do_not_lower_recall() -> None:
    unit = np.repeat(clustered(10, 8), 30, axis=0)
    index, params = built("hnsw", unit)
    assert measure_recall(index, "hnsw", params, unit, truth_of(unit, None, seed=0)) > 0.95


def test_zero_vectors_and_rows_that_may_meet_nobody_do_not_count() -> None:
    vectors = np.zeros((40, 4), np.float32)
    vectors[:12] = np.eye(4, dtype=np.float32)[np.arange(12) % 4] + 0.1
    index, params = built("flat", vectors)
    truth = truth_of(vectors, np.where(np.arange(40) < 12, 0, 1), seed=0)
    assert len(truth.rows) == 0
    assert measure_recall(index, "flat", params, vectors, truth) == 1.0
    truth = truth_of(vectors, None, seed=0)
    assert sorted(truth.rows.tolist()) == list(range(12))
    assert set(truth.k.tolist()) == {10}
    assert set(truth_of(vectors[:4], None, seed=0).k.tolist()) == {3}


def test_search_is_made_as_thorough_as_the_own_protein_makes_it() -> None:
    """A protein's images fill the lists that are looked at first: what finds its like may miss all others."""
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(60), 200)
    proteins = rng.standard_normal((60, 24))
    unit = unit_vectors((proteins[of] + 0.35 * rng.standard_normal((len(of), 24))).astype(np.float32))
    index, params = built("ivfpq", unit)
    plain, grouped = (truth_of(unit, groups, seed=0) for groups in (None, of))
    assert measure_recall(index, "ivfpq", params, unit, plain) >= RECALL_WANTED
    assert measure_recall(index, "ivfpq", params, unit, grouped) < RECALL_WANTED
    assert tuned(index, "ivfpq", params, unit, plain) == params
    chosen = tuned(index, "ivfpq", params, unit, grouped)
    assert measure_recall(index, "ivfpq", chosen, unit, grouped) >= RECALL_WANTED
    assert by_hand(index, "ivfpq", chosen, unit, of, rng.choice(len(unit), 60, replace=False)) > 0.98

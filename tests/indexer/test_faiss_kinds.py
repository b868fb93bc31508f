"""Kinds of index: choice, tiny sizes, recall, and searches among few allowed rows."""

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.indexer.faiss_kinds import (
    AUTO_EXACT_BELOW,
    Kind,
    choose_kind,
    find_candidates,
    measure_recall,
    new_index,
    train_and_add,
    unit_vectors,
)

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS: tuple[Kind, ...] = ("flat", "pqfs", "ivf", "hnsw", "ivfpq")


def clustered(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around a few centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, d))
    return unit_vectors((centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))).astype(np.float32))


def test_small_tables_need_no_index_and_large_ones_are_compressed() -> None:
    assert choose_kind(AUTO_EXACT_BELOW - 1, 384) is None
    assert choose_kind(AUTO_EXACT_BELOW, 384) == "ivfpq"
    assert choose_kind(AUTO_EXACT_BELOW, 509) == "ivf", "a prime: one code of four bits for the whole vector"


def test_unit_vectors_have_length_one_and_zero_stays_zero() -> None:
    made = unit_vectors(np.array([[3, 4], [0, 0], [1e-30, 0]], np.float32))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 40])
@pytest.mark.parametrize("d", [1, 3, 8])
def test_tiny_tables_can_be_indexed_and_every_row_is_found(kind: Kind, n: int, d: int) -> None:
    unit = clustered(n, d)
    index, params = new_index(kind, n, d)
    train_and_add(index, unit, kind)
    found = find_candidates(index, kind, params, unit, 5, None)
    assert index.ntotal == n
    assert set(found[0].tolist()) <= set(range(-1, n))
    if n <= 5:
        assert all(set(range(n)) <= set(row.tolist()) for row in found)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_is_that_of_a_count_by_hand(kind: Kind) -> None:
    unit = clustered(600, 16)
    index, params = new_index(kind, 600, 16)
    train_and_add(index, unit, kind)
    sample = np.random.default_rng(0).choice(600, 200, replace=False)
    similarities = unit[sample].astype(np.float64) @ unit.T.astype(np.float64)
    exact = np.argsort(-similarities, axis=1)[:, :10]
    found = find_candidates(index, kind, params, unit[sample], 10, None)
    by_hand = np.mean([len(set(e) & set(f)) / 10 for e, f in zip(exact.tolist(), found.tolist(), strict=True)])
    measured = measure_recall(index, kind, params, unit, seed=0)
    assert measured == pytest.approx(by_hand, abs=1e-9)
    assert measured == 1.0 if kind == "flat" else measured > 0.9


def test_recall_of_an_index_that_finds_half_is_a_half() -> None:
    """An index over other vectors than those it is measured with."""
    unit = clustered(400, 8)
    index, params = new_index("flat", 400, 8)
    other = unit.copy()
    other[200:] = -unit[200:]
    train_and_add(index, other, "flat")
    assert 0.2 < measure_recall(index, "flat", params, unit, seed=0) < 0.8


def test_equal_vectors_do_not_lower_recall() -> None:
    unit = np.repeat(clustered(10, 8), 30, axis=0)
    index, params = new_index("hnsw", 300, 8)
    train_and_add(index, unit, "hnsw")
    assert measure_recall(index, "hnsw", params, unit, seed=0) > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_only_allowed_rows_are_found_and_few_of_them_cost_little_recall(kind: Kind, share: float) -> None:
    unit = clustered(2000, 16)
    index, params = new_index(kind, 2000, 16)
    train_and_add(index, unit, kind)
    allowed = np.random.default_rng(1).random(2000) < share
    queries = unit[:50]
    found = find_candidates(index, kind, params, queries, 10, allowed)
    assert allowed[found[found >= 0]].all()
    similarities = np.where(allowed, queries.astype(np.float64) @ unit.T.astype(np.float64), -2)
    exact = np.argsort(-similarities, axis=1)[:, :10]
    recall = np.mean([len(set(e) & set(f)) / 10 for e, f in zip(exact.tolist(), found.tolist(), strict=True)])
    assert recall > 0.85


def test_an_index_of_many_vectors_has_more_lists() -> None:
    lists = [new_index("ivf", n, 4)[1]["n_list"] for n in (1, 100, 10_000, 1_000_000)]
    assert lists == [1, 2, 256, 4000]
    assert new_index("ivfpq", 1_000_000, 384)[1] == {"n_list": 2000, "n_probe": 166, "m": 192, "bits": 4}
    assert new_index("ivfpq", 100, 386)[1]["m"] == 193  # of 386 numbers


def test_a_scan_drops_what_may_not_be_met_until_enough_remain() -> None:
    """The very nearest, as a query's own protein is, and vectors of zeros, which are near to all."""
    rng = np.random.default_rng(0)
    unit = unit_vectors(rng.normal(size=(3000, 8)).astype(np.float32))
    unit[:1500] = 0
    query = unit[[2000]]
    order = np.argsort(-(unit @ query[0]), kind="stable")
    allowed = unit.any(axis=1)
    allowed[order[:900]] = False
    index, params = new_index("pqfs", 3000, 8)
    train_and_add(index, unit, "pqfs")
    found = find_candidates(index, "pqfs", params, query, 5, allowed)[0]
    assert allowed[found[found >= 0]].all()
    best = [row for row in order if allowed[row]][:5]
    assert set(best) <= set(found.tolist())
    assert 0.9 < measure_recall(index, "pqfs", params, unit, seed=0) <= 1


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_as_they_were_made_before_are_searched_as_before(bits: int) -> None:
    """Lists of product quantizer codes that are no fast scan: files of older versions have them."""
    unit = clustered(3000, 16)
    index = faiss.index_factory(16, f"IVF16,PQ4x{bits}", faiss.METRIC_INNER_PRODUCT)
    index.train(unit)
    index.add(unit)
    params = {"n_list": 16, "n_probe": 8, "m": 4, "bits": bits}
    allowed = np.random.default_rng(0).random(3000) < 0.5
    found = find_candidates(index, "ivfpq", params, unit[:3], 10, allowed)
    assert allowed[found[found >= 0]].all()
    assert measure_recall(index, "ivfpq", params, unit, seed=0) > 0.9


def test_the_own_protein_fills_the_nearest_lists_and_others_are_found_all_the_same() -> None:
    """Questions leave out the query's protein, whose images are its nearest: recall must not hang on their lists."""
    rng = np.random.default_rng(3)
    proteins = rng.standard_normal((60, 24)).astype(np.float32)
    of = np.repeat(np.arange(60), 200)
    unit = unit_vectors(proteins[of] + 0.35 * rng.standard_normal((len(of), 24)).astype(np.float32))
    index, params = new_index("ivfpq", len(unit), 24)
    train_and_add(index, unit, "ivfpq")
    hits = []
    for row in rng.choice(len(unit), 40, replace=False):
        allowed = of != of[row]
        found = find_candidates(index, "ivfpq", params, unit[[row]], 10, allowed)[0]
        best = np.argsort(-np.where(allowed, unit @ unit[row], -2), kind="stable")[:10]
        hits.append(len(set(best.tolist()) & set(found.tolist())) / 10)
    assert np.mean(hits) > 0.97

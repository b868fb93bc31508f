"""FAISS: tiny sizes, and searches among few allowed rows."""

import faiss
import numpy as np
import pytest

from locatlas.indexer.indices.candidates import find_candidates
from locatlas.indexer.indices.faiss_index import new_index, train_and_add
from locatlas.indexer.indices.kinds import Kind
from locatlas.indexer.indices.unit import unit_vectors
from tests.indexer.indices.made import FAISS_KINDS, clustered

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", FAISS_KINDS)
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


@pytest.mark.parametrize("kind", FAISS_KINDS)
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
    assert new_index("ivfpq", 1_000_000, 384)[1] == {"n_list": 2000, "n_probe": 125, "m": 192, "bits": 4, "refine": 20}
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


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_as_they_were_made_before_are_searched_as_before(bits: int) -> None:
    """Lists of product quantizer codes that are no fast scan: files of older versions have them."""
    unit = clustered(3000, 16)
    index = faiss.index_factory(16, f"IVF16,PQ4x{bits}", faiss.METRIC_INNER_PRODUCT)
    index.do_polysemous_training = False  # takes seconds, and orders codes for a search that nobody does
    index.train(unit)
    index.add(unit)
    params = {"n_list": 16, "n_probe": 8, "m": 4, "bits": bits}
    allowed = np.random.default_rng(0).random(3000) < 0.5
    found = find_candidates(index, "ivfpq", params, unit[:3], 10, allowed)
    assert allowed[found[found >= 0]].all()
    best = np.argsort(-np.where(allowed, unit[0] @ unit.T, -2))[:10]
    assert len(set(best.tolist()) & set(found[0].tolist())) >= 9

"""Candidates of indices: exact where they claim it, completed by later rows, among what is allowed."""

import numpy as np
import pytest

from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.kinds import Kind
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.indices.made import KINDS, D, N, made, names, nearest, opened, put, usable
from tests.indexer.store.test_encoders import spec
from tests.quick import some

pytestmark = pytest.mark.usefixtures("one_thread")


def test_candidates_of_a_flat_index_hold_the_exact_neighbors_for_any_length_of_query(
    empty: Store, encoder: StoredEncoder
) -> None:
    build(empty, encoder, "flat")
    index = usable(empty, encoder)
    for query in made(20, seed=9):
        for k in (1, 7, N, N + 5):
            found = index.candidates(1000 * query, k, None)
            assert nearest(empty, encoder, query, k) <= set(found.tolist())
            assert found.tolist() == sorted(set(found.tolist()))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_came_later_are_always_candidates(empty: Store, encoder: StoredEncoder, kind: Kind) -> None:
    build(empty, encoder, kind)
    put(empty, encoder, names(5, "a/") + names(5, "z/"), made(10, seed=3))
    index, said = opened(empty, encoder)
    assert index is not None
    assert said == "10 rows later"
    ids = empty.read_vectors(encoder.table).ids
    assert [ids[row] for row in index.later] == names(5, "a/") + names(5, "z/")
    assert [ids[row] for row in index.rows] == names(N)
    found = index.candidates(made(1, seed=9)[0], 3, None)
    assert set(index.later.tolist()) <= set(found.tolist())
    later = set(index.later.tolist())
    for query in made(10, seed=3):  # the later rows themselves
        assert nearest(empty, encoder, query, 1) <= later & set(index.candidates(query, 1, None).tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_allowed", some([0, 1, 4, 150], 2, 3))
def test_only_allowed_rows_are_candidates_and_at_least_k_where_there_are_so_many(
    empty: Store, encoder: StoredEncoder, kind: Kind, n_allowed: int
) -> None:
    build(empty, encoder, kind)
    put(empty, encoder, names(6, "a/"), made(6, seed=3))
    index = usable(empty, encoder)
    rng = np.random.default_rng(4)
    for query in made(5, seed=9):
        allowed = np.zeros(N + 6, dtype=bool)
        allowed[rng.choice(N + 6, n_allowed, replace=False)] = True
        found = index.candidates(query, 10, allowed)
        assert allowed[found].all()
        assert len(found) >= min(10, n_allowed)
        if kind == "flat" or n_allowed <= 10:
            assert nearest(empty, encoder, query, min(10, n_allowed), np.flatnonzero(allowed)) <= set(found.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_allowed_rows_far_from_the_query_are_found_though_no_list_or_path_leads_there(empty: Store, kind: Kind) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    put(empty, one, names(4000), made(4000))
    build(empty, one, kind)
    query = made(1, seed=9)[0]
    unit = empty.read_vectors(one.table).vectors
    near = unit @ query / np.linalg.norm(unit, axis=1)
    allowed = near < np.median(near)
    found = usable(empty, one).candidates(query, 10, allowed)
    assert len(found) >= 10
    assert allowed[found].all()


def test_zero_vectors_do_not_break_an_index(empty: Store) -> None:
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    put(empty, one, names(50), np.vstack([made(49), np.zeros((1, D), np.float32)]))
    for kind in KINDS:
        build(empty, one, kind)
        found = usable(empty, one).candidates(np.zeros(D, np.float32), 60, None)
        assert found.tolist() == list(range(50))


def test_vectors_that_are_left_out_of_a_table_are_left_out_of_its_index(empty: Store, encoder: StoredEncoder) -> None:
    """Those of images that have other pixels now: the others are still found by the index."""
    put(empty, encoder, names(300), made(300))
    build(empty, encoder, "flat")
    held = empty.read_vectors(encoder.table)
    some = held.take(np.delete(np.arange(300), [0, 7, 299]))
    index, said = open_index(empty, encoder, some)
    assert index is not None, said
    assert not len(index.later)
    for row in (0, 5, 296):
        query = some.vectors[row]
        unit = some.vectors / np.linalg.norm(some.vectors, axis=1, keepdims=True)
        best = np.argsort(-(unit @ query))[:5]
        assert set(best.tolist()) <= set(index.candidates(query, 5, None).tolist())
        allowed = np.arange(297) % 2 == 0
        assert allowed[index.candidates(query, 5, allowed)].all()

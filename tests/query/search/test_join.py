"""A search within one set against the plain search, and both against FAISS."""

import threading
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from locatlas.query.search import join, wide, within
from locatlas.query.search.exact import normalize, prepare, search
from locatlas.query.search.threads import in_threads, one_blas_thread
from locatlas.query.search.within import search_within


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "JOIN_FROM", 64)
    monkeypatch.setattr(join, "_BLOCK", 32)
    monkeypatch.setattr(join, "_TILE", 96)
    monkeypatch.setattr(join, "_SAMPLE", 64)


def assert_same(vectors: np.ndarray, k: int, exclude: list[np.ndarray]) -> None:
    whole = search(vectors, vectors, k=k, exclude=[(codes, codes) for codes in exclude])
    half = search_within(vectors, k=k, exclude=exclude)
    np.testing.assert_array_equal(half.indices, whole.indices)
    np.testing.assert_allclose(half.similarities, whole.similarities, atol=1e-6)


@pytest.mark.usefixtures("small_tiles")
@given(st.integers(0, 2**32 - 1), st.integers(64, 400), st.integers(1, 12), st.integers(1, 40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_each_half_of_the_products_serves_both_rows(seed: int, n: int, k: int, n_groups: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 6)).astype(np.float32)
    if ties:
        vectors = np.rint(vectors)  # zero vectors and equal ones
    groups, others = rng.integers(-1, n_groups, n), rng.integers(-1, 5, n)
    assert_same(vectors, k, [groups])
    assert_same(vectors, k, [groups, others])
    assert_same(vectors, k, [others, np.arange(n)])


@pytest.mark.usefixtures("small_tiles")
def test_a_sample_that_misleads_costs_time_and_nothing_else(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "rank_of_threshold", lambda *_: 1)  # hardly anything beats the best of the sample
    vectors, groups = rng.normal(size=(500, 6)).astype(np.float32), rng.integers(0, 50, 500)
    assert_same(vectors, 9, [groups])


@pytest.mark.usefixtures("small_tiles")
def test_full_lists_keep_the_best(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "rank_of_threshold", lambda *_: 10**9)  # no threshold: everything is listed
    monkeypatch.setattr(join.Lists, "capacity", staticmethod(lambda width: width + 1))
    vectors, groups = rng.normal(size=(400, 6)).astype(np.float32), rng.integers(0, 50, 400)
    assert_same(vectors, 9, [groups])


def test_large_enough_sets_are_joined(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = rng.normal(size=(within.JOIN_FROM, 4)).astype(np.float32)
    codes = np.arange(len(vectors)) % 3
    expected = search(vectors, vectors, k=3, exclude=[(codes, codes)])
    monkeypatch.setattr(wide, "search_tiles", None)
    np.testing.assert_array_equal(search_within(vectors, k=3, exclude=[codes]).indices, expected.indices)


@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(30, 200), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_the_ids_are_those_of_a_flat_faiss_index(seed: int, n_queries: int, n_references: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    queries, references = rng.normal(size=(n_queries, 16)), rng.normal(size=(n_references, 16))
    found = search(queries, prepare(references), k=k)
    index = faiss.IndexFlatIP(16)
    index.add(normalize(references))
    similarities, indices = index.search(normalize(queries), k)
    np.testing.assert_allclose(found.similarities, similarities, atol=1e-6)
    rows, places = np.nonzero(found.indices != indices)  # neighbors that float32 cannot tell apart
    np.testing.assert_allclose(found.similarities[rows, places], similarities[rows, places], atol=3e-7)
    assert len(rows) <= 2


def numpy_threads() -> list[int]:
    """BLAS threads of numpy's own library as this thread sees them."""
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas" and "numpy" in one["filepath"]]


def blas_threads() -> list[int]:
    """As a new thread sees them."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(numpy_threads).result()


def test_blas_threads_are_restored_though_two_threads_overlap() -> None:
    before = blas_threads()
    entered, leave, after = threading.Event(), threading.Event(), []

    def other() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)
        after.extend(numpy_threads())

    with one_blas_thread():
        assert blas_threads() == [1 for _ in before]
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)
    leave.set()
    thread.join()
    assert blas_threads() == after == before


def test_an_error_in_a_thread_is_raised() -> None:
    def work(start: int) -> None:
        if start == 3:
            raise ArithmeticError("third")

    with pytest.raises(ArithmeticError, match="third"):
        in_threads(work, range(6))

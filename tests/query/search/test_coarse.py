"""A search by bfloat16 products against the plain one: what it proves is right, and what it cannot prove is left."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.query.search import bfloat16, coarse, coarse_block, coarse_lists, exact
from locatlas.query.search.exact import Tally, search
from locatlas.query.search.unit import prepare
from locatlas.query.search.within import JOIN_FROM, search_within, within_rows
from locatlas.types import Neighbors
from tests.quick import THOROUGH

Make = Callable[[np.random.Generator, int], np.ndarray]


@pytest.fixture
def plain() -> pytest.MonkeyPatch:
    """A patch for the plain search beside a test's own."""
    return pytest.MonkeyPatch()


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow products in small tiles, also where the machine has none or the search is short."""
    monkeypatch.setattr(coarse, "pays", lambda n_queries, n_references, dim, width: n_references > width + 4)
    monkeypatch.setattr(coarse, "BLOCK", 32)
    monkeypatch.setattr(coarse, "_BUNDLE", 64)
    monkeypatch.setattr(coarse_block, "BLOCK", 32)
    monkeypatch.setattr(coarse_block, "_TILE", 96)
    monkeypatch.setattr(coarse_block, "_PADDED", 8)
    monkeypatch.setattr(coarse_block, "_SAMPLE", (64, 96))
    monkeypatch.setattr(coarse_block, "_AFTER", 20)
    monkeypatch.setattr(coarse_block, "_SPARE", 8)


def clustered(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = rng.normal(size=(max(1, n // 20), 24))
    return centres[rng.integers(0, len(centres), n)] + 0.3 * rng.normal(size=(n, 24)) + 2.0


def collapsed(rng: np.random.Generator, n: int) -> np.ndarray:
    """All nearly one vector: cosines above 0.99999."""
    return rng.normal(size=24) + 1e-3 * rng.normal(size=(n, 24))


def alike(rng: np.random.Generator, n: int) -> np.ndarray:
    """Cosines above 0.99, as those of a network whose vectors have much in common."""
    return 10 * rng.normal(size=24) + clustered(rng, n) - 2.0


def duplicated(rng: np.random.Generator, n: int) -> np.ndarray:
    return clustered(rng, n)[rng.integers(0, max(1, n // 8), n)]


def adversarial(rng: np.random.Generator, n: int) -> np.ndarray:
    """Distances that differ by less than bfloat16 or float32 tell, zero vectors, opposite ones, all sizes."""
    base = rng.normal(size=24)
    steps = np.linspace(0, 1, n) ** 8 * 0.1
    vectors = base + steps[:, None] * rng.normal(size=24) + 1e-7 * rng.normal(size=(n, 24))
    vectors[::11] *= -1
    vectors[::37] = 0
    return vectors * 10.0 ** rng.integers(-6, 6, (n, 1))


def independent(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=(n, 24))


MAKES: list[Make] = [clustered, alike, collapsed, duplicated, adversarial, independent]


def plainly(patch: pytest.MonkeyPatch, *args: object, **kwargs: object) -> object:
    with patch.context() as patched:
        patched.setattr(coarse, "pays", lambda *_: False)
        return search(*args, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", MAKES)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(60, 400),
    k=st.integers(1, 20),
    n_groups=st.integers(1, 60),
    kept=st.booleans(),
    crowded=st.booleans(),
)
@settings(max_examples=12 if THOROUGH else 5, deadline=None)
def test_the_neighbors_are_those_of_the_plain_search(
    make: Make, seed: int, n: int, k: int, n_groups: int, kept: bool, crowded: bool
) -> None:
    """Whether codes are kept or made for each tile, and whether lists become too long or not."""
    rng = np.random.default_rng(seed)
    vectors = make(rng, n).astype(np.float32)
    groups, others = rng.integers(-1, n_groups, n), rng.integers(-1, 5, n)
    tally = Tally()
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(bfloat16, "KEPT_BYTES", (1 << 20) * kept)
        patched.setattr(coarse_lists, "_LONGEST", 10 if crowded else 10**4)
        found = search_within(vectors, k=k, exclude=[others, groups], tally=tally)
    expected = plainly(patch, vectors, vectors, k=k, exclude=[(others, others), (groups, groups)])
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.similarities, expected.similarities, atol=2e-6)
    assert tally.narrow + tally.wide == np.count_nonzero(np.linalg.norm(vectors.astype(np.float64), axis=1) > 0)


@given(seed=st.integers(0, 2**32 - 1), n_queries=st.integers(1, 90), k=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_queries_that_are_not_references_and_filters(seed: int, n_queries: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    references, queries = clustered(rng, 300).astype(np.float32), clustered(rng, n_queries).astype(np.float32)
    pair = rng.integers(-1, 6, n_queries), rng.integers(-1, 6, 300)
    allowed = rng.random(300) < 0.7
    found = search(queries, references, k=k, exclude=[pair], allowed=allowed)
    expected = plainly(pytest.MonkeyPatch(), queries, references, k=k, exclude=[pair], allowed=allowed)
    np.testing.assert_array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("make", [clustered, alike])
def test_hardly_anything_has_to_be_searched_again(rng: np.random.Generator, make: Make) -> None:
    """Also where all vectors are nearly one: what they have in common is taken out before they are coded."""
    tally = Tally()
    search_within(make(rng, 2000).astype(np.float32), k=5, exclude=[np.arange(2000) % 5], tally=tally)
    assert tally.narrow > 0.8 * 2000
    assert tally.unproven == 2000 - tally.narrow


def test_equal_vectors_at_the_cut_are_not_proven(rng: np.random.Generator) -> None:
    vectors = np.repeat(rng.normal(size=(40, 24)), 50, axis=0).astype(np.float32)
    tally = Tally()
    found = search_within(vectors, k=9, exclude=[np.arange(2000)], tally=tally)
    assert tally.narrow == 0, "the tenth to the fiftieth are as near as the ninth"
    np.testing.assert_array_equal(found.indices[75], [r for r in range(50, 100) if r != 75][:9])


def test_a_machine_that_multiplies_worse_than_the_bound_proves_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.mm

    def worse(a: torch.Tensor, b: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        found = real(a, b, **kwargs)
        found += (torch.rand(found.shape) * 0.25).bfloat16()
        return found

    vectors = clustered(rng, 500).astype(np.float32)
    expected = plainly(pytest.MonkeyPatch(), vectors, vectors, k=5, exclude=[(np.arange(500), np.arange(500))])
    monkeypatch.setattr(torch, "mm", worse)
    tally = Tally()
    found = search_within(vectors, k=5, exclude=[np.arange(500)], tally=tally)
    assert tally.narrow == 0
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_torch_has_its_threads_back(rng: np.random.Generator) -> None:
    before = torch.get_num_threads()
    search_within(clustered(rng, 400).astype(np.float32), k=5, exclude=[np.arange(400)])
    assert torch.get_num_threads() == before


def test_it_pays_only_where_the_work_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert coarse.pays(20_000, 20_000, 384, 208)
    assert not coarse.pays(100, 20_000, 384, 208)
    assert not coarse.pays(10**6, 1000, 384, 208), "nearly all of the references are wanted"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not coarse.pays(20_000, 20_000, 384, 208)
    assert JOIN_FROM < 20_000


def test_rows_that_are_left_wait_for_a_pass_of_their_own_but_not_to_the_end(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some in every group of rows are not proven: they are searched as soon as `FEW` are there."""
    monkeypatch.setattr(exact, "FEW", 4)
    vectors, rows = clustered(rng, 600).astype(np.float32), np.arange(600)
    vectors[::20] = vectors[0]
    expected = plainly(pytest.MonkeyPatch(), vectors, vectors, k=5, exclude=[(rows, rows)])
    come: list[int] = []
    found, tally = np.empty((600, 5), dtype=np.int64), Tally()

    def take(some: np.ndarray, neighbors: Neighbors) -> None:
        come.append(len(some))
        found[some] = neighbors.indices

    within_rows(prepare(vectors), rows, take, k=5, exclude=[rows], tally=tally)
    np.testing.assert_array_equal(found, expected.indices)  # type: ignore[attr-defined]
    assert tally.unproven >= 30
    assert tally.unproven == tally.wide == 600 - tally.narrow
    assert sum(come) == 600
    assert 4 in come[:-8], "some were searched in float32 while others were still to be tried"

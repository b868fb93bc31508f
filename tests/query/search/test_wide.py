"""Float32 searches of several blocks: one layout of the references for all of them, and the answers of one search."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.query.search import coarse, exact
from locatlas.query.search.exact import Tally, search, search_rows
from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.unit import Prepared
from locatlas.types import Neighbors
from tests.query.search.test_exact import assert_equals_brute_force, brute_force


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made for the references in another order than their own, as it is made."""
    made: list[str] = []
    unit, build = Prepared.unit, ExclusionIndex.build

    def counted_unit(self: Prepared, which: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        if not isinstance(which, slice):
            made.append("vectors")
        return unit(self, which)

    def counted_build(exclusions: object, *, columns: NDArray[np.int64] | None, **sizes: int) -> ExclusionIndex:
        if columns is not None:
            made.append("exclusions")
        return build(exclusions, columns=columns, **sizes)  # type: ignore[arg-type]

    monkeypatch.setattr(Prepared, "unit", counted_unit)
    monkeypatch.setattr(ExclusionIndex, "build", counted_build)
    return made


def handed_on(vectors: NDArray[np.float32], rows: NDArray[np.int64], **how: Any) -> list[tuple[Any, Neighbors]]:
    """All parts of what is found of some rows."""
    found: list[tuple[Any, Neighbors]] = []
    search_rows(vectors, vectors, rows, lambda *part: found.append(part), **how)
    assert sorted(np.concatenate([some for some, _ in found])) == sorted(rows)
    return found


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_AT_ONCE", "_AT_ONCE_ON_A_DEVICE"):
        monkeypatch.setattr(exact, name, 150)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # the latter by way of torch, as a GPU
def test_blocks_share_one_layout_of_the_references(
    rng: np.random.Generator, laid_out: list[str], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    for name in ("_AT_ONCE", "_AT_ONCE_ON_A_DEVICE"):
        monkeypatch.setattr(exact, name, 80)
    vectors, groups = rng.normal(size=(500, 6)).astype(np.float32), rng.integers(-1, 20, 500)
    vectors[::50] = 0
    allowed = rng.random(500) < 0.8
    found = handed_on(vectors, rng.permutation(500), k=7, exclude=[(groups, groups)], allowed=allowed, device=device)
    assert sorted(laid_out) == ["exclusions", "vectors"]
    expected = brute_force(vectors, vectors, 7, [(groups, groups)], allowed)
    assert len(found) > 5
    for rows, one in found:
        assert_equals_brute_force(one, (expected[0][rows], expected[1][rows]))


def test_few_queries_of_many_references_need_no_layout(rng: np.random.Generator, laid_out: list[str]) -> None:
    vectors = rng.normal(size=(300, 6)).astype(np.float32)
    found = handed_on(vectors, np.arange(60), k=4)
    assert laid_out == []
    whole = search(vectors[:60], vectors, k=4)
    for rows, one in found:
        np.testing.assert_array_equal(one.indices, whole.indices[rows])


def test_what_narrow_products_leave_of_several_blocks_shares_a_layout(
    rng: np.random.Generator, laid_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse, "pays", lambda *_: True)
    monkeypatch.setattr(exact.coarse, "search_coarse", lambda asked, *_, **__: np.arange(len(asked)))  # proves nothing
    monkeypatch.setattr(exact, "_FEW_TIMES", 1)
    vectors, tally = rng.normal(size=(600, 8)).astype(np.float32), Tally()
    found = handed_on(vectors, np.arange(600), k=5, tally=tally)
    assert tally.unproven == tally.wide == 600
    # narrow products lay their references and a sample of them out, and float32 products theirs, once
    assert laid_out.count("exclusions") == 3
    monkeypatch.setattr(coarse, "pays", lambda *_: False)
    whole = search(vectors, vectors, k=5)
    for rows, one in found:
        np.testing.assert_array_equal(one.indices, whole.indices[rows])

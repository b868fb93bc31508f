"""Float32 searches of several blocks: one layout of the references for all of them, and the answers of one search."""

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.query import coarse, exact
from locatlas.query.exact import Tally, search, search_blocks
from locatlas.query.exclude import ExclusionIndex
from locatlas.query.unit import Prepared
from tests.query.test_exact import assert_equals_brute_force, brute_force


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


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # the latter by way of torch, as a GPU
def test_blocks_share_one_layout_of_the_references(rng: np.random.Generator, laid_out: list[str], device: str) -> None:
    vectors, groups = rng.normal(size=(900, 6)).astype(np.float32), rng.integers(-1, 40, 900)
    vectors[::50] = 0
    blocks = np.array_split(rng.permutation(900), 6)
    allowed = rng.random(900) < 0.8
    found = list(
        search_blocks(vectors, vectors, blocks, k=7, exclude=[(groups, groups)], allowed=allowed, device=device)
    )
    assert sorted(laid_out) == ["exclusions", "vectors"]
    expected = brute_force(vectors, vectors, 7, [(groups, groups)], allowed)
    for rows, one in zip(blocks, found, strict=True):
        assert_equals_brute_force(one, (expected[0][rows], expected[1][rows]))


def test_few_queries_of_many_references_need_no_layout(rng: np.random.Generator, laid_out: list[str]) -> None:
    vectors = rng.normal(size=(300, 6)).astype(np.float32)
    blocks = np.array_split(np.arange(90), 3)
    found = list(search_blocks(vectors, vectors, blocks, k=4))
    assert laid_out == []
    whole = search(vectors[:90], vectors, k=4)
    np.testing.assert_array_equal(np.concatenate([one.indices for one in found]), whole.indices)


def test_what_narrow_products_leave_of_several_blocks_shares_a_layout(
    rng: np.random.Generator, laid_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse, "pays", lambda *_: True)
    monkeypatch.setattr(exact.coarse, "search_coarse", lambda asked, *_, **__: np.arange(len(asked)))  # proves nothing
    monkeypatch.setattr(exact, "_FEW_TIMES", 1)
    vectors, tally = rng.normal(size=(600, 8)).astype(np.float32), Tally()
    found = list(search_blocks(vectors, vectors, np.array_split(np.arange(600), 3), k=5, tally=tally))
    assert tally.unproven == tally.wide == 600
    # narrow products lay their references and a sample of them out, and float32 products theirs, once
    assert laid_out.count("exclusions") == 3
    monkeypatch.setattr(coarse, "pays", lambda *_: False)
    whole = search(vectors, vectors, k=5)
    np.testing.assert_array_equal(np.concatenate([one.indices for one in found]), whole.indices)

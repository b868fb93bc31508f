"""The search on a torch device, on torch's CPU device, against the plain search; on a GPU where there is one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.query.search import on_device
from locatlas.query.search.exact import Tally, search
from locatlas.query.search.exclude import ExclusionIndex
from locatlas.query.search.within import search_within
from locatlas.query.sweep.every_k import sweep
from tests.query.search.test_coarse import MAKES, Make, clustered
from tests.query.sweep.test_search import made
from tests.quick import THOROUGH


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_BLOCK": 64, "_TILE": 96, "_SAMPLE": 64, "_SPARE": 8, "_GATHERED": 4096}.items():
        monkeypatch.setattr(on_device, name, value)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("make", MAKES)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(30, 400), k=st.integers(1, 12), n_groups=st.integers(1, 60))
@settings(max_examples=8 if THOROUGH else 3, deadline=None)
def test_the_neighbors_are_those_of_the_plain_search(
    narrow: bool, make: Make, seed: int, n: int, k: int, n_groups: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = make(rng, n).astype(np.float32)
    groups, others = rng.integers(-1, n_groups, n), rng.integers(-1, 5, n)
    allowed = rng.random(n) < 0.9
    pairs = [(others, others), (groups, groups)]
    expected = search(vectors, vectors, k=k, exclude=pairs, allowed=allowed)
    tally = Tally()
    with pytest.MonkeyPatch().context() as patched:
        patched.setattr(on_device, "multiplies_narrow", lambda _: narrow)
        found = search(vectors, vectors, k=k, exclude=pairs, allowed=allowed, device="cpu:0", tally=tally)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.similarities, expected.similarities, atol=2e-6)
    assert tally.narrow + tally.wide == np.count_nonzero(np.linalg.norm(vectors.astype(np.float64), axis=1) > 0)
    assert narrow or tally.narrow == tally.unproven == 0


@pytest.mark.parametrize("narrow", [False, True])
def test_hardly_any_row_is_ranked_as_a_whole(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, narrow: bool
) -> None:
    monkeypatch.setattr(on_device, "_SAMPLE", 256)
    monkeypatch.setattr(on_device, "multiplies_narrow", lambda _: narrow)
    plainly: list[int] = []
    real = on_device.search_torch
    monkeypatch.setattr(on_device, "search_torch", lambda q, *rest: plainly.append(len(q)) or real(q, *rest))
    tally = Tally()
    search_within(
        clustered(rng, 2000).astype(np.float32), k=5, exclude=[np.arange(2000) % 5], device="cpu:0", tally=tally
    )
    assert sum(plainly) < 0.02 * 2000
    assert (tally.narrow > 0.8 * 2000) == narrow
    assert tally.unproven == (2000 - tally.narrow if narrow else 0)


def test_a_device_that_multiplies_worse_than_the_bound_proves_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "multiplies_narrow", lambda _: True)
    real = on_device.OnDevice._listed

    def worse(self: object, *args: object) -> object:
        found = real(self, *args)  # type: ignore[arg-type]
        if found is not None and found.scores.dtype == torch.bfloat16:
            found.scores.add_(0.25)
        return found

    vectors, own = clustered(rng, 600).astype(np.float32), np.arange(600)
    expected = search(vectors, vectors, k=5, exclude=[(own, own)])
    monkeypatch.setattr(on_device.OnDevice, "_listed", worse)
    tally = Tally()
    found = search(vectors, vectors, k=5, exclude=[(own, own)], device="cpu:0", tally=tally)
    assert tally.narrow == 0
    assert tally.unproven == 600
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_codes_of_columns_are_equal_where_a_pair_is_excluded(rng: np.random.Generator) -> None:
    queries, references = rng.integers(-1, 9, 40), rng.integers(-1, 12, 70)
    columns = rng.permutation(70)[:50]
    index = ExclusionIndex.build([(queries, references)], n_queries=40, n_references=70, columns=columns)
    (codes,) = index.column_codes()
    struck = np.zeros((40, 50), dtype=np.bool_)
    struck[index.pairs(np.arange(40), 0, 50)] = True
    np.testing.assert_array_equal(index.query_codes[0][:, None] == codes, struck)


@pytest.mark.parametrize("narrow", [False, True])
def test_a_sweep_predicts_what_it_predicts_on_the_cpu(monkeypatch: pytest.MonkeyPatch, narrow: bool) -> None:
    monkeypatch.setattr(on_device, "multiplies_narrow", lambda _: narrow)
    rows = made(5, 500, "single", ties=False)
    how = {"ks": [1, 3, 9], "protocol": "kfold", "folds": 3, "n_bootstrap": 0, "keep_predictions": True}
    plain, found = sweep(**rows, **how), sweep(**rows, **how, device="cpu:0")
    for one, other in zip(found.results, plain.results, strict=True):
        np.testing.assert_array_equal(one.predicted, other.predicted)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_neighbors(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    vectors, groups = clustered(rng, 20_000).astype(np.float32), rng.integers(0, 500, 20_000)
    plain = search(vectors, vectors, k=50, exclude=[(groups, groups)])
    tally = Tally()
    found = search(vectors, vectors, k=50, exclude=[(groups, groups)], device="cuda", tally=tally)
    np.testing.assert_array_equal(found.indices, plain.indices)
    assert tally.narrow > 10_000 or not torch.cuda.is_bf16_supported(including_emulation=False)

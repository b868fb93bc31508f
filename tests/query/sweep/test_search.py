"""Sweeps that search a few rows after the others, against one search of all rows whose neighbors vote afterwards."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.query.answers.vote import predict_single, vote
from locatlas.query.scores.protocols import grouped_folds
from locatlas.query.search import coarse, coarse_block, exact, within
from locatlas.query.search.exact import search
from locatlas.query.search.exclude import encode_names
from locatlas.query.sweep import search as sweep_search
from locatlas.query.sweep.every_k import SweepResult, sweep

KS = [1, 2, 5, 9]
WEIGHTS = ("uniform", "distance", "softmax")


def made(seed: int, n: int, mode: str, *, ties: bool) -> dict[str, Any]:
    """Rows of proteins in four classes, fields of three rows, some rows without anything or of no direction."""
    rng = np.random.default_rng(seed)
    protein = rng.integers(0, max(8, n // 10), n)
    vectors = rng.normal(size=(4, 8))[protein % 4] + rng.normal(size=(n, 8))
    if ties:
        vectors = np.rint(vectors)
    sets = [{f"c{p % 4}"} | ({"c9"} if mode == "multi" and rng.random() < 0.3 else set()) for p in protein]
    return {
        "vectors": vectors.astype(np.float32),
        "labels": [None if rng.random() < 0.03 else names for names in sets],
        "groups": [None if rng.random() < 0.03 else f"p{p}" for p in protein],
        "ids": [f"row{i}" for i in range(n)],
    }


def assert_same(parts: SweepResult, whole: SweepResult) -> None:
    """To the last bit, but for scores weighted by similarities: the last bit of a float32 product depends on shapes."""
    told, expected = parts.to_dict(), whole.to_dict()
    for document in (told, expected):
        del document["products"]  # what bfloat16 products can prove depends on who is asked together
    assert told == expected
    assert parts.ids == whole.ids
    np.testing.assert_array_equal(parts.targets, whole.targets)  # type: ignore[arg-type]
    for one, other in zip(parts.results, whole.results, strict=True):
        assert (one.scores is None) == (other.scores is None) == (one.k not in (2, 9))
        if one.scores is not None and other.scores is not None:
            np.testing.assert_array_equal(one.predicted, other.predicted)
            atol = 0 if one.weights == "uniform" else 2e-6
            np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=atol)


@pytest.mark.parametrize("narrow", [False, True])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(100, 200),
    at_once=st.sampled_from([25, 60, 150]),
    mode=st.sampled_from(["single", "multi"]),
    protocol=st.sampled_from(["leave-group-out", "kfold"]),
    ties=st.sampled_from(["nearest", "first"]),
    equal=st.booleans(),
    some=st.booleans(),
    plates=st.booleans(),
    by=st.sampled_from([None, "fov", "well"]),
    how=st.sampled_from(["mean", "majority", "top"]),
)
@settings(max_examples=8, deadline=None)
def test_the_size_of_a_block_changes_nothing(
    narrow: bool,
    seed: int,
    n: int,
    at_once: int,
    mode: Any,
    protocol: Any,
    ties: Any,
    equal: bool,
    some: bool,
    plates: bool,
    by: str | None,
    how: Any,
) -> None:
    rows, rng = made(seed, n, mode, ties=equal), np.random.default_rng(seed + 1)
    options: dict[str, Any] = {
        "ks": KS,
        "protocol": protocol,
        "folds": 3,
        "labels_mode": mode,
        "weights": WEIGHTS,
        "ties": ties,
        "n_bootstrap": 0,
        "keep_predictions": (2, 9),
    }
    if some:
        asked = set(rng.permutation(sorted({name for name in rows["groups"] if name}))[:5])
        options["queries"] = [name in asked for name in rows["groups"]]
    if plates:
        options["exclude"] = {"plate": [f"plate{i}" if i else None for i in rng.integers(0, 12, n)]}
    if by == "fov":  # within a protein
        options |= {"units": [f"{name}/{i % 4}" for i, name in enumerate(rows["groups"])], "by": by, "how": how}
    elif by == "well":  # over proteins, but of one label each
        options |= {"units": [f"{sorted(names or ())}{i % 9}" for i, names in enumerate(rows["labels"])], "how": how}
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(within, "JOIN_FROM", 10**9)
        patched.setattr(coarse, "pays", lambda *_: narrow)
        for module in (coarse, coarse_block):
            patched.setattr(module, "BLOCK", 32)
        patched.setattr(coarse_block, "_TILE", 96)
        patched.setattr(coarse_block, "_PADDED", 8)
        patched.setattr(coarse_block, "_SAMPLE", (64, 96))
        patched.setattr(coarse, "_BUNDLE", 64)
        patched.setattr(exact, "_AT_ONCE", 10**9)
        patched.setattr(coarse_block, "_AFTER", 10**9)
        patched.setattr(sweep_search, "_ROWS_AT_ONCE", 10**9)
        try:
            whole = sweep(**rows, **options)
        except InputError:  # no unit of which all rows are asked, too few parts for folds, too few references
            reject()
        for module, name in ((exact, "_AT_ONCE"), (coarse_block, "_AFTER"), (sweep_search, "_ROWS_AT_ONCE")):
            patched.setattr(module, name, at_once)
        parts = sweep(**rows, **options)
    assert_same(parts, whole)


def test_many_blocks_are_many_searches_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, sizes, real = made(3, 400, "single", ties=False), [], sweep_search.predict

    def counted(neighbors: Any, *args: Any, **how: Any) -> Any:
        sizes.append(len(neighbors.indices))
        return real(neighbors, *args, **how)

    monkeypatch.setattr(sweep_search, "predict", counted)
    monkeypatch.setattr(exact, "_AT_ONCE", 50)
    result = sweep(**rows, ks=KS, n_bootstrap=0)
    assert sum(sizes) == result.n_rows
    assert max(sizes) == 50
    assert len(sizes) == -(-result.n_rows // 50)


@pytest.mark.parametrize("rule", WEIGHTS)
@pytest.mark.parametrize("joined", [False, True])
def test_predictions_are_those_of_one_search_whose_neighbors_vote(
    rule: Any, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_AT_ONCE", 30)
    monkeypatch.setattr(within, "_ROWS_AT_ONCE", 30)
    monkeypatch.setattr(within, "JOIN_FROM", 10 if joined else 10**9)
    rows = made(4, 300, "single", ties=False)
    found = sweep(**rows, ks=KS, protocol="kfold", folds=4, weights=rule, n_bootstrap=0, keep_predictions=True)
    place = {name: i for i, name in enumerate(rows["ids"])}
    mine = [place[name] for name in found.ids]
    vectors, groups = rows["vectors"][mine], [rows["groups"][i] for i in mine]
    table = np.array([[name in rows["labels"][i] for name in found.classes] for i in mine])
    folds = grouped_folds(groups, folds=4, table=table)
    near = search(vectors, vectors, k=KS[-1], exclude=[(folds, folds), encode_names(groups)])
    for one in found.results:
        scores = vote(near, table, k=one.k, weights=rule)
        assert one.scores is not None
        np.testing.assert_allclose(one.scores, scores, atol=1e-6)
        np.testing.assert_array_equal(one.predicted, predict_single(scores, near, table, k=one.k))

"""Sweeps of which only some rows are asked, against sweeps of all."""

from typing import Any

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.query.sweep.every_k import sweep

KS = [1, 2, 5, 11]


def made_rows() -> dict[str, Any]:
    """240 rows of 30 proteins in 4 classes."""
    rng = np.random.default_rng(5)
    protein = np.concatenate([np.arange(30), rng.integers(0, 30, 210)])
    vectors = rng.normal(size=(4, 8))[protein % 4] + rng.normal(size=(30, 8))[protein] + rng.normal(size=(240, 8))
    return {
        "vectors": vectors.astype(np.float32),
        "labels": [{f"c{p % 4}"} for p in protein],
        "groups": [f"p{p}" for p in protein],
        "ids": [f"row{i:03d}" for i in range(240)],
    }


@pytest.mark.parametrize("protocol", ["leave-group-out", "kfold"])
@pytest.mark.parametrize("mode", ["single", "multi"])
def test_rows_that_are_asked_are_predicted_as_in_the_whole_sweep(protocol: Any, mode: Any) -> None:
    made = made_rows()
    asked = [group in {"p1", "p2", "p3", "p9"} for group in made["groups"]]
    options = {"ks": KS, "protocol": protocol, "labels_mode": mode, "keep_predictions": True}
    whole, some = sweep(**made, **options), sweep(**made, queries=asked, **options)
    place = {name: i for i, name in enumerate(whole.ids)}
    assert sorted(some.ids) == [name for name, own in zip(made["ids"], asked, strict=True) if own]
    for all_of, part in zip(whole.results, some.results, strict=True):
        assert all_of.predicted is not None
        np.testing.assert_array_equal(part.predicted, all_of.predicted[[place[name] for name in some.ids]])
        assert part.counts.support.sum() == sum(asked)
    assert (some.n_queries, some.n_rows, some.n_groups) == (sum(asked), 240, 4)
    every = sweep(**made, queries=[True] * 240, **options)
    assert every.to_dict() == whole.to_dict()


def test_asking_nobody_or_the_wrong_number_is_refused() -> None:
    made = made_rows()
    with pytest.raises(InputError, match="none of the 240 labelled rows is asked"):
        sweep(**made, queries=[False] * 240)
    with pytest.raises(InputError, match="3 queries for 240 rows"):
        sweep(**made, queries=[True] * 3)

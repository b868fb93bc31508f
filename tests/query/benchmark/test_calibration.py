"""Reliability by hand, and against bins made another way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from locatlas.query.benchmark.calibration import N_BINS, reliability, tally


def test_ece_by_hand() -> None:
    # two bins: 0.2 and 0.4 (one of two right), 0.9 (right): gaps |0.5 - 0.3| x 2/3 and |1 - 0.9| x 1/3
    found = reliability(tally(np.array([0.2, 0.4, 0.9]), np.array([True, False, True]), n_bins=2))
    assert found.ece == pytest.approx(0.2 * 2 / 3 + 0.1 / 3)
    assert found.n.tolist() == [2, 1]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_bins_are_those_of_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    sure, right = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    edges = np.arange(N_BINS + 1) / N_BINS
    if np.isclose(sure[:, None], edges).any():
        return  # scikit-learn puts what lies on an edge into the lower bin
    found = reliability(tally(sure, right))
    true, mean = calibration_curve(right, sure, n_bins=N_BINS)
    there = found.n > 0
    assert found.accuracy[there] == pytest.approx(true)
    assert found.confidence[there] == pytest.approx(mean)


def test_no_rows_have_no_error() -> None:
    assert reliability(tally(np.empty(0), np.empty(0, dtype=bool))).ece == 0


def test_certain_votes_are_in_the_last_bin() -> None:
    assert tally(np.array([1.0]), np.array([True]))[0].tolist() == [0] * (N_BINS - 1) + [1]

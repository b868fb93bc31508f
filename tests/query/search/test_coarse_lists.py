"""Lists of what beats its row's threshold, against all scores sorted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locatlas.query.search import coarse_lists
from locatlas.query.search.coarse_lists import Lists


@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(1, 40),
    widths=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    best=st.integers(1, 30),
    highest=st.sampled_from([3, 40, 30_000]),
    longest=st.sampled_from([5, 10**4]),
)
@settings(max_examples=80, deadline=None)
def test_what_is_not_listed_does_not_beat_the_threshold(
    seed: int, n_rows: int, widths: list[int], best: int, highest: int, longest: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-5, highest, (n_rows, sum(widths))).astype(np.int16)
    given_threshold = rng.integers(0, highest, n_rows).astype(np.int16)
    lists = Lists(n_rows, best, 50)
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(coarse_lists, "_LONGEST", longest)
        patched.setattr(coarse_lists, "_ROWS_AT_ONCE", 16)
        for threshold in (np.zeros(n_rows, dtype=np.int16), given_threshold.copy()):  # used again
            lists.begin(threshold)
            low = 0
            for width in widths:
                tile = np.ascontiguousarray(scores[:, low : low + width])
                lists.add(tile, np.flatnonzero(tile > lists.threshold[:, None]), low)
                low += width
    assert (lists.threshold >= given_threshold).all()
    for start in range(0, n_rows, 7):
        stop = min(start + 7, n_rows)
        columns, keys, filled = lists.rows(start, stop)
        for row in range(start, stop):
            mine, there = filled[row - start], keys[row - start] >= 0
            assert mine == there.sum()
            assert there[:mine].all()
            found = columns[row - start, :mine]
            np.testing.assert_array_equal(keys[row - start, :mine] & 0xFFFF, np.arange(mine))
            np.testing.assert_array_equal(keys[row - start, :mine] >> 16, scores[row, found])
            assert (np.diff(found) > 0).all()
            beats = np.flatnonzero(scores[row] > lists.threshold[row])
            assert np.isin(beats, found).all()
            if lists.threshold[row] > given_threshold[row]:  # too many were listed
                at_least = np.flatnonzero(scores[row] >= lists.threshold[row])
                assert len(at_least) > best, "more than the best that are kept do not lie below what was dropped"
                assert np.isin(
                    np.argsort(scores[row])[::-1][:best][
                        scores[row][np.argsort(scores[row])[::-1][:best]] > lists.threshold[row]
                    ],
                    found,
                ).all()
            else:
                np.testing.assert_array_equal(found, beats)

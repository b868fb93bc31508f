"""Shares of functions in a profiler's samples, hand-worked."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))
from shares import shares

SWEEP = "sweep (locatlas/query/sweep/every_k.py:9)"
SAMPLES = [
    f"main (run.py:1);{SWEEP};Search._best (locatlas/query/search/coarse_block.py:3);take (numpy/x.py:1) 6",
    f"main (run.py:1);{SWEEP};Search._best (/x/locatlas/query/search/coarse_block.py:8) 2",
    "main (run.py:1);load (libx.so) 2",
]
BEST = "locatlas/query/search/coarse_block.py Search._best"


def test_a_sample_counts_for_the_innermost_function_of_ours():
    assert shares(SAMPLES, None, below=False) == (10, {BEST: 8, "(elsewhere)": 2})


def test_or_for_all_that_it_is_in_and_only_samples_within_a_function():
    total, counted = shares(SAMPLES, "every_k", below=True)
    assert total == 8
    assert counted == {BEST: 8, "locatlas/query/sweep/every_k.py sweep": 8}

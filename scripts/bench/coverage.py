"""How often the 95 % interval of macro F1 holds the true value, for few groups and uneven classes.

Run as `python scripts/bench/coverage.py`. Groups of nine rows and one class each, as in 485 HPA cells: 22, 21, 6, 3 and
2 groups of five classes. A group's rows are right with a probability of its own, so rows of a group go together; wrong
rows go to the other classes by their size. The true value is that of 20,000 times as many groups.
"""

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from locatlas.query.scores.bootstrap import bootstrap_intervals
from locatlas.query.scores.metrics import Counts, macro_f1

GROUPS = (22, 21, 6, 3, 2)
ROWS = 9
RIGHT = (0.77, 0.90, 0.25, 0.59, 0.15)  # mean share of right rows by class
SPREAD = 4.0  # a + b of the beta distribution of a group's share


def draw(rng: np.random.Generator, copies: int) -> Counts:
    """Counts by group, (n_groups, 1, n_classes)."""
    n_classes = len(GROUPS)
    classes = np.repeat(np.arange(n_classes), [n * copies for n in GROUPS])
    share = rng.beta(SPREAD * np.array(RIGHT)[classes], SPREAD * (1 - np.array(RIGHT)[classes]))
    right = rng.binomial(ROWS, share)
    others = np.tile(np.array(GROUPS, dtype=np.float64), (n_classes, 1))
    np.fill_diagonal(others, 0)
    wrong: NDArray[np.int64] = rng.multinomial(ROWS - right, (others / others.sum(axis=1, keepdims=True))[classes])
    own = classes[:, None] == np.arange(n_classes)
    tp, fn = own * right[:, None], own * (ROWS - right)[:, None]
    return Counts(tp[:, None], wrong[:, None], fn[:, None])


def main() -> None:
    """Draw, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    true = float(macro_f1(draw(rng, 20_000).summed())[0])
    held = {"fixed classes": 0, "classes drawn": 0}
    widths = dict.fromkeys(held, 0.0)
    for seed in range(given.draws):
        counts = draw(rng, 1)
        for name, fixed in (("fixed classes", True), ("classes drawn", False)):
            bounds = bootstrap_intervals(counts, {"f": macro_f1}, seed=seed, fixed_classes=fixed)
            assert bounds is not None
            low, high = bounds["f"][0]
            held[name] += low <= true <= high
            widths[name] += high - low
    print(
        json.dumps(
            {
                "true_macro_f1": round(true, 3),
                "draws": given.draws,
                "coverage": {name: n / given.draws for name, n in held.items()},
                "mean_width": {name: round(w / given.draws, 3) for name, w in widths.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

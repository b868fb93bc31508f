"""Many tests at once: Holm's correction. Pure."""

from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that keep the chance of any false finding among all tests below the level.

    The i-th smallest of m values is multiplied by m - i + 1, made at least as large as the one before, at most 1.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 65-70.

    Args:
        p_values: In [0, 1]; None where there was no test, which does not count.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted

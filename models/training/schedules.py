"""Learning rate, weight decay and momentum by step. Pure."""

import math

__all__ = ["cosine", "warmed_cosine", "warmup_steps"]


def cosine(step: int, n_steps: int, start: float, end: float) -> float:
    """Half a cosine from `start` at step 0 to `end` at the last step, `n_steps - 1`.

    Args:
        step: From 0; past the last step it stays at `end`.
        n_steps: At least 1; with one step it is at `start`.
        start: Value at step 0.
        end: Value at the last step.

    References:
        Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without restarts. DINO's `cosine_scheduler` divides by the
        number of steps instead, so that it stops one step short of the end.
    """
    if n_steps <= 1 or step <= 0:
        return start
    done = min(1.0, step / (n_steps - 1))
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * done))


def warmup_steps(share: float, n_steps: int) -> int:
    """Steps in which the rate rises: a share in [0, 1) of all, rounded; at least one step is left for the cosine."""
    return min(round(share * n_steps), n_steps - 1)


def warmed_cosine(step: int, n_steps: int, peak: float, end: float, n_warmup: int) -> float:
    """A linear rise to `peak`, then half a cosine to `end` at the last step.

    The rise begins one part above 0, `peak / (n_warmup + 1)`, since a step at rate 0 is a step for nothing, and `peak`
    itself is the cosine's first value.

    Args:
        step: From 0.
        n_steps: All steps, the rise among them.
        peak: Highest value.
        end: Value at the last step.
        n_warmup: Steps of the rise, less than `n_steps`.
    """
    if step < n_warmup:
        return peak * (step + 1) / (n_warmup + 1)
    return cosine(step - n_warmup, n_steps - n_warmup, peak, end)

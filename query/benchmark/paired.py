"""Two encoders on the same groups: the difference of their macro F1, its interval, and what chance does. Pure."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.query.benchmark.corrections import holm
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import aligned_counts
from locatlas.query.bootstrap import DEFAULT_REPLICATES, replicate_statistics
from locatlas.query.metrics import Counts, macro_f1

__all__ = [
    "DEFAULT_PERMUTATIONS",
    "DETECTABLE_SE",
    "Gap",
    "Paired",
    "compare_all",
    "compare_pair",
    "plan_name",
    "plan_words",
]

DEFAULT_PERMUTATIONS = 10_000

EXACT_GROUPS = 12
"""Up to so many groups all 2^n exchanges are looked at."""

DETECTABLE_SE = 2.80
"""Standard errors: 1.96 for a two-sided test at 5 %, and 0.84 for a power of 80 % (normal approximation)."""

_AT_ONCE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A difference of two macro F1 on the same groups; attributes as those of `Paired`."""

    difference: float
    ci95: tuple[float, float] | None
    detectable: float | None
    p: float | None
    n_groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two plans or encoders that are measured in the same way.

    Attributes:
        first: What differs in words, e.g. "dino4cells, natural, joint".
        second: The other.
        where: What they have in common: protocol, classifier, k, ...
        n_groups: Groups that both scored.
        n_seeds: Seeds that both have; the difference is of the means over these.
        difference: Macro F1 of the first less that of the second.
        ci95: 95 % percentile bootstrap over groups, the same draws for both.
        detectable: The difference that a test at the 5 % level finds four times in five with so many groups, if their
            spread is that of these (`DETECTABLE_SE` standard errors): a smaller one may well be there and not be seen.
        p: Of the permutation test.
        p_holm: After Holm's correction over all comparisons of the grid.
    """

    first: str
    second: str
    where: dict[str, Any]
    n_groups: int
    n_seeds: int
    difference: float
    ci95: tuple[float, float] | None
    detectable: float | None
    p: float | None
    p_holm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "first": self.first,
            "second": self.second,
            **self.where,
            "n_groups": self.n_groups,
            "n_seeds": self.n_seeds,
            "difference": self.difference,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "detectable": self.detectable,
            "p": self.p,
            "p_holm": self.p_holm,
        }


def compare_pair(
    first: Sequence[Scored],
    second: Sequence[Scored],
    *,
    n_replicates: int = DEFAULT_REPLICATES,
    n_permutations: int = DEFAULT_PERMUTATIONS,
    seed: int = 0,
) -> Gap:
    """The difference of two encoders' macro F1, mean over seeds, with interval and p.

    The null hypothesis of the test is that the two encoders are exchangeable group by group (protein by protein): under
    it the predictions of any group may be swapped. All 2^n swaps are looked at for few groups, else random ones, and p
    is (1 + swaps with a difference at least as large) / (1 + swaps), two-sided (Phipson and Smyth 2010).

    Args:
        first: Of each seed, scored on the same groups as
        second: of the same seeds, in the same order.
        n_replicates: Of the bootstrap.
        n_permutations: Random swaps.
        seed: Of both.

    Returns:
        The difference; without interval and test where there are fewer than two groups.
    """
    counts, _, groups, _ = aligned_counts([*first, *second])
    n, n_seeds = len(groups), len(first)
    pooled = macro_f1(counts.summed())
    difference = float(pooled[:n_seeds].mean() - pooled[n_seeds:].mean())
    if n < 2:
        return Gap(difference=difference, ci95=None, detectable=None, p=None, n_groups=n)
    drawn = replicate_statistics(counts, {"f1": macro_f1}, n_replicates=n_replicates, seed=seed, fixed_classes=True)
    assert drawn is not None
    gaps = drawn["f1"][:, :n_seeds].mean(axis=1) - drawn["f1"][:, n_seeds:].mean(axis=1)
    low, high = np.quantile(gaps, [0.025, 0.975])
    swaps = _swaps(n, n_permutations, seed)
    null = _swapped(counts, n_seeds, swaps)
    hits = int((np.abs(null) >= abs(difference) - 1e-12).sum())
    p = hits / len(null) if n <= EXACT_GROUPS else (1 + hits) / (1 + len(null))
    return Gap(
        difference=difference,
        ci95=(float(low), float(high)),
        detectable=DETECTABLE_SE * float(gaps.std(ddof=1)),
        p=float(p),
        n_groups=n,
    )


def _swaps(n_groups: int, n_permutations: int, seed: int) -> NDArray[np.bool_]:
    """Which groups are swapped in each permutation, bool (n_permutations, n_groups)."""
    if n_groups <= EXACT_GROUPS:
        return np.array(list(itertools.product([False, True], repeat=n_groups)), dtype=np.bool_)
    return np.random.default_rng(seed).random((n_permutations, n_groups)) < 0.5


def _swapped(counts: Counts, n_seeds: int, swaps: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Differences of macro F1 after swapping the groups of each permutation, (n_permutations,)."""
    flat = np.stack([counts.tp, counts.fp, counts.fn]).astype(np.float64)  # (3, groups, 2 seeds, classes)
    first, second = flat[:, :, :n_seeds], flat[:, :, n_seeds:]
    total, gap = (first + second).sum(axis=1), first - second
    n_groups = gap.shape[1]
    spread = np.moveaxis(gap, 1, 0).reshape(n_groups, -1)
    found = np.empty(len(swaps))
    for low in range(0, len(swaps), _AT_ONCE):
        signs = np.where(swaps[low : low + _AT_ONCE], -1.0, 1.0)
        moved = (signs @ spread).reshape(len(signs), *gap.shape[:1], *gap.shape[2:])
        one, other = (total + moved) / 2, (total - moved) / 2
        f1 = [
            macro_f1(Counts(*(np.rint(side[:, part]).astype(np.int64) for part in range(3)))) for side in (one, other)
        ]
        found[low : low + _AT_ONCE] = f1[0].mean(axis=1) - f1[1].mean(axis=1)
    return found


_ENCODER = ("encoder", "mapping", "mapping_seed", "passes", "stains", "objective")


def plan_name(one: Scored) -> str:
    """Encoder and plan in words; those of all orders of a random plan are one."""
    return plan_words(one.cell.to_dict())


def plan_words(said: Mapping[str, Any]) -> str:
    """The same from a row of a table."""
    plan = [part for part in (said["mapping"], said["passes"], "+".join(said["stains"])) if part]
    tuned = [] if said["objective"] == "frozen" else [f"{said['objective']} fine-tuned"]
    return ", ".join([said["encoder"], *plan, *tuned])


def compare_all(
    scored: Sequence[Scored],
    *,
    k: int | None = None,
    votes: str | None = None,
    n_replicates: int = DEFAULT_REPLICATES,
    n_permutations: int = DEFAULT_PERMUTATIONS,
    seed: int = 0,
) -> list[Paired]:
    """Compare every two encoders or plans that a grid measured in the same way, and correct for their number.

    Random channel plans of several seeds are compared with their mean. Holm's correction is over all comparisons, so
    k-NN is compared at one k and with one rule of voting, which must be chosen before the scores are seen.

    Args:
        scored: Of one grid.
        k: Of k-NN; None compares at every k.
        votes: Of k-NN; None compares with every rule.
        n_replicates: Of each bootstrap.
        n_permutations: Of each test.
        seed: Of both.
    """
    settings: defaultdict[tuple[Any, ...], dict[str, dict[int, list[Scored]]]] = defaultdict(dict)
    for one in scored:
        if one.cell.classifier == "knn" and (
            (k or one.cell.k) != one.cell.k or (votes or one.cell.votes) != one.cell.votes
        ):
            continue
        by_name = settings[one.cell.without(*_ENCODER, "seed")]
        by_name.setdefault(plan_name(one), {}).setdefault(one.cell.seed, []).append(one)
    found: list[Paired] = []
    for common, by_name in settings.items():
        where = {name: value for name, value in common if name != "settings"}
        for first, second in itertools.combinations(sorted(by_name), 2):
            seeds = sorted(by_name[first].keys() & by_name[second].keys())
            pairs = [_same_length(by_name[first][s], by_name[second][s]) for s in seeds]
            one_side, other = ([x for pair in pairs for x in pair[side]] for side in (0, 1))
            if not one_side or any(a.groups != b.groups for a, b in zip(one_side, other, strict=True)):
                continue
            gap = compare_pair(one_side, other, n_replicates=n_replicates, n_permutations=n_permutations, seed=seed)
            found.append(
                Paired(
                    first=first,
                    second=second,
                    where=where,
                    n_groups=gap.n_groups,
                    n_seeds=len(seeds),
                    difference=gap.difference,
                    ci95=gap.ci95,
                    detectable=gap.detectable,
                    p=gap.p,
                )
            )
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _same_length(first: list[Scored], second: list[Scored]) -> tuple[list[Scored], list[Scored]]:
    """Each drawn order of a random plan against the one measurement of another: that one is repeated."""
    n = max(len(first), len(second))
    return (first * n if len(first) == 1 else first[:n]), (second * n if len(second) == 1 else second[:n])

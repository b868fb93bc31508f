"""Two encoders on the same groups: the difference of their macro F1, its interval, and what chance does. Pure."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from locatlas.query.benchmark.chosen_k import condition_of, shown_ks
from locatlas.query.benchmark.corrections import holm
from locatlas.query.benchmark.permutation import DEFAULT_PERMUTATIONS, permutation_p, smallest_p, swaps_needed
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import aligned_counts
from locatlas.query.scores.bootstrap import DEFAULT_REPLICATES, replicate_statistics
from locatlas.query.scores.metrics import macro_f1

__all__ = [
    "LEVEL",
    "Comparisons",
    "Gap",
    "Paired",
    "compare_all",
    "compare_pair",
    "detectable_se",
    "plan_name",
    "plan_words",
]

LEVEL, POWER = 0.05, 0.8
"""Of the tests; `Paired.detectable` is what they find with that power."""


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
        detectable: The difference that is found four times in five with so many groups, if their spread is that of
            these and it must pass the correction as the first of all comparisons (`detectable_se` standard errors): a
            smaller one may well be there and not be seen.
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


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Of a whole grid.

    Attributes:
        pairs: With p after correction.
        notes: Which pairs could not be compared and why, and which of those that were could not have been told apart.
    """

    pairs: list[Paired]
    notes: list[str]


def detectable_se(n_tests: int = 1) -> float:
    """Standard errors of a difference that a two-sided test at 5 % / `n_tests` finds four times in five.

    By the normal approximation; 2.80 for one test. The division is what Holm's correction asks of the smallest p.
    """
    normal = NormalDist()
    return normal.inv_cdf(1 - LEVEL / (2 * n_tests)) + normal.inv_cdf(POWER)


def compare_pair(
    first: Sequence[Scored],
    second: Sequence[Scored],
    *,
    n_replicates: int = DEFAULT_REPLICATES,
    n_permutations: int = DEFAULT_PERMUTATIONS,
    n_tests: int = 1,
    seed: int = 0,
) -> Gap:
    """The difference of two encoders' macro F1, mean over seeds, with interval and p.

    The null hypothesis of the test is that the two encoders are exchangeable group by group (protein by protein): under
    it the predictions of any group may be swapped (`permutation.permutation_p`).

    Args:
        first: Of each seed, scored on the same groups as
        second: of the same seeds, in the same order.
        n_replicates: Of the bootstrap.
        n_permutations: Random swaps.
        n_tests: That the detectable difference is corrected for; p is not.
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
    p = permutation_p(counts, n_seeds, difference, n_permutations=n_permutations, seed=seed)
    return Gap(
        difference=difference,
        ci95=(float(low), float(high)),
        detectable=detectable_se(n_tests) * float(gaps.std(ddof=1)),
        p=p,
        n_groups=n,
    )


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
) -> Comparisons:
    """Compare every two encoders or plans that a grid measured in the same way, and correct for their number.

    Random channel plans of several seeds are compared with their mean. Holm's correction is over all comparisons, so
    k-NN is compared at one k and with one rule of voting, which must be chosen before the scores are seen. Two are
    compared on the seeds that both have, where they scored the same rows of the same groups and classes; all others
    are told.

    Args:
        scored: Of one grid.
        k: Of k-NN, or where it exceeds the references the largest that does not; None compares at every k.
        votes: Of k-NN; None compares with every rule.
        n_replicates: Of each bootstrap.
        n_permutations: Of each test; more where the number of tests needs it.
        seed: Of both.
    """
    ks = {} if k is None else shown_ks((one.cell for one in scored), k)
    settings: defaultdict[tuple[Any, ...], dict[str, dict[int, list[Scored]]]] = defaultdict(dict)
    for one in scored:
        cell = one.cell
        if cell.classifier == "knn" and not (
            ks.get(condition_of(cell), cell.k) == cell.k and (votes or cell.votes) == cell.votes
        ):
            continue
        by_name = settings[cell.without(*_ENCODER, "seed")]
        by_name.setdefault(plan_name(one), {}).setdefault(cell.seed, []).append(one)
    sides: list[tuple[str, str, dict[str, Any], list[Scored], list[Scored], int]] = []
    apart: Counter[str] = Counter()
    for common, by_name in settings.items():
        where = {name: value for name, value in common if name != "settings"}
        for first, second in itertools.combinations(sorted(by_name), 2):
            seeds = sorted(by_name[first].keys() & by_name[second].keys())
            pairs = [_same_length(by_name[first][s], by_name[second][s]) for s in seeds]
            one_side, other = ([x for pair in pairs for x in pair[side]] for side in (0, 1))
            if not seeds:
                apart["they have no seed in common"] += 1
            elif not all(_scored_alike(a, b) for a, b in zip(one_side, other, strict=True)):
                apart["they did not score the same rows"] += 1
            else:
                sides.append((first, second, where, one_side, other, len(seeds)))
    n_tests = max(1, sum(len(one_side[0].groups) > 1 for *_, one_side, _, _ in sides))
    n_permutations = swaps_needed(n_tests, n_permutations)
    found: list[Paired] = []
    for first, second, where, one_side, other, n_seeds in sides:
        gap = compare_pair(
            one_side,
            other,
            n_replicates=n_replicates,
            n_permutations=n_permutations,
            n_tests=n_tests,
            seed=seed,
        )
        found.append(
            Paired(
                first=first,
                second=second,
                where=where,
                n_groups=gap.n_groups,
                n_seeds=n_seeds,
                difference=gap.difference,
                ci95=gap.ci95,
                detectable=gap.detectable,
                p=gap.p,
            )
        )
    corrected = holm([one.p for one in found])
    notes = [f"{n} pairs of encoders or plans are not compared: {why}" for why, n in apart.items()]
    blind = [one for one in found if n_tests * smallest_p(one.n_groups, n_permutations) >= LEVEL]
    if blind:
        few = min(one.n_groups for one in blind)
        notes.append(
            f"{len(blind)} of {len(found)} comparisons are of so few groups (from {few} on) that p stays at or above "
            f"{LEVEL:g} after correction, whatever the difference"
        )
    return Comparisons([replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)], notes)


def _scored_alike(first: Scored, second: Scored) -> bool:
    """Whether two scored the same rows, as far as their numbers by group and class tell."""
    return (
        (first.groups, first.classes) == (second.groups, second.classes)
        and np.array_equal(first.n_rows, second.n_rows)
        and np.array_equal(first.counts.support, second.counts.support)
    )


def _same_length(first: list[Scored], second: list[Scored]) -> tuple[list[Scored], list[Scored]]:
    """Repeat the orders that two random plans drew until both are equally many: their means stay, and none is lost."""
    n = math.lcm(len(first), len(second))
    return first * (n // len(first)), second * (n // len(second))

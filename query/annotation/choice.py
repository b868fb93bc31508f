"""Which images are worth an annotator's time: at random, evenly over classes, or those the vote is unsure of. Pure.

Every order comes from a hash of the seed and the id, never from the order of rows or names.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

from locatlas.errors import InputError
from locatlas.query.scores.protocols import hashed_order

__all__ = [
    "Choose",
    "check_choice",
    "choose_at_random",
    "choose_least_certain",
    "choose_per_class",
    "margin",
    "shuffled",
]

Choose = Literal["random", "per-class", "uncertain"]


def check_choice(choose: str, n: int) -> None:
    """Refuse a choice that does not exist, or of no images.

    Raises:
        InputError: If `choose` or `n` is out of range.
    """
    if choose not in get_args(Choose):
        message = f"choose {choose!r}: one of {', '.join(get_args(Choose))} needed"
        raise InputError(message)
    if n < 1:
        message = f"n = {n}: at least 1 needed"
        raise InputError(message)


def shuffled(names: Collection[str], seed: int) -> list[str]:
    """Distinct names in an order that depends on nothing but their set and the seed."""
    ordered = sorted(set(names))
    return [ordered[i] for i in hashed_order(ordered, seed)]


def choose_at_random(ids: Collection[str], n: int, *, seed: int = 0) -> list[str]:
    """A simple random sample.

    Args:
        ids: To choose from.
        n: How many; all where there are fewer.
        seed: Another seed, another sample; a larger n with the same seed contains the smaller sample.

    Returns:
        At most n ids, in hashed order.
    """
    return shuffled(ids, seed)[:n]


def choose_per_class(
    classes: Mapping[str, Collection[str]], groups: Mapping[str, str | None], n: int, *, seed: int = 0
) -> list[str]:
    """As many of each class as there are, up to n in all; within a class one of each group, then a second of each.

    Each step takes from the class that the chosen images have least of, so that an image of several classes counts
    for all of them, and a class that is used up leaves its share to the others.

    Args:
        classes: Classes by id; ids without any are never chosen.
        groups: Group by id, e.g. its protein; an id without one, or missing, is a group of its own.
        n: How many; all that have a class where there are fewer.
        seed: Decides among equals.

    Returns:
        At most n ids, shuffled, so that their order says nothing of their class.
    """
    order = shuffled([i for i, names in classes.items() if names], seed)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for image_id in order:
        for name in set(classes[image_id]):
            members[name].append(image_id)
    queues = {name: iter(_by_turns(mine, groups, seed)) for name, mine in members.items()}
    turn = {name: place for place, name in enumerate(shuffled(queues, seed))}
    taken: Counter[str] = Counter()
    chosen: set[str] = set()
    while queues and len(chosen) < n:
        name = min(queues, key=lambda c: (taken[c], turn[c]))
        found = next((i for i in queues[name] if i not in chosen), None)
        if found is None:
            del queues[name]
            continue
        chosen.add(found)
        taken.update(set(classes[found]))
    return [image_id for image_id in order if image_id in chosen]


def _by_turns(ids: Sequence[str], groups: Mapping[str, str | None], seed: int) -> list[str]:
    """Ids such that each group comes once before any comes twice; groups in hashed order, ids of one as given."""
    # (True, id) is no group's name, whatever that is
    named = {i: groups.get(i) for i in ids}
    group_of = {i: (False, name) if name else (True, i) for i, name in named.items()}
    hashed = {name: place for place, name in enumerate(shuffled({of for _, of in group_of.values()}, seed))}
    seen: Counter[tuple[bool, str]] = Counter()
    ranked = []
    for place, image_id in enumerate(ids):
        mine = group_of[image_id]
        ranked.append((seen[mine], hashed[mine[1]], place, image_id))
        seen[mine] += 1
    return [image_id for *_, image_id in sorted(ranked)]


def margin(votes: Sequence[tuple[Collection[str], float]]) -> float | None:
    """How sure a vote is: the share of its best label set less that of the second best, 0 where there is no second.

    Sets and not single localizations are held against each other: neighbors that all are in the nucleus and in the
    cytoplasm agree, though neither of the two scores is ahead. Where every neighbor has one localization, shares of
    sets are the scores of localizations.

    Args:
        votes: Localizations of each neighbor, and its share of the weight.

    Returns:
        In [0, 1], rounded to 12 decimals, so that equal votes tie in any order; None where nobody voted.
    """
    if not votes:
        return None
    shares: defaultdict[frozenset[str], float] = defaultdict(float)
    for names, share in votes:
        shares[frozenset(names)] += share
    first, second = sorted([*shares.values(), 0.0], reverse=True)[:2]
    return round(first - second, 12)


def choose_least_certain(margins: Mapping[str, float | None], n: int, *, seed: int = 0) -> list[str]:
    """The ids whose vote has the smallest margin, least certain first; equal ones in hashed order.

    Args:
        margins: As `margin` gives them, by id; None is never chosen.
        n: How many; all that have a vote where there are fewer.
        seed: Decides among equals.
    """
    known = {i: value for i, value in margins.items() if value is not None}
    return sorted(shuffled(known, seed), key=known.__getitem__)[:n]

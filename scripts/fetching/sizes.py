"""How much there is to come from a site that lists no sizes: a few files are asked for theirs. Uses the network."""

from collections.abc import Sequence

from fetching.errors import FetchError, NotThereError
from fetching.http import Session, length_of
from fetching.plan import Plan, Remote

__all__ = ["with_guess"]


def with_guess(fields: Sequence[Sequence[Remote]], session: Session, *, asked: int = 12) -> Plan:
    """A plan whose volume is estimated from some of its files.

    Args:
        fields: Files to be fetched, by field of view. Those of one field differ in size by their stain, all in the same
            order, so that the next field is asked for its next stain.
        session: How.
        asked: Files that are asked for (HEAD) at most.

    Raises:
        FetchError: If the server does not answer, or has none of the files that it is asked for. One that it does not
            have counts as empty, as long as it has others.
    """
    sizes = []
    lost: list[Remote] = []
    sample = _sample(fields, asked)
    for file in sample:
        try:
            length = length_of(session.headers(file.url))
        except NotThereError:
            length = 0  # fetching will tell whether it may be missing
            lost.append(file)
        if length is not None:
            sizes.append(length)
    if lost and len(lost) == len(sample) and not all(file.optional for file in lost):
        message = f"{lost[0].url}: not there, nor is any other of {len(sample)} files; the site may have changed"
        raise FetchError(message)
    files = [file for field in fields for file in field]
    return Plan.of(files, guessed_size=sum(sizes) / len(sizes) if sizes else None)


def _sample(fields: Sequence[Sequence[Remote]], n: int) -> list[Remote]:
    """At most so many files without a size: of fields at even steps, of each another place in its field."""
    unknown = [field for one in fields if (field := [file for file in one if file.size is None])]
    taken = unknown[:: max(-(-len(unknown) // n), 1)]
    rounds = range(max(map(len, taken), default=0))
    return [
        field[(number + turn) % len(field)]
        for turn in rounds
        for number, field in enumerate(taken)
        if turn < len(field)
    ][:n]

"""How much there is to come from a site that lists no sizes: a few files are asked for theirs. Uses the network."""

from collections.abc import Sequence

from fetching.errors import NotThereError
from fetching.http import Session
from fetching.plan import Plan, Remote

__all__ = ["with_guess"]


def with_guess(files: Sequence[Remote], session: Session, *, asked: int = 12) -> Plan:
    """A plan whose volume is estimated from some of its files, taken at even steps.

    Args:
        files: To be fetched.
        session: How.
        asked: Files that are asked for (HEAD) at most.

    Raises:
        FetchError: If the server does not answer. A file that it does not have counts as empty.
    """
    step = max(-(-len(files) // asked), 1)
    sizes = []
    for file in [f for f in files if f.size is None][::step]:
        try:
            length = session.headers(file.url).get("Content-Length")
        except NotThereError:
            length = "0"  # fetching will tell whether it may be missing
        if length is not None and length.isdigit():
            sizes.append(int(length))
    return Plan.of(files, guessed_size=sum(sizes) / len(sizes) if sizes else None)

"""Parts handed out, answers put in order and committed: the loop of the one who runs the command. I/O by `Commits`.

Commits are made in the order of the images, whoever answers first, so that what an atlas holds after n commits is what
one machine's run would have put there.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Protocol

from locatlas.indexer.cluster.parts import Answer, Chunk, Died, Part, unpacked
from locatlas.indexer.commits import Commits, Done, Pending
from locatlas.indexer.pipeline import CHUNK_ROWS, COMMIT_ROWS, COMMIT_S, Progress, chunks
from locatlas.interrupts import check_stop

__all__ = ["Pool", "drive"]

AHEAD_CHUNKS = 256
"""Chunks that are with workers or wait for one before them: 65,536 images, some 4 kB each in memory. Keeps 128 workers
busy."""

POLL_S = 0.5
"""Longest wait for workers at a time."""


class Pool(Protocol):
    """Workers.

    Attributes:
        room: Parts that could be given out now.
    """

    @property
    def room(self) -> int:
        """See above."""

    def send(self, todo: deque[Part], data: Callable[[Part], bytes]) -> None:
        """Give out parts from the left of the queue to whoever has room.

        Args:
            todo: What is to be done; what is given out is taken from it.
            data: What a worker gets of a part.
        """

    def outcomes(self, timeout_s: float) -> Iterable[tuple[Part, Answer | Died]]:
        """What became of parts; none if nothing did in so many seconds."""


def drive(pool: Pool, commits: Commits, work: Collection[Pending], *, progress: Progress | None = None) -> None:
    """Have images embedded by workers and commit what comes back.

    Args:
        pool: The workers.
        commits: Where to, and how.
        work: What to embed, by position.
        progress: Told after each answer.
    """
    run = commits.run
    cut = enumerate(chunks(work, CHUNK_ROWS))
    todo: deque[Part] = deque()
    waiting: dict[int, Chunk] = {}
    first = done = 0
    held, committed_at = Done(), time.monotonic()

    def data(part: Part) -> bytes:
        return waiting[part.chunk].sent(part)

    while True:
        wanted = min(AHEAD_CHUNKS - len(waiting), pool.room - len(todo))
        for n, chunk in islice(cut, max(wanted, 0 if waiting else 1)):
            waiting[n] = Chunk.of(chunk)
            todo.append(Part(n, 0, len(chunk)))
        if not waiting:
            return
        with run.timed("workers"):
            pool.send(todo, data)
            came = list(pool.outcomes(POLL_S))
        check_stop()
        for part, outcome in came:
            if isinstance(outcome, Died):
                run.counts["parts lost with their worker"] += 1
                again = part.after(outcome)
                todo.extendleft(reversed(again))
                if again:
                    continue
                outcome = _left_out(waiting[part.chunk], part, outcome)
            for stage, seconds in outcome.seconds.items():
                run.timings_s[f"{stage}, of all workers"] += seconds
            run.read_from_pack(outcome.from_pack)
            if outcome.ran_on:
                run.ran_on.add(outcome.ran_on)
            waiting[part.chunk].put(part, outcome)
            done += len(part)
            if progress:
                progress("embedding", done, len(work))
        while first in waiting and waiting[first].is_whole:
            held.take(waiting.pop(first).done())
            first += 1
            if len(held) >= COMMIT_ROWS:
                commits.put(held)
                held, committed_at = Done(), time.monotonic()
        if len(held) and (not waiting or time.monotonic() - committed_at > COMMIT_S):
            commits.put(held)
            held, committed_at = Done(), time.monotonic()


def _left_out(chunk: Chunk, part: Part, died: Died) -> Answer:
    """What is said of an image that ends its workers."""
    path = unpacked(chunk.data)[part.start].record.sources[0].path
    times = part.deaths + 1
    reason = f"{path}: ended {times} processes, one after another, that were to embed it and nothing else"
    return Answer(rejected=[(0, f"{reason} ({died.reason})")])

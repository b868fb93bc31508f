"""What is sent to a worker, what it answers, and what becomes of a part whose worker died. Pure.

An image may end the process that embeds it, though files are decoded in another one: a fault of a driver, memory that
is not there. So a part over which a worker died is given out once more, to a worker that has nothing else; if that one
dies too, its images are given out one by one; and an image that ends two workers, each of which had nothing else, goes
to quarantine.
"""

import pickle
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.commits import Done, Loaded, Pending

__all__ = ["LOST_IN_A_ROW", "OPEN_PARTS", "Answer", "Chunk", "Died", "Part", "given_out", "packed", "room", "unpacked"]

OPEN_PARTS = 2
"""Parts that a worker has at a time: one is read while the other is encoded."""

LOST_IN_A_ROW = 30
"""Workers lost one after another, with no part embedded in between, after which a run gives up."""

DEATHS = 2
"""Workers that an image may end, each of which had nothing else."""

W = TypeVar("W")


def packed(work: Sequence[Pending]) -> bytes:
    """Some images on their way to a worker: what is alike in them is sent once."""
    return zlib.compress(pickle.dumps(list(work), pickle.HIGHEST_PROTOCOL), 1)


def unpacked(data: bytes) -> list[Pending]:
    """What `packed` has packed; from the same cluster only, whose processes trust each other."""
    found: list[Pending] = pickle.loads(zlib.decompress(data))  # noqa: S301
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """Images that one worker embeds in one go.

    Attributes:
        chunk: Number of its chunk.
        start: Of its first image in the chunk.
        stop: After its last one.
        alone: Whether its worker is to have nothing else, because one died over it.
        deaths: Of workers that had nothing else than this one image.
    """

    chunk: int
    start: int
    stop: int
    alone: bool = False
    deaths: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def after(self, died: "Died") -> "list[Part]":
        """What is to be given out instead; nothing if its one image is to be left out."""
        if not died.blamed:
            return [self]
        if not self.alone:
            return [replace(self, alone=True)]
        if len(self) > 1:
            return [Part(self.chunk, n, n + 1, alone=True) for n in range(self.start, self.stop)]
        again = replace(self, deaths=self.deaths + 1)
        return [again] if again.deaths < DEATHS else []


@dataclass(frozen=True, slots=True)
class Died:
    """A worker is gone, and with it a part.

    Attributes:
        reason: One line.
        blamed: Whether the part may be the cause: not where the whole machine is gone.
    """

    reason: str
    blamed: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a worker made of a part.

    Attributes:
        places: Of the images that were embedded, in the part.
        columns: For each of these what its pixels tell (`commits.FROM_PIXELS`); None where its row says so already.
        vectors: (n, d) float32, a row for each place.
        rejected: Place and reason of those that could not be.
        seconds: That the worker took, by stage.
        ran_on: Where its encoder runs (`Encoder.ran_on`).
        from_pack: Images that it read decoded since its answer before.
    """

    places: Sequence[int] = ()
    columns: Sequence[dict[str, Any] | None] = ()
    vectors: NDArray[np.float32] | None = None
    rejected: Sequence[tuple[int, str]] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    ran_on: str = ""
    from_pack: int = 0


def room(held: Collection[Part]) -> int:
    """Parts that a worker could be given beside those that it has."""
    return 0 if any(part.alone for part in held) else OPEN_PARTS - len(held)


def given_out(
    todo: deque[Part], workers: Collection[W], held: Callable[[W], Collection[Part]]
) -> Iterator[tuple[W, Part]]:
    """Who is to be given which part: who has least; a part that is to be alone goes to a worker that has nothing.

    Args:
        todo: What is to be done, from the left; what is given out is taken from it.
        workers: Those that are ready.
        held: What a worker has; grows with each pair, before the next one is asked for.
    """
    while todo:
        free = [one for one in workers if room(held(one)) and not (todo[0].alone and held(one))]
        if not free:
            return
        yield min(free, key=lambda one: len(held(one))), todo.popleft()


@dataclass(slots=True, eq=False)
class Chunk:
    """Images that are committed together, and what came back of them.

    Attributes:
        data: The images, packed: many chunks wait.
        n: How many.
        answers: By the place of their part's first image.
        answered: Images of which something came back.
    """

    data: bytes
    n: int
    answers: dict[int, Answer] = field(default_factory=dict)
    answered: int = 0

    @classmethod
    def of(cls, work: Sequence[Pending]) -> "Chunk":
        """A chunk of these images."""
        return cls(packed(work), len(work))

    def sent(self, part: Part) -> bytes:
        """What a worker gets of it."""
        return self.data if len(part) == self.n else packed(unpacked(self.data)[part.start : part.stop])

    def put(self, part: Part, answer: Answer) -> None:
        """Keep an answer."""
        self.answers[part.start] = answer
        self.answered += len(part)

    @property
    def is_whole(self) -> bool:
        """Whether every image was answered."""
        return self.answered == self.n

    def done(self) -> Done:
        """What is to be committed, in the order of the images."""
        work, done = unpacked(self.data), Done()
        for start, answer in sorted(self.answers.items()):
            for place, columns in zip(answer.places, answer.columns, strict=True):
                pending = work[start + place]
                done.good.append(Loaded(pending, {**pending.row, **(columns or {})}, None))
            if answer.vectors is not None:
                done.vectors.append(answer.vectors)
            for place, reason in answer.rejected:
                pending = work[start + place]
                done.bad.append((pending.row, pending.rejected(reason)))
        return done

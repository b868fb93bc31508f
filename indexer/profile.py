"""Where the seconds of an embedding run go: of the thread that encodes, and of those that read ahead beside it."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locatlas.indexer.reading import EncoderLike

__all__ = ["Profile", "worked"]

RESIDENT_ROUNDS = 5
"""How often a batch that lies ready is encoded to tell the encoder's own rate."""

RESIDENT_S = 5.0
"""After so many seconds no further round is begun."""

IN_TURN = {
    "read": "waiting for images",
    "encode": "encoder",
    "commit": "committing",
    "wait": "waiting for the lock",
    "rest": "resting",
}
"""What the thread that encodes does, one after another, by the ledger's word; what is left of its time is "other"."""

BESIDE = ("reading and decoding", "describing", "preparing")
"""What the threads that read ahead do, at the same time as each other and as the encoder."""


class Profile:
    """Seconds of stages, taken from any number of threads.

    Attributes:
        images: Images that were encoded.
        wall_s: Seconds from the first image asked for to the last commit.
        resident_rates: Images a second of the encoder alone, on a batch that lay ready; one number a round.
        resident_s: Seconds that this took, after `wall_s`.
    """

    def __init__(self) -> None:
        self.images = 0
        self.wall_s = 0.0
        self.resident_rates: list[float] = []
        self.resident_s = 0.0
        self._in_turn: defaultdict[str, float] = defaultdict(float)
        self._beside: defaultdict[str, float] = defaultdict(float)
        self._beside_core: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()
        self._batch: Sequence[Any] = ()

    @contextmanager
    def run(self, timings_s: Mapping[str, float]) -> Iterator[None]:
        """Add a block to the whole time, and what it adds to the ledger's seconds to the stages `IN_TURN`.

        Args:
            timings_s: Of the run; looked at before and after.
        """
        before, began = dict(timings_s), time.perf_counter()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - began
            for word, stage in IN_TURN.items():
                self._in_turn[stage] += timings_s.get(word, 0.0) - before.get(word, 0.0)

    @contextmanager
    def beside(self, stage: str) -> Iterator[None]:
        """Add a block of a thread that reads ahead to one of `BESIDE`: its seconds, and those that it had a core."""
        began, core = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            seconds, worked_s = time.perf_counter() - began, time.thread_time() - core
            with self._lock:
                self._beside[stage] += seconds
                self._beside_core[stage] += worked_s

    def encoded(self, batch: Sequence[Any]) -> None:
        """Count a batch, and keep the largest one for `measure_encoder`."""
        self.images += len(batch)
        if len(batch) > len(self._batch):
            self._batch = list(batch)

    def measure_encoder(self, encoder: "EncoderLike") -> None:
        """Encode the largest batch a few times more, when nothing else of the run works; for its time alone."""
        if not self._batch:
            return
        rates: list[float] = []
        started = time.perf_counter()
        while len(rates) < RESIDENT_ROUNDS and time.perf_counter() - started < RESIDENT_S:
            began = time.perf_counter()
            encoder.encode_prepared(self._batch)
            rates.append(len(self._batch) / (time.perf_counter() - began))
        self.resident_s += time.perf_counter() - started
        self.resident_rates += rates
        self._batch = ()

    def to_dict(self) -> dict[str, Any]:
        """The part `profile` of the JSON document.

        Returns:
            `images`, `wall_s`, `images_per_s`; `in_turn_s` adds up to `wall_s`, since these stages follow each other;
            `beside_s` are seconds of threads, of which several pass at once, `beside_core_s` those of them in which the
            thread had a core: a decoding process of its own is waited for without one. `encoder_images_per_s` is the
            best of the rounds on a batch that lay ready, with its preparing where the device prepares, which took
            `encoder_s` after the run; `share_of_encoder` is how much of it the whole path reached; both None where
            nothing was encoded.
        """
        in_turn = {stage: self._in_turn.get(stage, 0.0) for stage in IN_TURN.values()}
        in_turn["other"] = max(0.0, self.wall_s - sum(in_turn.values()))
        rate = self.images / self.wall_s if self.wall_s else None
        alone = max(self.resident_rates, default=None)
        return {
            "images": self.images,
            "wall_s": round(self.wall_s, 3),
            "images_per_s": None if rate is None else round(rate, 3),
            "in_turn_s": {stage: round(seconds, 3) for stage, seconds in in_turn.items()},
            "beside_s": {stage: round(self._beside.get(stage, 0.0), 3) for stage in BESIDE},
            "beside_core_s": {stage: round(self._beside_core.get(stage, 0.0), 3) for stage in BESIDE},
            "encoder_images_per_s": None if alone is None else round(alone, 3),
            "encoder_s": round(self.resident_s, 3),
            "share_of_encoder": None if alone is None or rate is None else round(rate / alone, 3),
        }


def worked(profile: Profile | None, stage: str) -> AbstractContextManager[None]:
    """`profile.beside(stage)`, or nothing where nobody asked for a profile."""
    return nullcontext() if profile is None else profile.beside(stage)

"""Workers as Ray actors: started where there is room, replaced when they die, asked for parts. Uses Ray.

Ray restarts nothing by itself here: whether a part is given out again is decided by what became of it before (`parts`).
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from locatlas.errors import LocatlasError
from locatlas.indexer.cluster.parts import LOST_IN_A_ROW, OPEN_PARTS, Answer, Died, Part, given_out, room
from locatlas.indexer.cluster.worker import Sight, Worker
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.models.spec import EncoderSpec

__all__ = ["RayPool"]

logger = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""How long a run waits for a first or another worker where it has none."""

GROW_S = 10.0
"""How often the cluster is looked at for room for more workers."""

_DETAIL = re.compile(r"(?:exit detail|Worker exit detail|death_cause|cause)[:=]\s*(.{1,160}?)(?:\.\s|\.$|\n|$)")


@dataclass(eq=False)
class _Actor:
    """A worker as the pool sees it.

    Attributes:
        handle: Ray's.
        node: Ray's name of its machine, once it is ready.
        process: Number of its process there.
        parts: What it was given, by Ray's reference of the answer.
    """

    handle: Any
    node: str | None = None
    process: int | None = None
    parts: dict[Any, Part] = field(default_factory=dict)


class RayPool:
    """The workers of one encoder.

    Args:
        spec: Of the encoder.
        sight: What each machine must see.
        cpus: Of each worker.
        gpus: Of each worker, 0 where the cluster has none.
        workers: How many; None for as many as the cluster has room for, now and later.
        atlas: Whose decoded images they use where they see its folder.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        sight: Sight,
        *,
        cpus: int,
        gpus: int,
        workers: int | None,
        atlas: AtlasFolder | None = None,
    ) -> None:
        # a crash of the whole process is no error of Ray's, and what is given out again is decided here
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        kind = ray.remote(Worker).options(**options, max_concurrency=OPEN_PARTS, scheduling_strategy="SPREAD")
        self._make = lambda: _Actor(kind.remote(spec, sight, cpus, atlas=atlas))
        self._cpus, self._gpus, self._workers = cpus, gpus, workers
        self._actors: list[_Actor] = []
        self._starting: dict[Any, _Actor] = {}
        self._unfit = 0
        self._lost = 0
        self._looked_at = self._had_one_at = time.monotonic()
        self._ever_ready = False
        self._grow()

    @property
    def room(self) -> int:
        """Parts that could be given out now."""
        return sum(room(actor.parts.values()) for actor in self._actors)

    def send(self, todo: deque[Part], data: Callable[[Part], bytes]) -> None:
        """See `drive.Pool`."""
        for actor, part in given_out(todo, self._actors, lambda one: one.parts.values()):
            actor.parts[actor.handle.embed.remote(data(part))] = part

    def outcomes(self, timeout_s: float) -> list[tuple[Part, Answer | Died]]:
        """See `drive.Pool`.

        Raises:
            LocatlasError: If a worker says that it cannot do it, none is there for long, or all die.
        """
        if time.monotonic() - self._looked_at > GROW_S:
            self._grow()
        asked = [*self._starting, *(ref for actor in self._actors for ref in actor.parts)]
        if not asked:
            time.sleep(timeout_s)
        ready = ray.wait(asked, num_returns=1, timeout=timeout_s)[0] if asked else []
        if ready:
            # what came at the same time
            ready = ray.wait(asked, num_returns=len(asked), timeout=0)[0]
        found: list[tuple[Part, Answer | Died]] = []
        for ref in ready:
            if ref in self._starting:
                self._started(ref)
            elif (actor := next((a for a in self._actors if ref in a.parts), None)) is not None:
                found += self._answered(actor, ref)
        self._check_patience()
        return found

    def _started(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        try:
            actor.node, actor.process = ray.get(ref)
        except RayTaskError as error:
            cause = error.cause
            if not isinstance(cause, LocatlasError):
                raise
            if not self._ever_ready:
                raise cause from None
            # a machine that came later, and is no help
            logger.warning("%s; goes on without it", cause)
            self._unfit += 1
        except RayError as error:
            logger.warning("a worker died while it was started (%s)", _cause(error))
            self._note_lost(error)
        else:
            self._actors.append(actor)
            self._ever_ready = True
            return
        ray.kill(actor.handle)

    def _answered(self, actor: _Actor, ref: Any) -> list[tuple[Part, Answer | Died]]:
        try:
            answer: Answer = ray.get(ref)
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except RayError as error:
            parts = list(actor.parts.values())
            self._actors.remove(actor)
            ray.kill(actor.handle)
            blamed = isinstance(error, ActorDiedError) and self._is_alive(actor.node)
            if blamed:
                self._note_lost(error)
            logger.warning("a worker is gone (%s); its open work is given to others", _cause(error))
            self._grow()
            return [(part, Died(_cause(error), blamed=blamed)) for part in parts]
        self._lost = 0
        return [(actor.parts.pop(ref), answer)]

    def _note_lost(self, error: RayError) -> None:
        self._lost += 1
        if self._lost >= LOST_IN_A_ROW:
            message = f"{self._lost} workers died one after another without an answer, the last one: {_cause(error)}"
            raise LocatlasError(message)

    @staticmethod
    def _is_alive(node: str | None) -> bool:
        return any(one["NodeID"] == node and one["Alive"] for one in ray.nodes())

    def _grow(self) -> None:
        """As many workers as are wanted; those for which there is no room yet wait for it."""
        self._looked_at = time.monotonic()
        wanted = self._capacity() if self._workers is None else self._workers
        for _ in range(wanted - self._unfit - len(self._actors) - len(self._starting)):
            actor = self._make()
            self._starting[actor.handle.ready.remote()] = actor

    def _capacity(self) -> int:
        """Workers that the machines of the cluster have room for, if nobody else uses it."""
        found = 0
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                room = has.get("CPU", 0) // self._cpus
                found += int(min(room, has.get("GPU", 0) // self._gpus) if self._gpus else room)
        return found

    def _check_patience(self) -> None:
        now = time.monotonic()
        if self._actors:
            self._had_one_at = now
        elif now - self._had_one_at > PATIENCE_S:
            what = f"{self._cpus} CPU" + (f" and {self._gpus} GPU" if self._gpus else "")
            message = f"the cluster had no room for a worker of {what} for {PATIENCE_S:.0f} s"
            raise LocatlasError(message)

    def close(self) -> None:
        """End the workers."""
        for actor in (*self._actors, *self._starting.values()):
            ray.kill(actor.handle)
        self._actors, self._starting = [], {}


def _cause(error: RayError) -> str:
    """What Ray says of a death, on one line."""
    text = str(error)
    found = _DETAIL.search(text)
    return " ".join((found[1] if found else text.splitlines()[0])[:160].split())

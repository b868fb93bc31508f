"""Many files brought here at once. Uses the network and writes files."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from fetching.errors import FetchError, NotThereError
from fetching.http import Session
from fetching.plan import Plan, Remote, in_words
from fetching.transfer import Stopped, fetch, is_here

__all__ = ["Outcome", "fetch_all"]

_GIVE_UP_AFTER = 5
"""Files in a row that could not be fetched, each after all its retries: the server is down, or is not to be reached.
Those that it says it does not have are no sign of that."""

Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Outcome:
    """What became of a plan.

    Attributes:
        fetched: Brought here now.
        were_here: Were here before.
        missing: Optional ones that the source does not have.
        failed: With the reason, in one line.
        given_up: Not tried any more.
    """

    fetched: list[Remote] = field(default_factory=list)
    were_here: list[Remote] = field(default_factory=list)
    missing: list[Remote] = field(default_factory=list)
    failed: list[tuple[Remote, str]] = field(default_factory=list)
    given_up: int = 0

    @property
    def here(self) -> list[Remote]:
        """All that are here, in the order of their paths."""
        return sorted([*self.fetched, *self.were_here], key=lambda f: f.path)

    def raise_if_failed(self) -> None:
        """Say what could not be fetched.

        Raises:
            FetchError: In one line, if anything was not.
        """
        if not self.failed:
            return
        n = len(self.failed) + self.given_up
        more = f"{n} files could not be fetched, the first: " if n > 1 else ""
        message = f"{more}{self.failed[0][1]} (the same command goes on from here)"
        raise FetchError(message)


def fetch_all(
    plan: Plan,
    folder: Path,
    session: Session,
    *,
    workers: int = 4,
    progress: Progress | None = None,
    noted: Mapping[str, int] | None = None,
) -> Outcome:
    """Bring all files of a plan here, several at once; those that are here already are checked and left alone.

    Args:
        plan: What.
        folder: Below which the paths are; held by `alone_in`, where others may fetch into it.
        session: How, shared by all workers.
        workers: Files at a time.
        progress: Told of what goes on, bytes done and bytes in all (0 where the volume is not known).
        noted: Bytes that files had when they came, by path: one that has others now is fetched again.

    Raises:
        FetchError: If the disk has no room for it.
        KeyboardInterrupt: As it comes; what has arrived stays, and the same call goes on.
    """
    outcome = Outcome()
    todo: list[Remote] = []
    for file in plan.files:
        here = is_here(file, folder, noted_size=(noted or {}).get(file.path))
        (outcome.were_here if here else todo).append(file)
    left = Plan(tuple(todo), plan.guessed_size)
    _check_room(left, folder)
    bar = _Bar(left, progress)
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        try:
            _run(pool, iter(todo), outcome, workers, lambda file: fetch(file, folder, session, stop=stop, got=bar.got))
        finally:
            stop.set()  # after a KeyboardInterrupt; without one nothing is running any more
    outcome.given_up = len(todo) - len(outcome.fetched) - len(outcome.missing) - len(outcome.failed)
    return outcome


def _run(
    pool: ThreadPoolExecutor,
    todo: Iterator[Remote],
    outcome: Outcome,
    workers: int,
    fetch_one: Callable[[Remote], Path],
) -> None:
    """Keep as many running as there are workers, so that a stop does not have to undo a queue."""
    running: dict[Future[Path], Remote] = {}
    failures = 0
    while True:
        while len(running) < workers and failures < _GIVE_UP_AFTER and (file := next(todo, None)) is not None:
            running[pool.submit(fetch_one, file)] = file
        if not running:
            return
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            file = running.pop(done)
            try:
                done.result()
            except Stopped:
                pass
            except FetchError as error:
                if file.optional and isinstance(error, NotThereError):
                    outcome.missing.append(file)
                    failures = 0
                    continue
                # a server that says so is not down: what it has lost must not keep the rest from coming
                failures = 0 if isinstance(error, NotThereError) else failures + 1
                outcome.failed.append((file, str(error)))
            else:
                failures = 0
                outcome.fetched.append(file)


def _check_room(plan: Plan, folder: Path) -> None:
    volume = plan.volume
    if not volume:
        return
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if volume > free:
        message = f"{folder}: {in_words(volume)} are to come, {in_words(free)} are free"
        raise FetchError(message)


class _Bar:
    """Bytes of all threads together."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self._total = plan.volume or 0
        self._what = plan.in_words()
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def got(self, n_bytes: int) -> None:
        with self._lock:
            self._done += n_bytes
            if self._progress is not None:
                self._progress(self._what, self._done, self._total)

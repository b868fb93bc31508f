"""Many files brought here at once. Uses the network and writes files."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from fetching.errors import FetchError, NotThereError, Stopped
from fetching.http import Session
from fetching.plan import Plan, Remote, in_words
from fetching.transfer import fetch, is_here
from fetching.verify import is_proved

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
        proved: Paths of those brought here now whose digest is known and right.
        missing: Optional ones that the source does not have.
        failed: With the reason, in one line.
        given_up: Not tried any more.
    """

    fetched: list[Remote] = field(default_factory=list)
    were_here: list[Remote] = field(default_factory=list)
    proved: set[str] = field(default_factory=set)
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
    outcome: Outcome | None = None,
) -> Outcome:
    """Bring all files of a plan here, several at once; those that are here already are checked and left alone.

    Args:
        plan: What.
        folder: Below which the paths are; held by `alone_in`, where others may fetch into it.
        session: How, shared by all workers.
        workers: Files at a time.
        progress: Told of what goes on, bytes done and bytes in all (0 where the volume is not known).
        noted: Bytes that files had when they came, by path: one that has others now is fetched again.
        outcome: Filled as files come, so that it is known after an interrupt as well.

    Raises:
        FetchError: If the disk has no room for it.
        KeyboardInterrupt: As it comes, after one silence of the server at the longest. What has arrived stays, and the
            same call goes on, with another session: this one is stopped.
    """
    outcome = outcome or Outcome()
    todo: list[Remote] = []
    for file in plan.files:
        here = is_here(file, folder, noted_size=(noted or {}).get(file.path))
        (outcome.were_here if here else todo).append(file)
    left = Plan(tuple(todo), plan.guessed_size)
    _check_room(left, folder)
    bar = _Bar(left, progress)

    def bring(file: Remote) -> bool:
        path = fetch(file, folder, session, got=bar.got)
        # other digests have just been checked; those of parts are tried while the file is still in memory
        return is_proved(path, file.digest) if (file.digest or "").startswith("etag:") else file.digest is not None

    running: dict[Future[bool], Remote] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            _run(lambda file: pool.submit(bring, file), running, iter(todo), outcome, workers)
        except BaseException:  # Ctrl-C above all: what has come is to be noted; raised again
            session.stopped.set()
            for done in wait(running).done:
                _note(done, running[done], outcome)
            raise
    outcome.given_up = len(todo) - len(outcome.fetched) - len(outcome.missing) - len(outcome.failed)
    return outcome


def _run(
    begin: Callable[[Remote], Future[bool]],
    running: dict[Future[bool], Remote],
    todo: Iterator[Remote],
    outcome: Outcome,
    workers: int,
) -> None:
    """Keep as many running as there are workers, so that a stop does not have to undo a queue."""
    failures = 0
    while True:
        while len(running) < workers and failures < _GIVE_UP_AFTER and (file := next(todo, None)) is not None:
            running[begin(file)] = file
        if not running:
            return
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            answered = _note(done, running.pop(done), outcome)
            failures = 0 if answered else failures + 1


def _note(done: Future[bool], file: Remote, outcome: Outcome) -> bool:
    """Note what became of a file.

    Returns:
        Whether the server has answered. One that says that it has no such file is not down, and what it has lost must
        not keep the rest from coming.
    """
    try:
        proved = done.result()
    except Stopped:
        return True
    except NotThereError as error:
        if file.optional:
            outcome.missing.append(file)
        else:
            outcome.failed.append((file, str(error)))
        return True
    except FetchError as error:
        outcome.failed.append((file, str(error)))
        return False
    outcome.fetched.append(file)
    if proved:
        outcome.proved.add(file.path)
    return True


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

"""The `runs` table: what was done, with which versions, how long it took, and what was interrupted. I/O."""

import datetime as dt
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from locatlas.errors import AtlasLockedError, StoreDamagedError
from locatlas.indexer.store.schema import RUNS
from locatlas.indexer.store.tables import Store

__all__ = ["FROM_PACK", "Run", "versions"]

FROM_PACK = "read from the pack"
"""Word of a count: images whose pixels were read decoded."""

_PACKAGES = (
    "locatlas",
    "torch",
    "timm",
    "pylance",
    "pyarrow",
    "numpy",
    "tifffile",
    "faiss-gpu",
    "faiss-cpu",
)


def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on; absent ones are left out."""
    return dict(_versions())


@cache
def _versions() -> Mapping[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Run:
    """One run of a writing command. Use `Run.record(...)` or `Run.record_beside(...)`.

    Attributes:
        id: Sortable by start, unique.
        counts: What was done, by word.
        commits: Commits of images, and of fields searched for cells.
        timings_s: Seconds by stage.
        runtime: What ran the encoder, with its version; kept among the versions. None where nothing was encoded.
        ran_on: Devices that ran it, and whether they prepared its images, too; kept among the versions.
    """

    def __init__(self, store: Store, command: str, *, dataset: str | None) -> None:
        self._store = store
        self._started = dt.datetime.now(dt.UTC)
        self.id = f"{self._started:%Y%m%dT%H%M%S.%fZ}-{os.getpid()}"
        self.command = command
        self.dataset = dataset
        self.level: str | None = None
        self.fingerprint: str | None = None
        self.counts: Counter[str] = Counter()
        self.commits = 0
        self.timings_s: defaultdict[str, float] = defaultdict(float)
        self.runtime: str | None = None
        self.ran_on = set[str]()
        self._digest = hashlib.blake2b(digest_size=16)
        self._wrote = False

    def wrote(self, ids: Sequence[str]) -> None:
        """Note ids whose rows are committed."""
        for i in ids:
            self._digest.update(i.encode() + b"\n")

    def read_from_pack(self, n: int) -> None:
        """Count images whose pixels were read decoded (`locatlas pack`)."""
        if n:
            self.counts[FROM_PACK] += n

    @property
    def has_written(self) -> bool:
        """Whether anything was committed."""
        return self._wrote

    def touched(self) -> None:
        """Say that something is about to be committed; the first time, the run is written as running."""
        if not self._wrote:
            self._wrote = True
            self._save("running", finished=False)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_s[stage] += time.perf_counter() - start

    def _save(self, state: str, *, finished: bool) -> None:
        row: dict[str, Any] = {
            "id": self.id,
            "command": self.command,
            "state": state,
            "started_at": self._started,
            "finished_at": dt.datetime.now(dt.UTC) if finished else None,
            "dataset": self.dataset,
            "level": self.level,
            "fingerprint": self.fingerprint,
            "counts": json.dumps(self.counts, sort_keys=True),
            "versions": json.dumps(versions() | self._run_by(), sort_keys=True),
            "timings_s": json.dumps({k: round(v, 3) for k, v in self.timings_s.items()}, sort_keys=True),
            "ids_digest": self._digest.hexdigest() if self._wrote else None,
        }
        self._store.upsert("runs", pa.Table.from_pylist([row], schema=RUNS))

    def _run_by(self) -> dict[str, str]:
        """What ran the encoder, and where."""
        found = {"runtime": self.runtime or "", "device": "; ".join(sorted(self.ran_on))}
        return {name: said for name, said in found.items() if said}

    @staticmethod
    def _close_dead(store: Store) -> None:
        """Close what still says that it runs: it is of a process that died, because we hold the lock.

        A re-embedding holds it for its commits only; which one goes on, its own lock tells. Digests of what they
        committed last are taken now.
        """
        store.take_late_digests()
        owner = store.folder.reembedding_owner()
        alive = None if owner is None else owner.run
        dead = [row for row in store.read("runs").to_pylist() if row["state"] == "running" and row["id"] != alive]
        if dead:
            rows = [{**row, "state": "interrupted"} for row in dead]
            store.upsert("runs", pa.Table.from_pylist(rows, schema=RUNS))

    @classmethod
    @contextmanager
    def record(cls, store: Store, command: str, *, dataset: str | None = None) -> Iterator["Run"]:
        """A run that is written at its first commit, and closed as done or failed.

        A run that changes nothing leaves no trace: the second run of a command does nothing. One that was stopped by
        a signal is closed as interrupted, like one that was killed, which the next run closes even if it does nothing.
        The writer lock must be held.
        """
        cls._close_dead(store)
        run = cls(store, command, dataset=dataset)
        try:
            yield run
        except BaseException as error:
            if run._wrote:
                # what went wrong first is what matters: the ledger may be unwritable for the same reason
                with suppress(StoreDamagedError):
                    run._save(_ended(error), finished=True)
            raise
        run.close()

    @classmethod
    @contextmanager
    def record_beside(cls, store: Store, command: str) -> Iterator["Run"]:
        """A run that holds the lock of re-embeddings, and the writer lock only while it commits.

        The block closes it with `close` together with its last commit. Where it fails while another process writes, the
        next run closes it.

        Raises:
            AtlasLockedError: If the atlas is being re-embedded.
        """
        run = cls(store, command, dataset=None)
        with store.folder.reembedding(command, run.id):
            try:
                # whoever writes now has closed the dead when it began
                with suppress(AtlasLockedError), store.folder.writer(command, brief=True):
                    cls._close_dead(store)
                yield run
            except BaseException as error:
                if run._wrote:
                    with suppress(StoreDamagedError, AtlasLockedError), store.folder.writer(command, brief=True):
                        run._save(_ended(error), finished=True)
                raise

    def close(self) -> None:
        """Say that it is done, if it wrote anything; the writer lock is held."""
        if self._wrote:
            self._save("done", finished=True)


def _ended(error: BaseException) -> str:
    return "failed" if isinstance(error, Exception) else "interrupted"

"""The `quarantine` table: sources that could not be used, and why; forgotten once they can. I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from locatlas.indexer.schema import QUARANTINE
from locatlas.indexer.store import Store

__all__ = ["Quarantine", "Rejection"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A source that could not be used.

    Attributes:
        dataset: Name of its data set.
        source: Root-relative path, or what the reader called it.
        reason: One line.
        stat: Size and time of its files; while they are the same it is not tried again. None: try each time.
    """

    dataset: str
    source: str
    reason: str
    stat: str | None = None

    @property
    def id(self) -> str:
        """Key in the table."""
        return "".join(c if c.isprintable() else "?" for c in f"{self.dataset}:{self.source}")


class Quarantine:
    """What is in quarantine now, with the changes of this run held back until `commit`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        rows = store.read("quarantine").to_pylist()
        self._known = {r["id"]: Rejection(r["dataset"], r["source"], r["reason"], r["source_stat"]) for r in rows}
        self._put: dict[str, Rejection] = {}
        self._drop: set[str] = set()
        self.seen: dict[str, Rejection] = {}

    def still(self, dataset: str, source: str, stat: str | None) -> Rejection | None:
        """The rejection of this source if its files have not changed since."""
        known = self._known.get(Rejection(dataset, source, "").id)
        if known is not None and stat is not None and known.stat == stat:
            self.seen[known.id] = known
            return known
        return None

    def put(self, rejection: Rejection) -> None:
        """Reject a source; written at the next commit unless the same already stands there."""
        self.seen[rejection.id] = rejection
        if self._known.get(rejection.id) != rejection:
            self._put[rejection.id] = rejection

    def release(self, dataset: str, sources: Iterable[str]) -> None:
        """These sources can be used now."""
        for source in sources:
            key = Rejection(dataset, source, "").id
            if key in self._known:
                self._drop.add(key)

    def commit(self, run_id: str) -> int:
        """Write what changed.

        Returns:
            How many rows were put or dropped.
        """
        changed = len(self._put) + len(self._drop)
        if self._put:
            rows = [self._row(key, r, run_id) for key, r in self._put.items()]
            self._store.upsert("quarantine", pa.Table.from_pylist(rows, schema=QUARANTINE))
        self._store.delete("quarantine", sorted(self._drop))
        self._known.update(self._put)
        for key in self._drop:
            self._known.pop(key, None)
        self._put, self._drop = {}, set()
        return changed

    @staticmethod
    def _row(key: str, rejection: Rejection, run_id: str) -> Mapping[str, str | None]:
        return {
            "id": key,
            "dataset": rejection.dataset,
            "source": rejection.source,
            "reason": rejection.reason,
            "source_stat": rejection.stat,
            "run_id": run_id,
        }

"""The `quarantine` table: sources that could not be used, and why; forgotten once they can. I/O."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.schema import QUARANTINE
from locatlas.indexer.store.tables import Store

__all__ = ["Quarantine", "Rejection", "rejection_id"]


def rejection_id(dataset: str, root: str | None, source: str) -> str:
    """Key of a source in the table: the same path below two roots is two sources."""
    return unicodedata.normalize("NFC", _printable(f"{dataset}:{root or ''}:{source}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A source that could not be used.

    Attributes:
        dataset: Name of its data set.
        root: Name of the declared root that it lies under.
        source: Root-relative path, or what the reader called it.
        reason: One line.
        tried: Digest of its files' sizes and times, of what was said of them and of the encoder; while it is the same
            the source is not tried again. None: try each time.
    """

    dataset: str
    root: str | None
    source: str
    reason: str
    tried: str | None = None

    @property
    def id(self) -> str:
        """Key in the table."""
        return rejection_id(self.dataset, self.root, self.source)


class Quarantine:
    """What is in quarantine now, with the changes of this run held back until `commit`.

    Attributes:
        seen: What this run met, by key: rejected now, or earlier and not changed since.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = _read(store)
        self._put: dict[str, Rejection] = {}
        self._drop: set[str] = set()
        self.seen: dict[str, Rejection] = {}

    def read_again(self) -> None:
        """Look at the table anew, where others write between the commits; what they repaired was not met."""
        self._known = _read(self._store)
        self.seen = {key: seen for key, seen in self.seen.items() if key in self._known or key in self._put}

    def holds(self, key: str) -> bool:
        """Whether a source is in quarantine now."""
        return key in self.seen or (key in self._known and key not in self._drop)

    def still(self, key: str, tried: str) -> bool:
        """Whether a source is in quarantine and nothing that decided so has changed since."""
        known = self._known.get(key)
        if known is None or known.tried != tried:
            return False
        self.seen.setdefault(key, known)
        return True

    def put(self, rejection: Rejection) -> None:
        """Reject a source; written at the next commit unless the same already stands there.

        The first reason of a run stays, so that two records of one file do not take turns.
        """
        rejection = Rejection(
            dataset=rejection.dataset,
            root=rejection.root,
            source=_printable(rejection.source),
            reason=_printable(" ".join(rejection.reason.split())),
            tried=rejection.tried,
        )
        if self.seen.setdefault(rejection.id, rejection) is rejection:
            self._drop.discard(rejection.id)
            if self._known.get(rejection.id) != rejection:
                self._put[rejection.id] = rejection

    def release(self, key: str) -> None:
        """This source can be used now."""
        if key in self._known and key not in self.seen:
            self._drop.add(key)

    def withdraw(self, key: str) -> None:
        """The image of this source is not to be in the atlas any more: whatever was met of it, in this run too."""
        self.seen.pop(key, None)
        self._put.pop(key, None)
        if key in self._known:
            self._drop.add(key)

    def forget(self, dataset: str, root: str, *, begins: str = "") -> None:
        """After a whole data set below a root was looked at: what it did not meet is repaired or gone.

        Args:
            dataset: Name of the data set.
            root: Name of the root.
            begins: How a source must begin to be one that was looked at.
        """
        for key, known in self._known.items():
            if (known.dataset, known.root) == (dataset, root) and known.source.startswith(begins):
                self.release(key)

    def commit(self, run: Run) -> None:
        """Write what changed."""
        if not self._put and not self._drop:
            return
        run.touched()
        if self._put:
            rows = [self._row(key, r, run.id) for key, r in self._put.items()]
            self._store.upsert("quarantine", pa.Table.from_pylist(rows, schema=QUARANTINE))
        self._store.delete("quarantine", sorted(self._drop))
        self._known.update(self._put)
        for key in self._drop:
            self._known.pop(key, None)
        self._put, self._drop = {}, set()

    @staticmethod
    def _row(key: str, rejection: Rejection, run_id: str) -> Mapping[str, str | None]:
        return {
            "id": key,
            "dataset": rejection.dataset,
            "root": rejection.root,
            "source": rejection.source,
            "reason": rejection.reason,
            "tried": rejection.tried,
            "run_id": run_id,
        }


def _read(store: Store) -> dict[str, Rejection]:
    return {
        row["id"]: Rejection(
            dataset=row["dataset"], root=row["root"], source=row["source"], reason=row["reason"], tried=row["tried"]
        )
        for row in store.read("quarantine").to_pylist()
    }


def _printable(text: str) -> str:
    """The text with control characters and undecodable bytes of file names as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""What is embedded becomes rows: in one go under the lock that the run holds, or checked first where others write. I/O.

A run that holds the writer lock throughout knows that its rows are the newest. A re-embedding takes it for a commit
only, so it first looks whether each image is still the one that it read: what was deleted or is read in another way now
is left out, and listed again. Of a row that somebody described anew only what the pixels tell is written.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer import allocator
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine, Rejection, rejection_id
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import embedding_table_name, image_schema, image_table
from locatlas.indexer.store.sources import is_cut, row_source
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import tidy
from locatlas.indexer.store.tidy_limits import FRAGMENTS_BEFORE_COMPACTION
from locatlas.interrupts import unbroken
from locatlas.models.spec import Storage

__all__ = ["FROM_PIXELS", "Commits", "Done", "Loaded", "Pending", "Writing", "same_pixels"]

FROM_PIXELS = ("height", "width", "source_digest", "source_stat", "qc", "thumbnail")
"""Columns of the image tables that are known once an image was read."""

READ_BY = ("root", "sources", "row", "pixel_size_um")
"""Columns by which an image is read; the place of a cell is part of its `source_digest`."""

Writing = Callable[[], AbstractContextManager[None]]
"""Takes the writer lock for the length of a block."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A record to be embedded.

    Attributes:
        position: Its place in the sorted list of all records of its level; decides the chunk.
        record: What to read.
        row: Its row as far as it is known without pixels: from the record (`index`), or as stored (`embed`).
        stat: Size and time of its sources, looked at before they are read.
        tried: Digest of all that decides whether it can be used.
    """

    position: int
    record: ImageRecord
    row: Mapping[str, Any]
    stat: str
    tried: str

    @property
    def key(self) -> str:
        """Its place in quarantine."""
        return rejection_id(self.row["dataset"], self.row["root"], row_source(self.row))

    def rejected(self, reason: str) -> Rejection:
        """Its entry in quarantine."""
        return Rejection(
            dataset=self.row["dataset"],
            root=self.row["root"],
            source=row_source(self.row),
            reason=reason,
            tried=self.tried,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An image that was read.

    Attributes:
        pending: What it was read for.
        row: Its row, with the columns that its pixels tell.
        prepared: What the encoder takes; None once it has.
    """

    pending: Pending
    row: dict[str, Any]
    prepared: Any

    @property
    def is_new(self) -> bool:
        """Whether the row says something of the pixels that the stored one does not."""
        return not same_pixels(self.pending.row, self.row)


def same_pixels(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two rows say the same of an image's pixels, pictures aside, which follow from the rest."""
    return all(c in before and before[c] == after[c] for c in FROM_PIXELS if c != "thumbnail")


@dataclass(slots=True, eq=False)
class Done:
    """What waits for the next commit.

    Attributes:
        good: Images that were embedded.
        vectors: Theirs, batch by batch, (n, d) each.
        bad: Rows that could not be, and why.
    """

    good: list[Loaded] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    bad: list[tuple[Mapping[str, Any], Rejection]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.good) + len(self.bad)

    def take(self, more: "Done") -> None:
        """Add what was done after it."""
        self.good += more.good
        self.vectors += more.vectors
        self.bad += more.bad


@dataclass(frozen=True, slots=True)
class Commits:
    """Commits of one encoder's vectors.

    Attributes:
        store: The atlas.
        level: "fov" or "cell".
        fingerprint: Of the encoder.
        run: Ledger entry; counts "embedded", "quarantined" and "changed meanwhile".
        quarantine: Takes what cannot be used.
        writing: Takes the writer lock; None where the run holds it throughout.
        storage: Numbers that its vectors are stored in.
    """

    store: Store
    level: str
    fingerprint: str
    run: Run
    quarantine: Quarantine
    writing: Writing | None = None
    storage: Storage = "float32"

    def put(self, done: Done) -> None:
        """Commit image rows first, then vectors, then quarantine; tidy the tables now and then."""
        if self.writing is None:
            # a signal waits, so that the ledger counts what is there
            with self.run.timed("commit"), unbroken():
                self._put(done, [item.row for item in done.good if item.is_new])
                self._count()
        elif done.good or done.bad:
            with self.writing(), self.run.timed("commit"), unbroken():
                self._put(*self._checked(done))
                self._count()

    def _count(self) -> None:
        """Tidy the tables now and then: each commit adds a fragment and a version, and looks at all fragments."""
        self.run.commits += 1
        if self.run.commits % FRAGMENTS_BEFORE_COMPACTION == 0:
            tidy(self.store, (image_table(self.level), embedding_table_name(self.level, self.fingerprint)), self.run)
        if self.run.commits % allocator.COMMITS_BETWEEN == 0:
            allocator.give_back()

    def _put(self, done: Done, new_rows: Sequence[Mapping[str, Any]]) -> None:
        if done.good:
            self.run.touched()
            # a cell's own flags were told when it was found
            self.run.counts.update(f"qc {flag}" for i in done.good if not is_cut(i.row) for flag in i.row["qc"])
            ids = [item.row["id"] for item in done.good]
            if new_rows:
                self.store.upsert(image_table(self.level), image_rows(new_rows, self.level))
            digests = [item.row["source_digest"] for item in done.good]
            self.store.put_embeddings(
                self.level, self.fingerprint, ids, digests, np.concatenate(done.vectors), self.storage
            )
            for item in done.good:
                self.quarantine.release(item.pending.key)
            self.run.counts["embedded"] += len(ids)
            self.run.wrote(ids)
        for _, rejection in done.bad:
            self.quarantine.put(rejection)
        self.run.counts["quarantined"] += len(done.bad)
        self.quarantine.commit(self.run)

    def _checked(self, done: Done) -> tuple[Done, list[dict[str, Any]]]:
        """What still holds of what was done, and the rows to be written for it."""
        table = image_table(self.level)
        ids = [*(item.row["id"] for item in done.good), *(row["id"] for row, _ in done.bad)]
        columns = ["id", *READ_BY, *(c for c in FROM_PIXELS if c != "thumbnail")]
        now = {row["id"]: row for row in self.store.read_rows(table, ids, columns).to_pylist()}

        def holds(read: Mapping[str, Any], *digests: str) -> bool:
            here = now.get(read["id"])
            return here is not None and here["source_digest"] in digests and all(here[c] == read[c] for c in READ_BY)

        kept = [
            holds(item.pending.row, item.pending.row["source_digest"], item.row["source_digest"]) for item in done.good
        ]
        bad = [(row, rejection) for row, rejection in done.bad if holds(row, row["source_digest"])]
        self.run.counts["changed meanwhile"] += len(ids) - sum(kept) - len(bad)
        good = [item for item, keep in zip(done.good, kept, strict=True) if keep]
        vectors = [np.concatenate(done.vectors)[kept]] if good else []
        # pixels that changed since they were indexed; whoever wrote the row meanwhile has seen newer ones
        new = {i.row["id"]: i.row for i in good if i.is_new and same_pixels(i.pending.row, now[i.row["id"]])}
        names = image_schema("fov" if self.level == "fov" else "cell").names
        here = self.store.read_rows(table, list(new), names).to_pylist() if new else []
        rows = [{**row, **{c: new[row["id"]][c] for c in FROM_PIXELS}} for row in here]
        return Done(good, vectors, bad), rows

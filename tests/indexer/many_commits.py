"""Commits made rows by the hundred in a process of its own, and tells on the way how much memory that is no file's.

Run as `python -m tests.indexer.many_commits ATLAS COMMITS EVERY`; prints a JSON list of megabytes.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import cast

import numpy as np

from locatlas.indexer import allocator, commits
from locatlas.indexer.commits import Commits, Done, Loaded, Pending
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store import tables as store
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.tables import Store
from tests.indexer.store.test_row_checks import ROW

ROWS, DIM, PICTURE_BYTES = 32, 1024, 16_384
"""Of a commit, of a vector, of a thumbnail: so much a row that few rows show what many would."""

MERGED = 16
"""Commits between two merges, and commits of which a merged fragment is left alone."""


def made(n: int, pictures: np.random.Generator) -> Loaded:
    """An image as it is once it was read."""
    digest = hashlib.blake2b(str(n).encode(), digest_size=16).hexdigest()
    row = ROW | {
        "id": f"d/{n:06d}",
        "sources": [{"path": f"{n}.tif", "channels": ["nucleus"]}],
        "root": "r",
        "row": None,
    }
    read = {"height": 64, "width": 64, "source_digest": digest, "source_stat": "1:1", "qc": []}
    # what commits look at of it is the row alone
    pending = Pending(n, cast(ImageRecord, None), row, "1:1", "tried")
    return Loaded(pending, row | read | {"thumbnail": pictures.bytes(PICTURE_BYTES)}, None)


def anonymous_mb() -> float:
    """Resident memory of this process that is no file's."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(said["RssAnon"].split()[0]) / 1024


def main(atlas: Path, n_commits: int, every: int) -> list[float]:
    """Megabytes after each so many commits."""
    store.FRAGMENTS_BEFORE_COMPACTION = commits.FRAGMENTS_BEFORE_COMPACTION = MERGED
    store.COMPACTED_ROWS = MERGED * ROWS
    allocator.few_arenas()
    tables, random, told = Store.create(atlas), np.random.default_rng(0), []
    with tables.folder.writer("test"), Run.record(tables, "index") as run:
        writing = Commits(tables, "fov", "f" * 64, run, Quarantine(tables))
        for n in range(n_commits):
            images = [made(n * ROWS + i, random) for i in range(ROWS)]
            writing.put(Done(images, [random.standard_normal((ROWS, DIM)).astype(np.float32)]))
            told += [anonymous_mb()] if (n + 1) % every == 0 else []
    assert tables.count("fovs") == tables.count(writing_table(tables)) == n_commits * ROWS
    return told


def writing_table(tables: Store) -> str:
    """The one table of vectors."""
    return next(name for name in tables.tables() if name.startswith("emb_"))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))))

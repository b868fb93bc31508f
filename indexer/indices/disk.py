"""Codes of one bit a number in lists, built, kept on disk and searched there by Lance (`IVF_RQ`). I/O.

For vectors that outgrow memory: a question reads the lists that it looks at, and nothing is held but their centres and
a bounded cache. Lance builds the index over a shallow clone of the table, a manifest of its own with the table's data
files, so that the table itself gets no version and its vectors are not copied. After that a question touches no file
of the table: only codes are searched, by rows' addresses, and what they propose is ranked by the caller. So the table
may be merged, moved or restored elsewhere, and whether the index is of its rows is told by the sidecar alone.

Lance would open the table's deletion files with every question. So the clone forgets them before the index is built:
rows that were deleted or replaced before have codes, too, and their addresses are kept beside the index and left out.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.store.aligned import one_array, rows_in
from locatlas.indexer.store.arrow_files import mapped_table, write_table
from locatlas.indexer.store.lance_files import reading
from locatlas.indexer.store.table_reads import TableVectors
from locatlas.interrupts import check_stop

__all__ = ["DiskCodes", "disk_params", "ids_of", "require_length", "sources_of", "write_codes"]

IDS, ROWS, GONE, CODES = "ids.arrow", "rows.npy", "gone.npy", "codes.lance"

CACHE_BYTES = 32 << 20
"""Of Lance for lists that were read, and as much for what it knows of files; its own default is 6 GiB."""

_SHOWN_PER_LIST = 64
"""Vectors a list that its centres are learned from; Lance's 256 hold four times the memory and hardly help."""

_POINTS_A_LIST = 39
"""Vectors at least that a list is made for, as for those of FAISS."""


def require_length(d: int) -> None:
    """Refuse vectors of a length that Lance has no codes for.

    Args:
        d: Numbers of a vector.

    Raises:
        InputError: If it is no multiple of 8.
    """
    if d % 8:
        message = f"vectors of {d} numbers: lance-ivfrq is for lengths that are multiples of 8; --faiss ivfpq takes any"
        raise InputError(message)


def disk_params(n: int, d: int) -> dict[str, int]:
    """Of building, and of search before it is tuned.

    Raises:
        InputError: If Lance has no codes for vectors of this length.
    """
    require_length(d)
    n_list = max(1, min(round(math.sqrt(n)), n // _POINTS_A_LIST))
    return {"n_list": n_list, "n_probe": min(n_list, max(8, round(math.sqrt(n_list)))), "bits": 1, "refine": 10}


def write_codes(table: Path, held: TableVectors, params: Mapping[str, int], folder: Path) -> None:
    """Write an index of a table's vectors.

    Args:
        table: Lance's folder of the table.
        held: Its vectors, of a version that is there.
        params: Of `disk_params`.
        folder: Exists and is empty.

    Raises:
        StoreDamagedError: If Lance cannot read the table or build the index.
        OSError: If something cannot be written.
    """
    import lance

    with reading(table, "indexed"):
        clone = lance.dataset(str(table)).shallow_clone(str(folder / CODES), held.version)
        there = clone.to_table(columns=["id"], with_row_id=True)
        clone, gone = _without_deletions(clone, there["_rowid"].to_numpy())
        clone.create_index(
            "vector",
            "IVF_RQ",
            metric="cosine",
            num_partitions=params["n_list"],
            num_bits=params["bits"],
            sample_rate=_SHOWN_PER_LIST,
        )
    check_stop()
    rows = np.empty((2, len(there)), dtype=np.int64)
    rows[0] = there["_rowid"].to_numpy()
    rows[1] = rows_in(there["id"], held.names)
    np.save(folder / ROWS, rows[:, np.argsort(rows[0])], allow_pickle=False)
    np.save(folder / GONE, gone, allow_pickle=False)
    write_table(folder / IDS, pa.table({"id": held.names, "source_digest": held.sources}))


def _without_deletions(clone: Any, there: NDArray[np.uint64]) -> tuple[Any, NDArray[np.int64]]:
    """A clone whose deleted rows are rows again, and their addresses, ascending. It costs a manifest, and no vectors.

    Args:
        clone: Its latest version, to which one is added where a fragment has a deletion file.
        there: Addresses of the rows that were not deleted.
    """
    import lance

    fragments = [fragment.metadata for fragment in clone.get_fragments()]
    changed = [fragment for fragment in fragments if fragment.deletion_file is not None]
    if not changed:
        return clone, np.empty(0, dtype=np.int64)
    for fragment in changed:
        fragment.deletion_file = None
    whole = lance.LanceDataset.commit(
        clone.uri, lance.LanceOperation.Update(updated_fragments=changed), read_version=clone.version
    )
    every = whole.to_table(columns=[], with_row_id=True)["_rowid"].to_numpy()
    return whole, np.setdiff1d(every, there, assume_unique=True).astype(np.int64)


def ids_of(folder: Path) -> pa.Array:
    """Ids of the rows of an index, mapped.

    Raises:
        OSError: If the file cannot be opened.
        pyarrow.ArrowException: If it is not what was written.
    """
    return one_array(mapped_table(folder / IDS)["id"])


def _mapped(path: Path) -> NDArray[np.int64]:
    """Numbers of a file.

    Raises:
        ValueError: If it is not what was written; numpy alone lets errors of Python's parser of its header through.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, TokenError, TypeError) as error:
        message = f"{path.name}: {error}"
        raise ValueError(message) from error
    if array.dtype != np.int64:
        message = f"{path.name}: holds {array.dtype}"
        raise ValueError(message)
    return array


def sources_of(folder: Path) -> pa.Array:
    """Digests of the sources that the vectors of these rows were made from, mapped: other vectors have others.

    Raises:
        OSError: If the file cannot be opened.
        pyarrow.ArrowException: If it is not what was written.
        StoreDamagedError: If it does not hold them.
    """
    held = mapped_table(folder / IDS)
    if "source_digest" not in held.column_names:
        message = f"{folder / IDS}: does not tell the sources of its vectors"
        raise StoreDamagedError(message)
    return one_array(held["source_digest"])


class DiskCodes:
    """An index on disk.

    Attributes:
        ntotal: Rows.
    """

    def __init__(self, folder: Path, *, n_list: int) -> None:
        """Open it.

        Raises:
            StoreDamagedError: If it cannot be opened.
        """
        import lance

        self._path = folder
        with reading(folder, "opened"):
            # the addresses that Lance knows rows by, ascending, and the row of each in the file of ids
            self._addresses, self._rows = _mapped(folder / ROWS)
            self._gone = _mapped(folder / GONE)
            self._dataset = lance.dataset(
                str(folder / CODES), index_cache_size_bytes=CACHE_BYTES, metadata_cache_size_bytes=CACHE_BYTES
            )
        self._n_list = n_list
        self.ntotal = len(self._rows)
        self._coded = self.ntotal + len(self._gone)

    def search(
        self, queries: NDArray[np.float32], wanted: int, n_probe: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Rows nearest by their codes.

        Args:
            queries: (n_queries, d) float32.
            wanted: How many, >= 1.
            n_probe: Lists that are looked at; more where these hold too few.
            allowed: (ntotal,) rows that may be found, or None for all.

        Returns:
            Rows (n_queries, wanted), nearest first; -1 where there is none.

        Raises:
            StoreDamagedError: If its files were removed or are not what was written.
        """
        found = np.full((len(queries), wanted), -1, dtype=np.int64)
        for out, query in zip(found, queries, strict=True):
            rows = self._nearest(query, wanted, n_probe, allowed)
            out[: len(rows)] = rows
        return found

    def _nearest(
        self, query: NDArray[np.float32], wanted: int, n_probe: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        # what a query may not meet are often the very nearest (its own protein), so more are asked for, from more
        # lists, until as many as wanted remain
        n_allowed = self.ntotal if allowed is None else int(np.count_nonzero(allowed))
        times = 1.0 if n_allowed == self._coded else 1.1 * self._coded / max(1, n_allowed)
        times = times if allowed is None else max(2.0, times)
        enough, fetched = min(wanted, n_allowed), min(self._coded, math.ceil(times * wanted))
        while True:
            rows = self._ask(query, fetched, n_probe)
            kept = rows[rows >= 0]
            kept = kept if allowed is None else kept[allowed[kept]]
            exhausted = len(rows) < fetched
            if len(kept) >= enough or (exhausted and n_probe == self._n_list):
                return kept[:wanted]
            if exhausted:
                n_probe = min(self._n_list, 4 * n_probe)
            else:
                fetched = min(self._coded, 4 * fetched)

    def _ask(self, query: NDArray[np.float32], k: int, n_probe: int) -> NDArray[np.int64]:
        """Rows of the codes nearest to a query, -1 for one that is gone."""
        asked = {"column": "vector", "q": query, "k": k, "nprobes": n_probe}
        with reading(self._path, "searched"):
            # no column, and only what is indexed: so nothing but codes is read
            found = self._dataset.scanner(
                columns=[], nearest=asked, with_row_id=True, fast_search=True, disable_scoring_autoprojection=True
            ).to_table()
        addresses: Any = found["_rowid"].to_numpy().astype(np.int64)
        held, at = _places(self._addresses, addresses)
        rows = np.where(held, self._rows[at], -1)
        gone = ~held & _places(self._gone, addresses)[0]
        if not (gone | ((rows >= 0) & (rows < self.ntotal))).all():
            message = f"{self._path}: proposes rows that it does not hold; `locatlas verify --repair` builds it again"
            raise StoreDamagedError(message)
        return rows


def _places(among: NDArray[np.int64], addresses: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of some addresses are among others, ascending, and where these are."""
    if not len(among):
        return np.zeros(len(addresses), dtype=np.bool_), np.zeros(len(addresses), dtype=np.int64)
    at = np.minimum(np.searchsorted(among, addresses), len(among) - 1)
    return np.asarray(among[at] == addresses), at

"""The index of an embedding table: its files checked, and what they were made from with the table. I/O.

Its files are a cache. Beside them stand a sidecar, which says of which table, version, fingerprint and vectors they
were made, and the ids of its rows. Files that do not match their sidecar, or a sidecar that does not match the table,
are never used; rows that came later are searched exactly and merged.
"""

import mmap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import StoreDamagedError
from locatlas.indexer.indices.candidates import TableIndex
from locatlas.indexer.indices.disk import DiskCodes, ids_of, sources_of
from locatlas.indexer.indices.faiss_index import read_faiss
from locatlas.indexer.indices.files import disk_folder, index_paths, wrong_part
from locatlas.indexer.indices.kinds import DISK, Kind
from locatlas.indexer.indices.sidecar import Sidecar, blake2b, rows_digest
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.file_digest import FileState, file_state
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.table_reads import TableVectors
from locatlas.indexer.store.tables import Store

__all__ = ["IndexCheck", "index_state", "kind_of", "open_index"]

_SLAB_ROWS = 1 << 14
"""Vectors read at a time for a digest."""

_TRIES = 5
"""Of opening an index that is built anew meanwhile."""


def kind_of(store: Store, table: str) -> str | None:
    """The type of index that a table has, by its sidecar, whether it can be used or not; None if nothing says it."""
    try:
        kind = Sidecar.from_json(index_paths(store.folder, table)[1].read_text(encoding="utf-8")).kind
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if kind in get_args(Kind) else None


def index_state(store: Store, table: str) -> FileState | None:
    """What is another once an index of a table was built, or is gone; None where there is none."""
    return _state_of(index_paths(store.folder, table)[1])


def _state_of(path: Path) -> FileState | None:
    try:
        return file_state(path)
    except OSError:  # gone, or an index of another kind takes its place
        return None


class IndexCheck:
    """Looks whether an index's files are what was written, in a thread of its own: FAISS itself is loaded meanwhile.

    Of a FAISS file, which is held, the digest is taken. Of an index on disk only the sizes are looked at, because it is
    for more than is read at a start; its bytes are read by `locatlas verify`.
    """

    def __init__(self, store: Store, encoder: StoredEncoder) -> None:
        self._folder, self._table = store.folder, encoder.table
        self._found: tuple[Sidecar, FileState, bytes] | str = "no index"
        self._thread = threading.Thread(target=self._look, name="index-check", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        faiss_path, json_path, ids_path = index_paths(self._folder, self._table)
        if not json_path.is_file():
            return
        try:
            sidecar = Sidecar.from_json(json_path.read_text(encoding="utf-8"))
            if sidecar.kind == DISK:
                wrong, _ = wrong_part(disk_folder(self._folder, sidecar), sidecar, full=False)
                whole, state, lines = wrong is None, file_state(json_path), b""
            else:
                state, lines = file_state(faiss_path), ids_path.read_bytes()
                # in one call, which keeps no interpreter lock: between blocks it would wait for whoever has it
                with faiss_path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    whole = (blake2b(data), blake2b(lines)) == (sidecar.file_digest, sidecar.ids_digest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._found = f"index unreadable ({error})"
            return
        self._found = (sidecar, state, lines) if whole else "index file damaged"

    def result(self) -> "tuple[Sidecar, FileState, bytes] | str":
        """What was found.

        Returns:
            Sidecar, state of the file that is replaced last and a FAISS file's ids, if all are what was written; else
            a word about them.
        """
        self._thread.join()
        return self._found


def open_index(
    store: Store, encoder: StoredEncoder, held: TableVectors, check: IndexCheck | None = None
) -> tuple[TableIndex | None, str]:
    """The index of an encoder's table if it can be trusted, and a word about it.

    Args:
        store: The atlas.
        encoder: Whose vectors.
        held: The table's vectors now.
        check: Of the index's files, if it was begun already.

    Returns:
        The index, or None with the reason: absent, damaged, foreign or stale.
    """
    for _ in range(_TRIES):
        if (found := _opened(store, encoder, held, check)) is not None:
            return found
        check = None
    return None, f"index built anew {_TRIES} times while it was opened"


def _opened(
    store: Store, encoder: StoredEncoder, held: TableVectors, check: IndexCheck | None
) -> tuple[TableIndex | None, str] | None:
    """As `open_index`; None if another index, or none, took its place meanwhile."""
    faiss_path, json_path, _ = index_paths(store.folder, encoder.table)
    if not json_path.is_file():
        return None, "no index"
    check = check or IndexCheck(store, encoder)
    if kind_of(store, encoder.table) != DISK:
        import faiss  # while the thread reads

    found = check.result()
    if isinstance(found, str):
        return None, found
    sidecar, checked, lines = found
    made_of = (sidecar.table, sidecar.fingerprint, sidecar.dim, sidecar.metric)
    if made_of != (encoder.table, encoder.fingerprint, encoder.spec.dim, "cosine"):
        return None, "index of another table or encoder"
    on_disk = sidecar.kind == DISK
    replaced_last = json_path if on_disk else faiss_path
    rows: NDArray[np.int64] | None = None
    # of the very manifest that is there now: then its ids and vectors are, too, but for those that are left out here
    same = sidecar.manifest and sidecar.manifest == manifest_digest(store.folder, encoder.table, held.version)
    try:
        if not (same and len(held) == sidecar.count):
            ids = ids_of(disk_folder(store.folder, sidecar)) if on_disk else pa.array(lines.decode().split("\n"))
            rows = rows_in(ids, held.names)
            if not same and not _are_of(sidecar, store, ids, held, rows):
                return None, "index stale: rows it holds were changed or removed"
        if on_disk:
            index: Any = DiskCodes(disk_folder(store.folder, sidecar), n_list=sidecar.params["n_list"])
        else:
            index = read_faiss(faiss_path)
    except RuntimeError as error:  # our own bytes, so it is another FAISS
        import faiss

        if _state_of(replaced_last) != checked:
            return None

        return None, f"index of FAISS {sidecar.faiss}, which {faiss.__version__} does not read ({error})"
    except (OSError, pa.ArrowException, StoreDamagedError) as error:  # of an index on disk
        if _state_of(replaced_last) != checked:
            return None
        return None, f"index unreadable ({error})"
    if _state_of(replaced_last) != checked:
        return None
    if rows is None:
        return TableIndex(sidecar, index, None, np.empty(0, dtype=np.int64)), "up to date"
    in_file = np.zeros(len(held), dtype=np.bool_)
    in_file[rows[rows >= 0]] = True
    later = np.flatnonzero(~in_file)
    return TableIndex(sidecar, index, rows, later), f"{len(later)} rows later" if len(later) else "up to date"


def _are_of(sidecar: Sidecar, store: Store, ids: pa.Array, held: TableVectors, rows: NDArray[np.int64]) -> bool:
    """Whether vectors at some rows, -1 for one that is gone, are those that an index was made of.

    Those of an index on disk are too many to be read at each start after a commit: digests of the sources that they
    were made from, by this encoder, are compared instead. `locatlas verify` reads them.
    """
    if (rows < 0).any():
        return False
    if sidecar.kind == DISK:
        return bool(sources_of(disk_folder(store.folder, sidecar)).equals(held.sources.take(pa.array(rows))))
    return _digest_of(ids, held, rows) == sidecar.vectors_digest


def _digest_of(ids: pa.Array, held: TableVectors, rows: NDArray[np.int64]) -> str:
    """`rows_digest` of some rows, which are not held all at once."""
    slabs: Iterator[NDArray[np.float32]] = (
        held.vectors[rows[low : low + _SLAB_ROWS]] for low in range(0, len(rows), _SLAB_ROWS)
    )
    return rows_digest(ids.to_pylist(), slabs)

"""Files of indices, their ids and sidecars: whole, and of the table that is there? Reads files and ids."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import LocatlasError, StoreDamagedError
from locatlas.indexer.indices.disk import DiskCodes, ids_of
from locatlas.indexer.indices.files import disk_folder, disk_folders, wrong_part
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.indices.sidecar import Sidecar, rows_digest
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.lance_files import Opened, manifests, open_table, reading
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.interrupts import check_stop

__all__ = ["IndexedTable", "look_at_indices"]

_TRIES = 3
"""Looks at an index that is built meanwhile."""

_SLAB_BYTES = 4 << 20
"""Of vectors that are read at once: an index is made of tables that are large. Lance takes about nine times as much."""

_AGAIN = "--repair builds it again; so do `locatlas reembed` and --faiss with any command that embeds"


@dataclass(frozen=True, slots=True, eq=False)
class IndexedTable:
    """What an index of a table must be of.

    Attributes:
        fingerprint: Of the encoder.
        dim: Length of its vectors.
        version: Of the table; None where it cannot be opened.
        ids: Column id of the table; None where it cannot be read.
    """

    fingerprint: str
    dim: int
    version: int | None
    ids: pa.ChunkedArray | None


_NO_TABLE = IndexedTable("", 0, None, None)
"""Of an encoder that the atlas does not know."""


def look_at_indices(
    folder: AtlasFolder, tables: Mapping[str, IndexedTable] | None, *, full: bool, store: Store | None
) -> tuple[list[Finding], int]:
    """Findings about the files in `indices/`, and the bytes that were read.

    Args:
        folder: The atlas.
        tables: Embedding tables by name; None where it is not known which there are.
        full: Also read the FAISS files and compare the vectors they were made from.
        store: Whose vectors are read; None where they are not to be.
    """
    findings: list[Finding] = []
    n_bytes = 0
    stems = sorted({path.name.partition(".")[0] for path in folder.indices.glob("emb_*")})
    for stem in stems:
        files = {end: folder.indices / f"{stem}.{end}" for end in ("json", "faiss", "ids")}
        for _ in range(_TRIES):
            before = _contents(files["json"])
            found, read = _look_at_one(
                folder,
                files,
                stem,
                None if tables is None else tables.get(stem, _NO_TABLE),
                newest=_newest_of(folder, stem),
                full=full,
                digest_now=None if store is None else partial(_digest_now, store.folder, stem),
            )
            if _contents(files["json"]) == before:
                break  # else it was built anew meanwhile, and what was read is of both
        findings += found
        n_bytes += read
    return findings, n_bytes


def _contents(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _newest_of(folder: AtlasFolder, table: str) -> Callable[[], int]:
    return lambda: max(manifests(folder, table), default=0)


def _digest_now(folder: AtlasFolder, table: str, ids: list[str]) -> str | None:
    """`rows_digest` of the vectors that a table holds now for these ids; None where it lacks one of them.

    Raises:
        StoreDamagedError: If they cannot be read.
    """
    opened = open_table(folder, table)
    with reading(opened.dataset.uri):
        held = opened.dataset.to_table(columns=["id"])["id"]
        rows = pc.index_in(pa.array(ids, held.type), value_set=held)
        if rows.null_count:
            return None  # a row may have been removed meanwhile
        return rows_digest(ids, _slabs(opened, rows))


def _slabs(opened: Opened, rows: pa.Int32Array) -> Iterator[NDArray[np.float32]]:
    """The vectors of these rows, (m, d) at a time."""
    dim = opened.dataset.schema.field("vector").type.list_size
    step = max(1, _SLAB_BYTES // (4 * dim))
    for start in range(0, len(rows), step):
        taken = opened.dataset.take(rows.slice(start, step), columns=["vector"])
        yield taken["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim).astype(np.float32)


def _unsearchable(path: Path, sidecar: Sidecar) -> str | None:
    """Why an index on disk does not answer a question, by Lance; None where it does."""
    asked = np.ones((1, sidecar.dim), dtype=np.float32)
    try:
        DiskCodes(path, n_list=sidecar.params["n_list"]).search(asked, 1, sidecar.params["n_probe"], None)
    except StoreDamagedError as error:
        check_stop()  # a signal that comes within Lance is one of its errors
        return str(error)
    return None


def _look_at_one(
    folder: AtlasFolder,
    files: Mapping[str, Path],
    stem: str,
    table: IndexedTable | None,
    *,
    newest: Callable[[], int],
    full: bool,
    digest_now: Callable[[list[str]], str | None] | None,
) -> tuple[list[Finding], int]:
    where = {end: f"indices/{path.name}" for end, path in files.items()}
    present = [where[end] for end, path in files.items() if path.exists()]
    folders = [f"indices/{path.name}" for path in disk_folders(folder, stem)]

    def said(severity: str, kind: str, at: str, means: str) -> tuple[list[Finding], int]:
        level: str = severity
        return [finding(level, kind, at, means, _AGAIN, of=present + folders)], n_bytes  # type: ignore[arg-type]

    n_bytes = 0
    if not files["json"].exists():
        means = "parts of an index without the file that says what they are: never used"
        return said("warning", "index unfinished", f"indices/{stem}", means)
    try:
        text = files["json"].read_text(encoding="utf-8")
        sidecar = Sidecar.from_json(text)
        whole = sidecar.to_json() == text
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        return said("damage", "index damaged", where["json"], "it is not what was written: the index is not used")
    if sidecar.kind == DISK:
        try:
            path = disk_folder(folder, sidecar)
        except ValueError:
            return said("damage", "index foreign", where["json"], "made from another table or encoder: never used")
        wrong, n_bytes = wrong_part(path, sidecar, full=full)
        if wrong is not None:
            at = f"indices/{path.name}/{wrong}"
            return said("damage", "index damaged", at, "missing or not what was written: the index is not used")
        if (why := _unsearchable(path, sidecar)) is not None:
            means = f"its files are what was written, and it cannot be searched: questions are answered exactly ({why})"
            return said("damage", "index damaged", f"indices/{path.name}", means)
    for end, digest in (("ids", sidecar.ids_digest), ("faiss", sidecar.file_digest)) if sidecar.kind != DISK else ():
        if not files[end].exists():
            return said("damage", "index damaged", where[end], "missing: the index is not used")
        if end == "faiss" and not full:
            continue
        size, found = file_digest(files[end])
        n_bytes += size
        if found != digest:
            return said("damage", "index damaged", where[end], "it is not what was written: the index is not used")
    made_of = (sidecar.table, sidecar.fingerprint, sidecar.dim)
    if table is None:
        return [], n_bytes
    # the table was looked at before: somebody may have written to it since, and built this index of that
    later = table.version is not None and table.version < sidecar.version <= newest()
    if later and made_of == (stem, table.fingerprint, table.dim):
        return [], n_bytes
    if made_of != (stem, table.fingerprint, table.dim) or (table.version or sidecar.version) < sidecar.version:
        return said("damage", "index foreign", where["json"], "made from another table or encoder: never used")
    if sidecar.kind == DISK:
        ids = ids_of(disk_folder(folder, sidecar)).to_pylist()
    else:
        ids = files["ids"].read_bytes().decode().split("\n")
    if table.ids is None:
        return [], n_bytes
    if not pc.all(pc.is_in(pa.array(ids, table.ids.type), value_set=table.ids)).as_py():
        return said(
            "note", "index stale", where["json"], "rows it holds were removed: not used until it is built again"
        )
    if full and digest_now is not None:
        try:
            now = digest_now(ids)
        except LocatlasError:
            check_stop()  # a signal that comes within Lance is one of its errors
            return [], n_bytes  # told with the table; or it was dropped meanwhile
        if now != sidecar.vectors_digest:
            means = "made from other vectors than the table holds: not used until it is built again"
            return said("note", "index stale", where["json"], means)
    return [], n_bytes

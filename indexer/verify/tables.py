"""All tables at their newest version: rows that contradict themselves, or each other. Reads tables."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from locatlas.errors import StoreDamagedError
from locatlas.indexer.store.lance_files import Opened, latest_manifest, manifests, open_table
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.schema import embedding_table_name
from locatlas.indexer.store.table_reads import FIXED
from locatlas.indexer.verify.file_findings import remedy
from locatlas.indexer.verify.files import table_of
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.indexer.verify.relations import (
    COLUMNS,
    compare_cells,
    compare_encoders,
    compare_maps,
    compare_vectors,
    images_of,
    is_imported,
)
from locatlas.indexer.verify.rows import bad_vectors, look_at_ids, look_at_schema

__all__ = ["Tables", "imported_tables", "look_at_tables", "table_names"]


_TRIES = 3
"""Versions of a table that may be removed while they are read."""


@dataclass(slots=True)
class Tables:
    """Tables as they were at one time.

    Attributes:
        opened: Those that could be opened.
        rows: Their ids and some columns, where no file of them is damaged.
        findings: What is wrong with one table.
        relations: What is wrong between tables.
        never_made: Tables that were never made, and so have no rows.
    """

    opened: dict[str, Opened] = field(default_factory=dict)
    rows: dict[str, pa.Table] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    relations: list[Finding] = field(default_factory=list)
    never_made: set[str] = field(default_factory=set)


def table_names(folder: AtlasFolder) -> list[str]:
    """Tables that have a folder, sorted."""
    return sorted(p.stem for p in folder.db.glob("*.lance") if p.is_dir() and not p.name.startswith("."))


def look_at_tables(
    folder: AtlasFolder, names: list[str], damaged: Collection[str], known: Collection[str], *, old: bool, full: bool
) -> Tables:
    """Open tables and check their rows.

    Args:
        folder: The atlas.
        names: Tables.
        damaged: Files that are not what was written: what they hold is not decoded.
        known: Tables of which the journal names files.
        old: Whether the atlas is of an older schema version, with fewer columns.
        full: Also look at every number of every vector.
    """
    tables = Tables(never_made=FIXED.keys() - set(names) - set(known))
    # encoders and vectors are written after the images they are of, so they are looked at before them
    for name in sorted(names, key=lambda n: (n in ("fovs", "cells"), n)):
        _look_while_it_changes(folder, name, damaged, tables, old=old, full=full)
    _relate(tables)
    return tables


def _look_while_it_changes(
    folder: AtlasFolder, name: str, damaged: Collection[str], tables: Tables, *, old: bool, full: bool
) -> None:
    """Look at a table; where a run removed the version that was being read, at the one that is newest then."""
    for _ in range(_TRIES):
        before = len(tables.findings)
        tables.opened.pop(name, None)
        tables.rows.pop(name, None)
        newest = latest_manifest(folder, name)
        try:
            _look_at_table(folder, name, damaged, tables, old=old, full=full)
            return
        except StoreDamagedError as error:
            if not (folder.db / f"{name}.lance").exists():
                return  # dropped by `maintain`, since the names were listed
            opened = tables.opened.get(name)
            read = newest if opened is None else manifests(folder, name).get(opened.version)
            if read is not None and (folder.path / read).exists():
                if all(table_of(path) != name for path in damaged):
                    means, do = f"it cannot be read: {error}", remedy(name, imported=False)
                    tables.findings.append(finding("damage", "table unreadable", name, means, do))
                return
            del tables.findings[before:]
    tables.rows.pop(name, None)  # what was opened stays: its columns are known, and that it is there
    means = "not looked at: each version of it was removed by a run that writes before it was read to its end"
    do = "run `locatlas verify` again when it is done"
    tables.findings.append(finding("note", "not looked at", name, means, do))


def _look_at_table(
    folder: AtlasFolder, name: str, damaged: Collection[str], tables: Tables, *, old: bool, full: bool
) -> None:
    newest = latest_manifest(folder, name)
    if newest is None:
        if any((folder.db / f"{name}.lance" / "data").glob("*")):
            means = "it has data and no manifest that says what they are"
            do = f"restore db/{name}.lance/_versions from a backup"
            tables.findings.append(finding("damage", "table unreadable", name, means, do))
        return
    if newest in damaged:
        return  # told with the files; what it says cannot be trusted
    opened = open_table(folder, name)
    tables.opened[name] = opened
    is_vectors = name.startswith("emb_")
    if not is_vectors and name not in FIXED:
        means = "a table that locatlas does not know"
        tables.findings.append(finding("note", "unknown table", name, means, "move it away if it is not yours"))
        return
    if not old:
        tables.findings += look_at_schema(opened, None if is_vectors else FIXED[name])
    if not opened.files.isdisjoint(damaged):
        return  # decoding damaged bytes may do anything
    columns = ["source_digest"] if is_vectors else COLUMNS.get(name, [])
    columns = [column for column in columns if column in opened.dataset.schema.names]
    ids = look_at_ids(opened, columns)
    tables.rows[name] = ids.rows
    tables.findings += ids.findings
    if is_vectors and full:
        not_finite, zero = bad_vectors(opened)
        if not_finite:
            means = "vectors with numbers that are not finite: they match nothing, or everything"
            do = "--repair takes them out; then `locatlas reembed` makes them again"
            tables.findings.append(finding("damage", "vectors not finite", name, means, do, of=not_finite))
        if zero:
            means = "vectors of zeros have no direction: they neither find nor are found, and no score counts them"
            do = "look at their images, or at the file that they were imported from"
            tables.findings.append(finding("note", "zero vectors", name, means, do, of=zero))


def _relate(tables: Tables) -> None:
    def rows(name: str) -> pa.Table | None:
        """What could be read; a table that was never made has no rows, and one that is gone says nothing."""
        return tables.rows.get(name, FIXED[name].empty_table() if name in tables.never_made else None)

    encoders, fields, cells = rows("encoders"), rows("fovs"), rows("cells")
    imported = imported_tables(encoders, tables.rows)
    dims = {name: _dim(opened) for name, opened in tables.opened.items() if name.startswith("emb_")}
    for name in dims.keys() & tables.rows.keys():
        if (images := fields if images_of(name) == "fovs" else cells) is not None:
            tables.relations += compare_vectors(name, tables.rows[name], images, imported=name in imported)
    if fields is not None and cells is not None and "n_cells" in fields.column_names:
        tables.relations += compare_cells(cells, fields)
    if encoders is not None:
        tables.relations += compare_encoders(encoders, dims)
        if (maps := rows("maps")) is not None:
            tables.relations += compare_maps(maps, encoders)


def _dim(opened: Opened) -> tuple[int, str] | None:
    """Length of the vectors and the numbers that they are stored in."""
    names = opened.dataset.schema.names
    kind = opened.dataset.schema.field("vector").type if "vector" in names else None
    if kind is None or not pa.types.is_fixed_size_list(kind):
        return None
    return int(kind.list_size), "float16" if pa.types.is_float16(kind.value_type) else "float32"


def imported_tables(encoders: pa.Table | None, names: Iterable[str]) -> set[str]:
    """Embedding tables whose vectors were made elsewhere; all, where encoders cannot be read: any of them may be."""
    if encoders is None:
        return {name for name in names if name.startswith("emb_")}
    rows = encoders.to_pylist()
    return {embedding_table_name(r["level"], r["fingerprint"]) for r in rows if is_imported(r["spec"])}

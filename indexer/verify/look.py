"""Look at a whole atlas once: files, tables, what they say of each other, indices. Reads only."""

import os
import socket
import time
from dataclasses import dataclass, field, replace

from locatlas.indexer.pixel_cache.keeping import damaged_segments
from locatlas.indexer.store.cache_entries import damaged_entries
from locatlas.indexer.store.digests import read_journal
from locatlas.indexer.store.lance_files import Opened, latest_manifest, manifests
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.locks import Owner
from locatlas.indexer.store.schema import SCHEMA_VERSION, embedding_table_name
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy_limits import DROPPED
from locatlas.indexer.verify.declared import Declared, look_at_declared
from locatlas.indexer.verify.file_findings import file_findings
from locatlas.indexer.verify.files import FileState, Told, look_at_files, table_of, unknown_files
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.indexer.verify.hints import look_at_hints
from locatlas.indexer.verify.indices import IndexedTable, look_at_indices
from locatlas.indexer.verify.kept_states import look_at_kept_states
from locatlas.indexer.verify.losses import look_at_losses
from locatlas.indexer.verify.relations import images_of
from locatlas.indexer.verify.report import VerifyReport
from locatlas.indexer.verify.tables import Tables, imported_tables, look_at_tables, table_names

__all__ = ["Looked", "look"]

_TRIES = 3
"""Looks at tables that change meanwhile, before what contradicts is left undecided."""


@dataclass(slots=True)
class Looked:
    """One look at an atlas.

    Attributes:
        report: What was found.
        declared: `atlas.json` and journal.
        state: Of the files of tables.
        opened: Tables that could be opened, at their newest version.
        imported: Embedding tables whose vectors were made elsewhere, or that may be.
        ids: By table, where no file of it is damaged.
        fields_of_cells: Ids of the fields that cells name, likewise.
        whole: Tables of images of which no file is damaged or gone.
    """

    report: VerifyReport
    declared: Declared
    state: FileState
    opened: dict[str, Opened] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    ids: dict[str, list[str]] = field(default_factory=dict)
    fields_of_cells: list[str] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)


def look(folder: AtlasFolder, *, quick: bool, told: Told | None = None) -> Looked:
    """Look at everything; nothing is written, and no lock is taken.

    Args:
        folder: The atlas, which need not have a readable `atlas.json`.
        quick: Sizes, presence, newest versions and ids only.
        told: Called with what is done, bytes so far and in all.
    """
    report = VerifyReport(path=str(folder.path), quick=quick)
    _note_writer(folder, report)
    declared = look_at_declared(folder)
    report.findings += declared.findings
    names = table_names(folder)
    state = _files(folder, declared, names, report, quick=quick, told=told)
    tables = _look_until_still(folder, names, state, report, declared, full=not quick)
    encoders = tables.rows.get("encoders")
    imported = imported_tables(encoders, names)
    current = {name: tables.opened[name].files if name in tables.opened else None for name in names}
    versions = {name: [*manifests(folder, name).values()] for name in names}
    report.findings += file_findings(state, current, versions, lambda table: table in imported)
    report.findings += tables.findings + tables.relations
    report.findings += look_at_losses(folder, tables.rows.keys())
    lacking = {f.where for f in report.findings if f.kind == "rows taken out"}
    report.findings = [
        _kept(f) if f.kind == "orphan vectors" and images_of(f.where) in lacking else f for f in report.findings
    ]
    report.findings += look_at_hints(folder, names, state, declared.journal)
    _indices(folder, report, tables, full=not quick)
    if not report.writers:
        report.findings += _unknown(folder, state)
    report.findings += look_at_kept_states(folder, busy=bool(report.writers))
    report.tables = {name: len(tables.rows[name]) if name in tables.rows else None for name in names}
    report.digests_since = declared.journal.since if declared.journal else None
    order = ("damage", "warning", "note")
    report.findings.sort(key=lambda f: (order.index(f.severity), f.where, f.kind))
    looked = Looked(report, declared, state, tables.opened, imported)
    looked.ids = {name: rows["id"].drop_null().to_pylist() for name, rows in tables.rows.items()}
    if "cells" in tables.rows:
        looked.fields_of_cells = tables.rows["cells"]["fov_id"].drop_null().unique().to_pylist()
    looked.whole = {name for name in ("fovs", "cells") if name in tables.rows or name in tables.never_made}
    return looked


def _kept(orphans: Finding) -> Finding:
    """Vectors whose images a repair took out stay, so that those of other encoders are there when the images are."""
    means = "vectors of images whose rows a repair took out: they answer nothing until these rows are there again"
    return replace(orphans, means=means, do="run the same `locatlas index` again")


def _note_writer(folder: AtlasFolder, report: VerifyReport) -> bool:
    owners = [o for o in (folder.writing_owner(), folder.reembedding_owner()) if o is not None]
    others = [owner for owner in owners if (owner.pid, owner.host) != (os.getpid(), socket.gethostname())]
    report.writers += [said for owner in others if (said := _named(owner)) not in report.writers]
    return bool(others)


def _named(owner: Owner) -> str:
    return f"`{owner.command}`, process {owner.pid} on {owner.host}"


def _files(
    folder: AtlasFolder,
    declared: Declared,
    names: list[str],
    report: VerifyReport,
    *,
    quick: bool,
    told: Told | None,
) -> FileState:
    journal = declared.journal
    if journal is None:
        return FileState()
    read = None
    if quick:
        newest = {latest_manifest(folder, name) for name in names} - {None}
        read = {path for path in journal.files if path in newest or "/_deletions/" in path}
    began = time.perf_counter()
    state = look_at_files(folder, journal, read=read, told=told)
    report.seconds = time.perf_counter() - began
    report.files, report.bytes_read = state.looked_at, state.bytes
    _recheck(folder, state, report)
    return state


def _recheck(folder: AtlasFolder, state: FileState, report: VerifyReport) -> None:
    """Leave out what somebody who writes did meanwhile."""
    busy = _note_writer(folder, report)
    if (now := read_journal(folder)) is None:
        return
    state.unattested = set() if busy else {p for p in state.unattested - now.files.keys() if (folder.path / p).exists()}
    state.removing |= {path for path in state.missing if now.is_removing(path)}
    state.missing = {path for path in state.missing if path in now.files and not now.is_removing(path)}


def _look_until_still(
    folder: AtlasFolder,
    names: list[str],
    state: FileState,
    report: VerifyReport,
    declared: Declared,
    *,
    full: bool,
) -> Tables:
    old = declared.info.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION
    for _ in range(_TRIES):
        known = set() if declared.journal is None else {table_of(path) for path in declared.journal.files}
        tables = look_at_tables(folder, names, state.damaged, known, old=old, full=full)
        if not tables.relations:
            break
        still = all(_newest(folder, name) in opened.files for name, opened in tables.opened.items())
        if still and not _note_writer(folder, report):
            break
    else:
        do = "run `locatlas verify` again when it is done"
        tables.relations = [
            replace(f, severity="note", means=f"{f.means} (seen while another wrote)", do=do) for f in tables.relations
        ]
    return tables


def _newest(folder: AtlasFolder, table: str) -> str:
    return latest_manifest(folder, table) or ""


def _indices(folder: AtlasFolder, report: VerifyReport, tables: Tables, *, full: bool) -> None:
    known: dict[str, IndexedTable] | None = None
    if "encoders" in tables.rows:
        known = {}
        for row in tables.rows["encoders"].to_pylist():
            name = embedding_table_name(row["level"], row["fingerprint"])
            version = tables.opened[name].version if name in tables.opened else None
            ids = tables.rows[name]["id"] if name in tables.rows else None
            known[name] = IndexedTable(row["fingerprint"], row["dim"], version, ids)
    found, n_bytes = look_at_indices(folder, known, full=full, store=Store(folder, as_is=True) if full else None)
    wrong, n_more = damaged_entries(folder, full=full)
    means = "a derived copy of vectors is not what was written: answers made from it may be wrong"
    do = "--repair removes it; it is made again when it is next of use"
    report.findings += [
        finding("damage", "cache damaged", path, f"{means} ({why})", do, of=[path]) for path, why in wrong.items()
    ]
    report.findings += found
    unpacked, n_pixels = damaged_segments(folder, full=full)
    means = "decoded images are not what was written: they are not used, and decoded anew each time"
    do = "--repair removes them; `locatlas pack` makes them again"
    report.findings += [
        finding("damage", "pixels damaged", path, f"{means} ({why})", do, of=[path]) for path, why in unpacked.items()
    ]
    report.bytes_read += n_bytes + n_more + n_pixels


def _unknown(folder: AtlasFolder, state: FileState) -> list[Finding]:
    if (journal := read_journal(folder)) is None:
        return []
    found = unknown_files(folder, {*journal.files, *state.unattested})
    # a table that `maintain` was deleting when it was killed: it is out of every reader's sight, and goes on there
    dropped = [path for path in found if path.startswith(f"db/{DROPPED}")]
    findings = []
    if dropped:
        means = "what is left of tables whose deletion was stopped: no damage"
        findings.append(finding("note", "deletion stopped", "db", means, "run `locatlas maintain`", of=dropped))
    found = [path for path in found if path not in set(dropped)]
    if not found:
        return findings
    means = "files that locatlas did not write, or that a writer that was killed left: nothing reads them"
    findings.append(finding("note", "unknown files", ".", means, "--repair moves them to damaged/", of=found))
    return findings

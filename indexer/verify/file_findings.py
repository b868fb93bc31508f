"""What the state of a table's files means, table by table. Pure."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from locatlas.indexer.verify.files import FileState, table_of
from locatlas.indexer.verify.finding import Finding, finding

__all__ = ["file_findings", "remedy"]

_ROWS = {
    "fovs": "--repair sets the file aside and takes its rows out; then run the same `locatlas index` again",
    "cells": "--repair sets the file aside and takes its rows out; then run the same `locatlas index` again",
    "quarantine": "--repair sets the file aside; the next `locatlas index` tries those sources again",
    "benchmarks": "--repair sets the file aside; the next `locatlas benchmark` measures again what was in it",
    "maps": "--repair sets the file aside; the next `locatlas map` draws again what was in it",
    "runs": "--repair sets the file aside; what runs it told of is lost, no image or vector is",
    "annotations": "restore db/annotations.lance from a backup; or --repair sets the file aside and takes its rows "
    "out, and `locatlas annotate import` reads the sheets again",
    "encoders": "restore db/encoders.lance from a backup; --repair leaves it alone",
    "trainings": "restore db/trainings.lance from a backup; --repair leaves it alone",
    "segmenters": "restore db/segmenters.lance from a backup; --repair leaves it alone",
}
_VECTORS = "--repair sets the file aside and takes its vectors out; then `locatlas reembed` makes them again"
_IMPORTED = (
    "--repair sets the file aside and takes its vectors out; then run `locatlas import-embeddings` with their file "
    "again: no image could give them back"
)


def remedy(table: str, *, imported: bool) -> str:
    """What to do about a damaged data file."""
    return _ROWS.get(table, _IMPORTED if imported else _VECTORS)


def file_findings(
    state: FileState,
    current: Mapping[str, frozenset[str] | None],
    versions: Mapping[str, Collection[str]],
    imported: Callable[[str], bool],
) -> list[Finding]:
    """Findings about files.

    Args:
        state: What became of them.
        current: Files of the newest version, by table; None where that cannot be opened.
        versions: Manifests of all versions, by table.
        imported: Whether the vectors of a table were made elsewhere.
    """
    findings: list[Finding] = []
    kinds = {
        "file missing": state.missing,
        "file truncated": state.truncated,
        "file changed": state.changed,
        "file unreadable": set(state.unreadable),
    }
    for kind, paths in kinds.items():
        for (table, part, in_use), files in sorted(_grouped(paths, current).items()):
            means, do = _meaning(table, part, in_use=in_use, imported=imported(table))
            if part == "_versions" and in_use and state.damaged.issuperset(versions.get(table, ())):
                do = f"restore db/{table}.lance from a backup: no other version of it is there that could answer"
            findings.append(finding("damage", kind, f"db/{table}.lance", means, do, of=files))
    for (table, _, in_use), files in sorted(_grouped(state.unattested, current, by_part=False).items()):
        if in_use:
            means = "written by a run that died before their digests were taken: damage to them cannot be found yet"
            do = "the next command that writes takes them in and says so; or --repair now"
            findings.append(finding("warning", "no digest", f"db/{table}.lance", means, do, of=files))
        else:
            means = "written by a run that died, and of no use to the newest version: they take space only"
            do = "the next command that writes takes them in"
            findings.append(finding("note", "left over", f"db/{table}.lance", means, do, of=files))
    if state.removing:
        means = "their deletion was begun and stopped: no damage"
        findings.append(
            finding("note", "deletion stopped", "db", means, "run `locatlas maintain`", of=[*state.removing])
        )
    return findings


def _grouped(
    paths: set[str], current: Mapping[str, frozenset[str] | None], *, by_part: bool = True
) -> dict[tuple[str, str, bool], list[str]]:
    groups: defaultdict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for path in paths:
        table = table_of(path)
        files = current.get(table)
        part = path.split("/")[2]
        in_use = path in files if files is not None else part != "_transactions"
        groups[table, part if by_part else "", in_use].append(path)
    return groups


def _meaning(table: str, part: str, *, in_use: bool, imported: bool) -> tuple[str, str]:
    aside = "--repair sets it aside"
    if part == "_transactions":
        return "a record of how a version was made, which nothing reads once it is there", aside
    if not in_use:
        return "of a version before the newest, which nothing reads any more", aside
    if part == "_versions":
        do = "--repair sets it aside, so that the version before answers; then run again what was run last"
        return "the newest version cannot be trusted, with every row of the table", do
    what = "which rows were deleted" if part == "_deletions" else "the rows in it"
    return f"{what} cannot be trusted: answers from them may be wrong", remedy(table, imported=imported)

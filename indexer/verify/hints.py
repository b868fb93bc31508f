"""Lance's hint of the newest version, the one file of a table that is written over. Reads files."""

from collections.abc import Iterable

from locatlas.indexer.store.digest_lines import Journal
from locatlas.indexer.store.lance_files import manifests, read_hint
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.verify.files import FileState
from locatlas.indexer.verify.finding import Finding, finding

__all__ = ["hint_path", "look_at_hints"]


def hint_path(table: str) -> str:
    """Path of the hint below the atlas."""
    return f"db/{table}.lance/_versions/latest_version_hint.json"


def look_at_hints(
    folder: AtlasFolder, tables: Iterable[str], state: FileState, journal: Journal | None
) -> list[Finding]:
    """Hints that name another version than the newest; those that a kill left behind are no damage."""
    findings = []
    for table in tables:
        versions = manifests(folder, table)
        try:
            said = read_hint(folder, table)
        except FileNotFoundError:
            continue  # Lance does without
        newest = max(versions, default=0)
        if said == newest or (said is not None and said > newest and not state.damaged):
            said_now = read_hint(folder, table)
            if said == newest or (said_now is not None and said_now in manifests(folder, table)):
                continue  # or committed between the two looks
        where = hint_path(table)
        file = journal.files.get(versions.get(newest, "")) if journal is not None else None
        if said in versions and (file is None or file.late):
            means = "it names the version before the newest: a run died just then. Lance finds the newest itself"
            findings.append(finding("note", "hint stale", where, means, "nothing", of=[where]))
        else:
            means = "it is not what was written; Lance finds the newest version without it"
            findings.append(finding("damage", "hint damaged", where, means, "--repair removes it", of=[where]))
    return findings

"""`atlas.json`, the journal of digests and its head: are they what was written? Reads files."""

import json
from dataclasses import dataclass, field
from typing import Any

from locatlas.indexer.store.digest_lines import Journal
from locatlas.indexer.store.digests import is_cut, read_head, read_journal
from locatlas.indexer.store.layout import AtlasFolder, info_bytes
from locatlas.indexer.verify.finding import Finding, finding

__all__ = ["Declared", "look_at_declared"]

_TRIES = 5


@dataclass(slots=True)
class Declared:
    """What an atlas says of itself.

    Attributes:
        info: Contents of `atlas.json`, without its seal; empty where it cannot be read.
        journal: Digests; None where there are none.
        findings: What is wrong with either.
    """

    info: dict[str, Any]
    journal: Journal | None
    findings: list[Finding] = field(default_factory=list)


def look_at_declared(folder: AtlasFolder) -> Declared:
    """Read `atlas.json` and the journal; whatever is wrong with them is a finding."""
    findings: list[Finding] = []
    head = read_head(folder)
    journal = read_journal(folder)
    for _ in range(_TRIES):  # a writer may be in the middle of a line, or between journal and head
        if journal is not None and not journal.torn and (head or not folder.head_path.exists()):
            break
        head = read_head(folder)
        journal = read_journal(folder)
    info = _info(folder, findings, has_journal=journal is not None)
    if journal is None:
        _without_journal(folder, info, head, findings)
    else:
        _journal(folder, journal, head, findings)
    return Declared(info, journal, findings)


def _info(folder: AtlasFolder, findings: list[Finding], *, has_journal: bool) -> dict[str, Any]:
    name = folder.info_path.name
    restore = "restore it from a backup; --repair writes one without roots, which the next `locatlas index` declares"
    try:
        data = folder.info_path.read_bytes()
    except FileNotFoundError:
        means = "where the images lie and which version the tables have is not known"
        findings.append(finding("damage", "atlas.json missing", name, means, restore))
        return {}
    try:
        info = json.loads(data)
        sealed = info.pop("seal", None) is not None
        whole = info_bytes(info) == data
    except (ValueError, AttributeError, TypeError):
        means = "it is not JSON any more: no command opens the atlas"
        findings.append(finding("damage", "atlas.json damaged", name, means, restore))
        return {}
    if not whole and (sealed or has_journal or "digests_since" in info):
        means = "it is not what locatlas wrote: a root may point elsewhere, or it was edited by hand"
        do = "look at the roots in it; if they are right, --repair seals it as it is, else restore it from a backup"
        findings.append(finding("damage", "atlas.json changed", name, means, do))
    return dict(info)


def _without_journal(
    folder: AtlasFolder, info: dict[str, Any], head: tuple[int, int] | None, findings: list[Finding]
) -> None:
    name = folder.journal_path.relative_to(folder.path).as_posix()
    # the first journal of all is begun by a head that vouches for nothing yet
    if "digests_since" in info or (folder.head_path.exists() and head != (1, 0)):
        means = "digests were taken and are gone: a flipped bit of a table cannot be found now"
        do = "restore it from a backup; --repair takes them anew of what is there now, and says since when"
        findings.append(finding("damage", "journal missing", name, means, do))
    elif any(folder.db.glob("*.lance")):
        means = "this atlas was last written by a locatlas without digests: a flipped bit of a table cannot be found"
        do = "they begin with the next command that writes, or now with --repair"
        findings.append(finding("warning", "no digests", name, means, do))


def _journal(folder: AtlasFolder, journal: Journal, head: tuple[int, int] | None, findings: list[Finding]) -> None:
    name = folder.journal_path.relative_to(folder.path).as_posix()
    head_name = folder.head_path.relative_to(folder.path).as_posix()
    anew = "--repair writes the journal anew and takes the digests of files that have none"
    if journal.bad:
        means = f"lines {', '.join(map(str, journal.bad[:5]))} are not what was written; their files count as uncovered"
        findings.append(finding("damage", "journal damaged", name, means, anew, of=[f"line {n}" for n in journal.bad]))
    if head is None:
        means = "how long the journal of digests must be is not known"
        findings.append(finding("damage", "head damaged", head_name, means, "--repair writes it anew"))
    elif is_cut(journal, head) and (journal.generation or not journal.bad):
        means = "the journal of digests is shorter than it was: lines are missing at its end"
        findings.append(finding("damage", "journal truncated", name, means, anew))
    if journal.torn:
        means = "its last line was not written to its end: a run died just then; that is no damage"
        findings.append(finding("note", "journal torn", name, means, "the next command that writes mends it"))
    if journal.begun_again:
        means = "digests were lost, and taken anew of what was there then: what was damaged before is not known"
        findings.append(finding("note", "digests begun again", name, means, "nothing"))
    if late := [file for file in journal.files.values() if file.late]:
        days = sorted({file.at[:10] for file in late})
        means = (
            f"{len(late)} files were left by a run that died before their digests were taken; taken afterwards, on "
            f"{', '.join(days[:3])}: damage between is not known"
        )
        findings.append(finding("note", "digests late", name, means, "nothing", of=[file.path for file in late]))

"""What upgrades kept in `before-upgrade/` against the digests in its own records. Reads only."""

from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.backup.before_upgrade import BEFORE_UPGRADE
from locatlas.indexer.backup.check import CHANGED, MISSING, bad_files
from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.backup.states import BackupFolder
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.verify.finding import Finding, finding

__all__ = ["look_at_kept_states"]


def look_at_kept_states(folder: AtlasFolder, *, busy: bool = False) -> list[Finding]:
    """Findings about each state that was kept before an upgrade: some kB, so every byte is read, also in a quick look.

    The data files that it names lie in the tables of the atlas, where the journal tells what became of their bytes;
    here it is seen that they are there.

    Args:
        folder: The atlas.
        busy: Whether another writes to it: an upgrade may be about to write a record.
    """
    findings: list[Finding] = []
    for path in sorted(path for path in (folder.path / BEFORE_UPGRADE).glob("schema-*") if path.is_dir()):
        if any(file.is_file() for file in path.rglob("*")):
            findings += _look(folder, BackupFolder(path), busy=busy)
    return findings


def _look(folder: AtlasFolder, kept: BackupFolder, *, busy: bool) -> list[Finding]:
    where = kept.path.relative_to(folder.path).as_posix()
    record = f"{where}/{kept.record_path.name}"
    try:
        said = kept.newest()
        bad = [] if said is None else bad_files(kept, said)
    except InputError as error:
        return _damaged(kept, where, [record], str(error))
    except OSError as error:
        return [_unreadable(where, [record], error.strerror or str(error))]
    if said is None:
        return [] if busy else _recordless(kept, where, record)
    if bad and _again(kept) != said:
        return []  # it is being given up, or upgraded, by somebody whose lock was not seen
    left = [one.file.path for one in bad if not one.file.digest]
    held = [one for one in bad if one.file.digest]
    odd = [one for one in held if one.how not in (MISSING, CHANGED)]
    if odd:
        return [_unreadable(where, [_below(folder, one.path) for one in odd], odd[0].how)]
    if held:
        return _damaged(kept, where, [_below(folder, one.path) for one in held], "bytes are not what was kept")
    if left:
        means = "needs data files that are not in the atlas any more, so that `restore` cannot give it back"
        do = (
            "put the files back, from damaged/ or from where the atlas was copied; or, if the atlas as it was before "
            f"its upgrade is not needed, delete the folder {where}: no query reads it"
        )
        return [finding("warning", "kept state incomplete", where, means, do, of=left)]
    return []


def _damaged(kept: BackupFolder, where: str, bad: list[str], why: str) -> list[Finding]:
    means = f"the atlas as it was before an upgrade cannot be given back ({why}); the atlas as it is does not need it"
    do = f"restore {where} from a backup of the atlas; or --repair gives it up and moves it to damaged/"
    return [finding("damage", "kept state damaged", where, means, do, of=bad), _useless(kept, where)]


def _recordless(kept: BackupFolder, where: str, record: str) -> list[Finding]:
    means = f"has no {record}, so nothing can give it back: a run that was killed left it, or the record was lost"
    do = "an upgrade that was killed keeps it again when it goes on; else --repair gives it up and moves it to damaged/"
    return [finding("warning", "kept state unfinished", where, means, do, of=[record]), _useless(kept, where)]


def _useless(kept: BackupFolder, where: str) -> Finding:
    """All that is left of a state, in the words by which a repair sets files aside."""
    top = kept.path.parents[1]
    files = [path.relative_to(top).as_posix() for path in kept.path.rglob("*") if path.is_file() or path.is_symlink()]
    means = "files of a kept state that cannot be given back: nothing can use them"
    return finding("note", "unknown files", where, means, "--repair moves them to damaged/", of=files)


def _unreadable(where: str, paths: list[str], why: str) -> Finding:
    means = f"what was kept before an upgrade cannot be read ({why}), which says nothing of its bytes"
    do = f"look at the disk, and copy {where} elsewhere; it is left where it is"
    return finding("damage", "kept state unreadable", where, means, do, of=paths)


def _again(kept: BackupFolder) -> BackupRecord | None:
    try:
        return kept.newest()
    except (InputError, OSError):
        return None


def _below(folder: AtlasFolder, path: Path) -> str:
    return path.relative_to(folder.path).as_posix()

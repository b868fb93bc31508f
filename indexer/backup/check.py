"""Compare what a backup holds with what its record says, and set aside what is not that. I/O."""

import hashlib
import os
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.backup.before_upgrade import BEFORE_UPGRADE
from locatlas.indexer.backup.files import blocks, open_regular
from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.backup.states import BackupFolder

__all__ = ["CHANGED", "MISSING", "BadFile", "bad_files", "damaged", "is_before_upgrade", "set_aside", "source_of"]

MISSING, CHANGED = "missing", "not what was copied"


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file of a state that cannot be given back.

    Attributes:
        file: As its record has it.
        path: Where its bytes should be.
        how: `MISSING`, `CHANGED`, or why it cannot be read, which says nothing of its bytes.
    """

    file: BackedFile
    path: Path
    how: str


def bad_files(
    folder: BackupFolder, record: BackupRecord, *, progress: Callable[[str, int, int], None] | None = None
) -> list[BadFile]:
    """The files of a state that are not what was copied; of those without a digest the size alone is compared.

    Args:
        folder: The backup, of which nothing is written.
        record: One of its states.
        progress: Told of bytes.

    Raises:
        InputError: If a file has no digest in a record that must have them.
    """
    bad, done = [], 0
    for file in record.files:
        path = source_of(folder, file)
        if (how := _how_bad(path, file)) is not None:
            bad.append(BadFile(file, path, how))
        done += file.size
        if progress:
            progress("checking", done, record.bytes)
    return bad


def _how_bad(path: Path, file: BackedFile) -> str | None:
    try:
        with open_regular(path) as f:
            if os.fstat(f.fileno()).st_size != file.size:
                return CHANGED
            digest = hashlib.blake2b(digest_size=16)
            for block in blocks(f, at_most=file.size + 1) if file.digest else ():
                digest.update(block)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return error.strerror or str(error)
    return CHANGED if file.digest and digest.hexdigest() != file.digest else None


def source_of(folder: BackupFolder, file: BackedFile) -> Path:
    """Where the bytes of a file lie: those of tables before an upgrade were left in the atlas, two folders up.

    Raises:
        InputError: If another record has a file without a digest: it would be read from anywhere.
    """
    if not file.digest and not (is_before_upgrade(folder) and file.path.startswith("db/")):
        message = f"{folder.path}: {file.path} has no digest in its record, which no backup has; nothing was restored"
        raise InputError(message)
    return folder.held.path(file.digest) if file.digest else folder.path.parents[1] / file.path


def is_before_upgrade(folder: BackupFolder) -> bool:
    """Whether this was kept in an atlas by an upgrade."""
    return folder.path.parent.name == BEFORE_UPGRADE


def damaged(folder: BackupFolder, record: BackupRecord, bad: Sequence[BadFile]) -> str:
    """One line about files that cannot be given back, with the states that need none of them."""
    first, digests = bad[0], {one.file.digest for one in bad}
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    others = [other.name for other in folder.states().records if other.at != record.at and _is_free_of(other, digests)]
    advice = f"try another state with --state: {', '.join(others)}" if others else "it has no other state without it"
    what = f"{'are' if more else 'is'} missing or not what was copied"
    if first.how not in (MISSING, CHANGED):
        what = f"cannot be read ({first.how})"
    return f"{first.path}: {first.file.path}{more} {what}; nothing was restored, {advice}"


def _is_free_of(record: BackupRecord, digests: Collection[str]) -> bool:
    return not any(file.digest in digests for file in record.files)


def set_aside(folder: BackupFolder, record: BackupRecord, bad: Sequence[BadFile]) -> str:
    """Rename files that hold other bytes, so that the next backup copies them again; what to do, in words.

    Files that cannot be read stay: that says nothing of their bytes. So does what is good when it is read again.
    """
    changed = [one for one in bad if one.how == CHANGED]
    left = ""
    if changed:
        try:
            with folder.writing():
                for one in changed:
                    if _how_bad(one.path, one.file) == CHANGED:
                        folder.held.set_aside(one.file.digest)
        except (OSError, LocatlasError) as error:
            left = f"; delete them first, they could not be set aside ({error})"
    back_up = f"`locatlas backup --atlas {shlex.quote(record.atlas)} --to {shlex.quote(str(folder.path))}`"
    return f"{back_up} copies again what is missing or not what was copied, where the atlas still has it{left}"

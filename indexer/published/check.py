"""Compare the objects of a published state with their digests; store and copy mend each other. Network."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from locatlas.indexer.backup.record import BackedFile, BackupRecord
from locatlas.indexer.published.fetch import download
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import name_of
from locatlas.indexer.store.digests import read_journal
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["CHANGED", "MISSING", "bad_objects", "exchange"]

MISSING, CHANGED = "missing", "changed"

Told = Callable[[str, int, int], None]


def bad_objects(
    objects: Objects, record: BackupRecord, *, quick: bool, told: Told | None = None
) -> tuple[dict[str, str], int]:
    """How objects that a state needs are bad, by digest, and the bytes that were read.

    Args:
        objects: Where it is published.
        record: The state.
        quick: Presence and sizes only, by a list.
        told: Called with what is done, bytes so far and in all.

    Raises:
        InputError: If the store cannot be reached.
    """
    listed, sizes = objects.listed("files"), {file.digest: file.size for file in record.files}
    bad, done, total = dict[str, str](), 0, sum(sizes.values())
    for digest, size in sizes.items():
        one = listed.get(name_of(digest))
        if one is None:
            bad[digest] = MISSING
        elif one.size != size or (not quick and _digest_of(objects, digest) != digest):
            bad[digest] = CHANGED
        done += size
        if told and not quick:
            told("reading objects", done, total)
    return bad, 0 if quick else done


def _digest_of(objects: Objects, digest: str) -> str | None:
    found = hashlib.blake2b(digest_size=16)
    try:
        for block in objects.blocks(name_of(digest)):
            found.update(block)
    except FileNotFoundError:
        return None
    return found.hexdigest()


def exchange(objects: Objects, record: BackupRecord, bad: dict[str, str], folder: AtlasFolder) -> list[str]:
    """Send objects that are bad and that a copy has, and fetch files of the copy that are bad and that the store has.

    Args:
        objects: Where it is published; the lease is held.
        record: The state.
        bad: Of `bad_objects`.
        folder: The copy that is written, which began from this state.

    Returns:
        What was done, in words.

    Raises:
        InputError: If the store cannot be reached.
    """
    journal, done = read_journal(folder), list[str]()
    sent: set[str] = set()
    for file in record.files:
        here = _digest_here(folder.path / file.path)
        if file.digest in bad:
            if here == file.digest and file.digest not in sent:
                objects.write(name_of(file.digest), (folder.path / file.path).read_bytes())
                sent.add(file.digest)
                done.append(f"{name_of(file.digest)}: sent again from {file.path} of this machine's copy")
            continue
        attested = None if journal is None else journal.files.get(file.path)
        # what was removed or written anew since is no damage
        if here != file.digest and attested is not None and attested.digest == file.digest:
            if journal is not None and journal.is_removing(file.path):
                continue
            _fetch_again(objects, file, folder.path / file.path)
            done.append(f"{file.path}: fetched again, this machine's copy had other bytes")
    return done


def _digest_here(path: Path) -> str | None:
    try:
        return file_digest(path)[1]
    except OSError:
        return None


def _fetch_again(objects: Objects, file: BackedFile, path: Path) -> None:
    """Replace a file, which may be one with those of other copies (a link), by what is published."""
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with suppress(FileNotFoundError):
        new.unlink()
    download(objects, file, new)
    new.replace(path)

"""Files of tables against the journal of digests: missing, truncated, changed, without a digest, unknown. I/O."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from locatlas.indexer.store.digest_lines import Attested, Journal
from locatlas.indexer.store.digests import committed_files
from locatlas.indexer.store.file_digest import file_digest
from locatlas.indexer.store.layout import AtlasFolder

__all__ = ["FileState", "look_at_files", "table_of", "unknown_files"]

THREADS = min(8, os.cpu_count() or 1)

Told = Callable[[str, int, int], None]

_OURS = re.compile(
    r"atlas\.json|\.published/[^/]*|\.lock|\.lock-owner|\.reembedding/(lock|owner)"
    r"|digests/(files\.jsonl|head\.json|taken-out\.json)|indices/emb_(fov|cell)_[0-9a-f]{12}\.(faiss|ids|json|[0-9a-f]{16}\.disk/.*)"
    r"|db/[^/.][^/]*\.lance/_versions/latest_version_hint\.json"
    r"|(damaged|cache|before-upgrade)/.*"
)


@dataclass(slots=True)
class FileState:
    """What became of the files of tables; paths are below the atlas.

    Attributes:
        missing: Named by the journal, and not there.
        truncated: Of another size than the journal says.
        changed: Of this size, and with other bytes.
        unreadable: With the reason.
        unattested: There, and not named by the journal.
        removing: Missing, but their deletion was begun.
        looked_at: Files.
        bytes: Read for their digests.
    """

    missing: set[str] = field(default_factory=set)
    truncated: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    unattested: set[str] = field(default_factory=set)
    removing: set[str] = field(default_factory=set)
    looked_at: int = 0
    bytes: int = 0

    @property
    def damaged(self) -> set[str]:
        """Files that are not what was written."""
        return self.missing | self.truncated | self.changed | set(self.unreadable)


def table_of(path: str) -> str:
    """The table that a file below the atlas is of; "" if it is of none."""
    parts = path.split("/")
    return parts[1].removesuffix(".lance") if len(parts) > 2 and parts[0] == "db" else ""


def look_at_files(
    folder: AtlasFolder, journal: Journal, *, read: Collection[str] | None, told: Told | None = None
) -> FileState:
    """Compare the files of tables with the journal.

    Args:
        folder: The atlas.
        journal: As it was read just before.
        read: Files whose digests are taken; None for all.
        told: Called with what is done, bytes so far and bytes in all.
    """
    state = FileState(looked_at=len(journal.files))
    here = {
        name
        for path in folder.db.glob("*.lance")
        if not path.name.startswith(".")
        for name, _ in committed_files(folder, path.stem)
    }
    state.unattested = here - journal.files.keys()
    to_read: list[tuple[Path, Attested]] = []
    for name, file in journal.files.items():
        path = folder.path / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            (state.removing if journal.is_removing(name) else state.missing).add(name)
            continue
        except OSError as error:
            state.unreadable[name] = error.strerror or str(error)
            continue
        if size != file.size:
            state.truncated.add(name)
        elif read is None or name in read:
            to_read.append((path, file))
    _read_all(to_read, state, told)
    return state


def _read_all(files: Sequence[tuple[Path, Attested]], state: FileState, told: Told | None) -> None:
    total = sum(file.size for _, file in files)
    with ThreadPoolExecutor(THREADS) as pool:
        # the largest first, so that no thread is left with one at the end
        ordered = sorted(files, key=lambda item: -item[1].size)
        for file, found in pool.map(_digest_of, ordered):
            if isinstance(found, OSError):
                if isinstance(found, FileNotFoundError):
                    state.missing.add(file.path)
                else:
                    state.unreadable[file.path] = found.strerror or str(found)
                continue
            state.bytes += found[0]
            if found != (file.size, file.digest):
                state.changed.add(file.path)
            if told is not None:
                told("reading", state.bytes, total)


def _digest_of(item: tuple[Path, Attested]) -> tuple[Attested, tuple[int, str] | OSError]:
    path, file = item
    try:
        return file, file_digest(path)
    except OSError as error:
        return file, error


def unknown_files(folder: AtlasFolder, known: Iterable[str]) -> list[str]:
    """Files below the atlas that neither the journal nor locatlas itself knows."""
    known = set(known)
    found = []
    for parent, _, names in os.walk(folder.path):
        for name in names:
            path = (Path(parent) / name).relative_to(folder.path).as_posix()
            if path not in known and not _OURS.fullmatch(path):
                found.append(path)
    return sorted(found)

"""Files below a root, confined to it, and records in a fixed order without duplicates. Looks at folders."""

import logging
import os
import shlex
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from locatlas.errors import InputError
from locatlas.indexer.reasons import natural
from locatlas.indexer.records import ImageRecord, RejectedSource

__all__ = ["IMAGE_SUFFIXES", "Found", "file_problem", "find_files", "in_order", "make_id", "roots_to_declare", "shown"]

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".tif", ".tiff", ".tif.gz", ".tiff.gz", ".png", ".jpg", ".jpeg", ".npy")


@dataclass(slots=True)
class Found:
    """What lies below a root.

    Attributes:
        root: The resolved folder.
        files: Plain files and links to files, sorted by path below the root.
        notes: What could not be looked into, for one line in the log.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_files(root: Path) -> Found:
    """All files below a folder. Hidden ones are left out; linked folders are not followed, which is logged."""
    found = Found(root)

    def unreadable(error: OSError) -> None:
        found.notes.append(f"{error.filename}: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        hidden = [n for n in folders if n.startswith(".")]
        links = [n for n in folders if n not in hidden and os.path.islink(os.path.join(folder, n))]
        found.notes += [f"{os.path.join(folder, n)}: a linked folder is not followed" for n in links]
        folders[:] = sorted(n for n in folders if n not in hidden)
        found.files += [Path(folder, n) for n in names if not n.startswith(".")]
    found.files.sort(key=lambda p: p.parts)
    for note in found.notes:
        logger.warning("%s", _printable(note))
    return found


def shown(path: Path, root: Path) -> str:
    """How a file is called in messages: below the root where it is, printable in any case."""
    return _printable(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path))


def _printable(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def make_id(dataset: str, name: str) -> str:
    """The id "<dataset>/<name>", NFC-normalised.

    Raises:
        InputError: If the name is empty, or has control characters or bytes that are no text.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        message = f"{_printable(name)!r} cannot be an id: it is empty, or has control characters"
        raise InputError(message)
    return f"{dataset}/{name}"


_OUTSIDE = "lies outside the folders that may be read; --root "


_ROOTS_NAMED = 3
"""Folders that are named where no one folder holds all."""


def roots_to_declare(reasons: Iterable[str]) -> str | None:
    """Where the reasons of `file_problem` name several folders to be declared, a line with the one that holds them all.

    Args:
        reasons: Of rejected sources.
    """
    named = {shlex.split(reason.partition(_OUTSIDE)[2])[0] for reason in reasons if _OUTSIDE in reason}
    if len(named) < 2:
        return None
    folders = sorted(map(Path, named))
    holds_all = Path(os.path.commonpath(folders))
    # the whole disk is no folder of images
    roots = [holds_all] if len(holds_all.parts) > 2 else folders[:_ROOTS_NAMED]
    more = "" if len(roots) == 1 or len(folders) <= _ROOTS_NAMED else f", and {len(folders) - _ROOTS_NAMED} more,"
    options = " ".join(f"--root {shlex.quote(str(folder))}" for folder in roots)
    return f"sources lie in {len(folders)} folders that may not be read: {options}{more} would declare them"


@lru_cache(maxsize=4096)
def _resolved_folder(folder: str) -> Path:
    return Path(folder).resolve()


def file_problem(path: Path, roots: Sequence[Path]) -> str | None:
    """Why a file must not be used: missing, not a plain file, or (after following links) outside all roots.

    Args:
        path: Absolute.
        roots: Resolved folders.

    Returns:
        The reason, without the file's name; None if it may be used.
    """
    try:
        status = path.lstat()
        target = _resolved_folder(str(path.parent)) / path.name
        if stat.S_ISLNK(status.st_mode) or path.name == "..":
            target = path.resolve(strict=True)
            status = target.stat()
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError, RuntimeError) as error:  # too long, NUL inside, a loop of links
        return f"cannot be looked at: {error}"
    if not any(target.is_relative_to(root) for root in roots):
        return f"{_OUTSIDE}{shlex.quote(str(target.parent))} declares its folder"
    if not stat.S_ISREG(status.st_mode):
        return "not a plain file"
    return None


def in_order(items: Iterable[ImageRecord | RejectedSource], root: Path) -> Iterator[ImageRecord | RejectedSource]:
    """Records sorted by id, each id once, then the rejected sources sorted by name.

    Args:
        items: In the order in which the first of two equal ids is to be kept.
        root: For the names in messages.
    """
    records: dict[str, ImageRecord] = {}
    rejected: list[RejectedSource] = []
    for item in items:
        if isinstance(item, RejectedSource):
            rejected.append(item)
        elif (first := records.setdefault(item.id, item)) is not item:
            names = [shown(r.sources[0].path, root) for r in (item, first)]
            reason = f"id {item.id!r} is already that of {names[1]}, which is kept"
            rejected.append(RejectedSource(names[0], reason, item.dataset))
    yield from (records[key] for key in sorted(records))
    yield from sorted(rejected, key=lambda r: (natural(r.source), r.reason))

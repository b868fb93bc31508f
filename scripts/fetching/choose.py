"""Which proteins to fetch: by name, by class, some of each. Pure, but for reading a list of names."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from locatlas.errors import InputError, UnknownNameError

__all__ = ["by_class", "read_names"]


def read_names(path: Path) -> list[str]:
    """Names from a file, one a line; what follows a `#`, and empty lines, are left out.

    Raises:
        InputError: If it cannot be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of names ({error})") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        message = f"{path}: holds no names"
        raise InputError(message)
    return names


def by_class(
    labels: Mapping[str, Sequence[str]], *, classes: Sequence[str] = (), per_class: int | None = None, seed: int = 0
) -> set[str]:
    """Proteins that carry one of some classes, at most so many of each.

    Args:
        labels: Classes of each protein.
        classes: Those wanted; all if empty.
        per_class: Proteins of each class; None for all. A protein with two classes counts for both, so that classes
            that come later may bring fewer of their own.
        seed: Which ones: proteins are taken in the order of a hash of seed and name, so that more of a class are the
            same ones and some more.

    Raises:
        UnknownNameError: If nothing carries a class.
    """
    known = {label for found in labels.values() for label in found}
    for name in classes:
        if name not in known:
            raise UnknownNameError("class", name, known)
    chosen: set[str] = set()
    ordered = sorted(labels, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    for wanted in sorted(classes or known):
        members = [name for name in ordered if wanted in labels[name]]
        chosen |= set(members if per_class is None else members[:per_class])
    return chosen

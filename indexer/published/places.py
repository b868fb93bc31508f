"""Where copies of atlases that lie in object stores stand on this machine. Reads names only."""

import hashlib
from pathlib import Path

from locatlas.models.home import home

__all__ = ["mirrors_of", "states_in", "working_folder"]


def mirrors_of(uri: str) -> Path:
    """The folder of the copies of an address that are read, one for each state."""
    return home() / "mirrors" / _hashed(uri)


def states_in(mirrors: Path) -> list[Path]:
    """The copies in such a folder, the newest last."""
    found = (path for path in mirrors.glob("[!.]*") if path.is_dir())
    return sorted(found, key=lambda path: path.stat().st_mtime)


def working_folder(uri: str) -> Path:
    """The folder of the copy of an address that is written, and of what stands beside it."""
    return home() / "working" / _hashed(uri)


def _hashed(uri: str) -> str:
    return hashlib.blake2b(uri.encode(), digest_size=12).hexdigest()

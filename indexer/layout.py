"""The folder of an atlas: where things lie, `atlas.json`, the declared roots, and the one-writer lock. I/O."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from locatlas.errors import AtlasLockedError, InputError, StoreDamagedError

__all__ = ["AtlasFolder", "write_atomically"]

FORMAT = "locatlas atlas"


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside `path`, flush to disk, rename: a reader sees the old or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    temporary.replace(path)


@dataclass(frozen=True, slots=True)
class AtlasFolder:
    """Paths inside an atlas.

    Attributes:
        path: The atlas folder, absolute.
    """

    path: Path

    @property
    def db(self) -> Path:
        """LanceDB's folder."""
        return self.path / "db"

    @property
    def indices(self) -> Path:
        """FAISS files: derived, can always be rebuilt."""
        return self.path / "indices"

    @property
    def info_path(self) -> Path:
        """The file that says that this is an atlas, of which schema, and where the roots are."""
        return self.path / "atlas.json"

    @classmethod
    def create(cls, path: Path, info: dict[str, Any]) -> "AtlasFolder":
        """Make an atlas folder, or open the one that is there.

        Args:
            path: A folder that is absent, empty, or an atlas.
            info: First contents of `atlas.json`.

        Raises:
            InputError: If the path is a file, or a folder with other things in it.
        """
        folder = cls(path.expanduser().resolve())
        if folder.info_path.is_file():
            return folder
        if folder.path.exists() and not folder.path.is_dir():
            message = f"{path}: is a file; an atlas is a folder"
            raise InputError(message)
        # a creation that was killed may have left the lock and an empty db/; anything else belongs to somebody
        if folder.path.is_dir() and (other := sorted(set(os.listdir(folder.path)) - {"db", ".lock", ".lock-owner"})):
            message = f"{path}: not an atlas, and not empty (holds {other[0]!r}); name an atlas or an empty folder"
            raise InputError(message)
        folder.db.mkdir(parents=True, exist_ok=True)
        folder.write_info({"format": FORMAT, "roots": {}, **info})
        return folder

    @classmethod
    def open(cls, path: Path) -> "AtlasFolder":
        """The atlas at `path`.

        Raises:
            InputError: If there is none.
        """
        folder = cls(path.expanduser().resolve())
        if not folder.info_path.is_file():
            why = "no such folder" if not folder.path.exists() else "no atlas.json in it"
            message = f"{path}: not an atlas ({why}); `locatlas index SOURCE --atlas {path}` makes one"
            raise InputError(message)
        return folder

    def info(self) -> dict[str, Any]:
        """Contents of `atlas.json`.

        Raises:
            StoreDamagedError: If it cannot be parsed.
        """
        try:
            info = json.loads(self.info_path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            message = f"{self.info_path}: cannot be read ({error}); restore it from a backup"
            raise StoreDamagedError(message) from error
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            message = f"{self.info_path}: not written by locatlas"
            raise StoreDamagedError(message)
        return info

    def write_info(self, info: dict[str, Any]) -> None:
        """Replace `atlas.json` atomically."""
        write_atomically(self.info_path, (json.dumps(info, indent=2, sort_keys=True) + "\n").encode())

    def root_name(self, root: Path, *, prefer: str) -> str:
        """Name under which a source folder is declared; declares it if it is new."""
        info = self.info()
        roots: dict[str, str] = info["roots"]
        resolved = str(root.resolve())
        for name, known in roots.items():
            if known == resolved:
                return name
        name, n = prefer, 1
        while name in roots:
            n += 1
            name = f"{prefer}-{n}"
        roots[name] = resolved
        self.write_info(info)
        return name

    def root_path(self, name: str) -> Path:
        """Folder of a declared root.

        Raises:
            StoreDamagedError: If it is not declared.
        """
        roots = self.info()["roots"]
        if name not in roots:
            message = f"{self.info_path}: root {name!r} is not declared; known: {sorted(roots)}"
            raise StoreDamagedError(message)
        return Path(roots[name])

    @contextmanager
    def writer(self, command: str) -> Iterator[None]:
        """Hold the one-writer lock. It is the operating system's, so a dead process leaves none behind.

        Args:
            command: What the writer does, told to whoever finds the atlas locked.

        Raises:
            AtlasLockedError: If another process writes; names it, its host and since when.
        """
        owner_path = self.path / ".lock-owner"
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise AtlasLockedError(self._locked_message(owner_path)) from None
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": command}
            write_atomically(owner_path, json.dumps(owner).encode())
            yield
        finally:
            owner_path.unlink(missing_ok=True)
            lock.release()

    def _locked_message(self, owner_path: Path) -> str:
        try:
            owner = json.loads(owner_path.read_text())
            age = max(0, round(time.time() - owner["since"]))
            who = f"`{owner['command']}`, process {owner['pid']} on {owner['host']}, for {age} s"
        except (OSError, ValueError, KeyError):
            who = "another process"
        return f"{self.path}: another writer holds this atlas ({who}); wait for it or stop it. Queries keep working"

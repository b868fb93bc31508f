"""The folder of an atlas: where things lie, `atlas.json`, the declared roots, who may write. I/O."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from locatlas.errors import InputError, LocatlasError, StoreDamagedError
from locatlas.indexer.published.held import held
from locatlas.indexer.published.objects import uri_of
from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.digest_lines import seal
from locatlas.indexer.store.disk import require_links
from locatlas.indexer.store.folder_locks import READ_ONLY, FolderLock, unwritable
from locatlas.indexer.store.locks import NotedLock, Owner

__all__ = ["AtlasFolder", "info_bytes"]

FORMAT = "locatlas atlas"
CREATION_TIMEOUT_S = 5.0

_LEFT_BY_A_KILL = re.compile(r"\.lock|\.lock-owner|\.\.lock-owner\.\d+\.tmp|\.atlas\.json\.\d+\.tmp")


@dataclass(frozen=True, slots=True, weakref_slot=True)
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
        """Files of indices: derived, can always be rebuilt."""
        return self.path / "indices"

    @property
    def decoded(self) -> Path:
        """Decoded images: derived, can always be made anew."""
        return self.path / "cache" / "images"

    @property
    def info_path(self) -> Path:
        """The file that says that this is an atlas, of which schema, and where the roots are."""
        return self.path / "atlas.json"

    @property
    def journal_path(self) -> Path:
        """Digests of the files of tables, line by line (`store.digests`)."""
        return self.path / "digests" / "files.jsonl"

    @property
    def head_path(self) -> Path:
        """How long the journal of digests is at least."""
        return self.path / "digests" / "head.json"

    @classmethod
    def create(cls, path: Path, info: dict[str, Any]) -> "AtlasFolder":
        """Make an atlas folder, or open the one that is there.

        Args:
            path: A folder that is absent, empty, or an atlas.
            info: First contents of `atlas.json`.

        Raises:
            InputError: If the path is a file, a folder with other things in it, cannot be written, or lies on a file
                system on which tables cannot be committed.
            StoreDamagedError: If there are tables but no `atlas.json`.
        """
        if (uri := uri_of(path)) is not None:
            if (copy := held(uri)) is None:
                message = f"{uri}: {READ_ONLY}"
                raise InputError(message)
            path = copy.path
        folder = cls(path.expanduser().resolve())
        if folder.info_path.is_file():
            return folder
        if folder.path.exists() and not folder.path.is_dir():
            message = f"{path}: is a file; an atlas is a folder"
            raise InputError(message)
        names = sorted(os.listdir(folder.path)) if folder.path.is_dir() else []
        # a creation that was killed may have left a lock and an empty db/, one that goes on now atlas.json as well;
        # anything else belongs to somebody
        mine = {"db", folder.info_path.name}
        if other := [name for name in names if name not in mine and not _LEFT_BY_A_KILL.fullmatch(name)]:
            message = f"{path}: not an atlas, and not empty (holds {other[0]!r}); name an atlas or an empty folder"
            raise InputError(message)
        try:
            folder.db.mkdir(parents=True, exist_ok=True)
            # two processes may want the same new atlas: the second must not write over the roots of the first
            with FileLock(folder.path / ".lock", timeout=CREATION_TIMEOUT_S):
                if not folder.info_path.is_file():
                    require_links(folder.db)
                    folder._write_first_info({"format": FORMAT, "roots": {}, **info})
        except Timeout:
            if not folder.info_path.is_file():
                raise folder._writer_lock.refused() from None
        except LocatlasError:
            raise
        except (OSError, NotImplementedError) as error:
            raise InputError(f"{path}: {unwritable(error)}") from error
        return folder

    def _write_first_info(self, info: dict[str, Any]) -> None:
        if any(self.db.iterdir()):
            message = f"{self.info_path}: missing, though there are tables in db/; restore it from a backup"
            raise StoreDamagedError(message)
        self.write_info(info)

    @classmethod
    def open(cls, path: Path) -> "AtlasFolder":
        """The atlas at `path`, or the copy on this machine of one that lies in an object store, e.g. `s3://...`.

        While this process writes such an atlas, that is the copy that is written; else one of what is published, which
        stays on this machine while what is given back is referred to.

        Raises:
            InputError: If there is none.
        """
        if (uri := uri_of(path)) is not None:
            from locatlas.indexer.published.mirror import mirrored  # which is built on this module

            written = held(uri)
            folder = mirrored(uri) if written is None else cls(written.path.resolve())
        else:
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
        if not isinstance(info, dict) or info.get("format") != FORMAT or not isinstance(info.get("roots"), dict):
            message = f"{self.info_path}: not written by locatlas"
            raise StoreDamagedError(message)
        info.pop("seal", None)  # `locatlas verify` looks at it: whoever edits a root by hand is not locked out
        return info

    def write_info(self, info: dict[str, Any]) -> None:
        """Replace `atlas.json` atomically, with a seal that shows every change of it."""
        write_atomically(self.info_path, info_bytes(info))

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

    def root_paths(self) -> dict[str, Path]:
        """Folders of all declared roots by name."""
        return {name: Path(path) for name, path in self.info()["roots"].items()}

    def is_being_written(self) -> bool:
        """Whether a command holds the atlas for as long as it runs; commits of a re-embedding do not count."""
        owner = self._writer_lock.holder()
        return owner is not None and not owner.brief

    def writing_owner(self) -> Owner | None:
        """Who writes now."""
        return self._writer_lock.holder()

    def reembedding_owner(self) -> Owner | None:
        """Who re-embeds now."""
        return self._reembedding_lock.holder()

    @contextmanager
    def writer(self, command: str, *, brief: bool = False, patient: bool = False) -> Iterator[None]:
        """Hold the one-writer lock. It is the operating system's, so a dead process leaves none behind.

        Args:
            command: What the writer does, told to whoever finds the atlas locked.
            brief: Whether it is held for moments only: others then wait for it instead of failing.
            patient: Wait for whoever holds it, as long as it takes, and say so.

        Raises:
            AtlasLockedError: If another process writes; names it, its host and since when.
        """
        with self._writer_lock.held(Owner(command=command, brief=brief), patient=patient):
            yield

    @contextmanager
    def reembedding(self, command: str, run: str | None = None) -> Iterator[None]:
        """Hold the lock of a re-embedding, which takes the writer lock for its commits only.

        Args:
            command: Told to whoever wants to re-embed meanwhile.
            run: Its id in the ledger: it goes on though nobody holds the writer lock.

        Raises:
            AtlasLockedError: If the atlas is being re-embedded; names the process, its host and since when.
        """
        with self._reembedding_lock.held(Owner(command=command, run=run)):
            yield

    @contextmanager
    def packing(self, command: str) -> Iterator[None]:
        """Hold the lock of who writes decoded images, beside whoever writes tables.

        Raises:
            AtlasLockedError: If another process does.
        """
        with self._packing_lock.held(Owner(command=command)):
            yield

    @property
    def _writer_lock(self) -> FolderLock:
        return FolderLock(
            self.path,
            NotedLock(self.path / ".lock", self.path / ".lock-owner"),
            "another writer holds this atlas",
            meanwhile="Queries keep working",
            temporary=(self.path, self.indices, self.journal_path.parent),
        )

    @property
    def _reembedding_lock(self) -> FolderLock:
        # in a folder of its own: a writer removes temporary files beside its lock as those of the dead
        lock = NotedLock(self.path / ".reembedding" / "lock", self.path / ".reembedding" / "owner")
        return FolderLock(self.path, lock, "its vectors are being renewed", meanwhile="Queries keep working")

    @property
    def _packing_lock(self) -> FolderLock:
        lock = NotedLock(self.decoded / ".lock", self.decoded / ".owner")
        return FolderLock(self.path, lock, "its images are being packed")


def info_bytes(info: dict[str, Any]) -> bytes:
    """The text of `atlas.json` for these contents, byte for byte."""
    return (json.dumps({**info, "seal": seal(info)}, indent=2, sort_keys=True) + "\n").encode()

"""What a backup says of itself: the sealed record of one state of an atlas. Pure."""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import Any, Self

from locatlas.errors import InputError

__all__ = ["BACKUP_VERSION", "BackedFile", "BackedTable", "BackupRecord", "in_order", "now", "program_version"]

FORMAT = "locatlas backup"
BACKUP_VERSION = 1

_DIGEST = re.compile(r"[0-9a-f]{32}")
_TABLE = re.compile(r"[^./\\\0][^/\\\0]*")


@dataclass(frozen=True, slots=True)
class BackedFile:
    """A file of an atlas.

    Attributes:
        path: Below the atlas, with forward slashes.
        size: Bytes.
        digest: blake2b-128 of the bytes, hex, under which the backup holds them; "" where it does not hold them and
            leaves them where they are, as what is kept before an upgrade does.
    """

    path: str
    size: int
    digest: str

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """What `asdict` made.

        Raises:
            ValueError: If it is not that, or the path leads out of the atlas.
        """
        path, size, digest = raw["path"], raw["size"], raw["digest"]
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "\\" in path or "\0" in path or ".." in parts or "/".join(parts) != path:
            message = f"path {path!r} is none of a file in an atlas"
            raise ValueError(message)
        if not isinstance(size, int) or size < 0 or (digest and not _DIGEST.fullmatch(digest)):
            message = f"size or digest of {path!r} is none"
            raise ValueError(message)
        return cls(path, size, digest)


@dataclass(frozen=True, slots=True)
class BackedTable:
    """A table at the version that was copied.

    Attributes:
        version: Lance version.
        rows: Rows of this version.
    """

    version: int
    rows: int

    @classmethod
    def from_dict(cls, name: str, raw: dict[str, Any]) -> Self:
        """What `asdict` made.

        Raises:
            ValueError: If it is not that, or the name leads out of the folder of tables.
        """
        version, rows = raw["version"], raw["rows"]
        if not _TABLE.fullmatch(name) or not isinstance(version, int) or not isinstance(rows, int):
            message = f"name, version or rows of table {name!r} are none"
            raise ValueError(message)
        return cls(version, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRecord:
    """One state of an atlas.

    Attributes:
        at: When it was taken, ISO 8601 in UTC with microseconds; two states of one backup never share it.
        locatlas: Version that took it.
        atlas: Folder of the atlas at that time.
        schema_version: Of the atlas.
        with_indices: Whether FAISS files are in it.
        tables: By name.
        files: All of the state, sorted by path.
        number: Higher than that of every state before it, whatever the clock says; 0 where an older locatlas took it.
    """

    at: str
    locatlas: str
    atlas: str
    schema_version: int
    with_indices: bool
    tables: dict[str, BackedTable]
    files: tuple[BackedFile, ...]
    number: int = 0

    @property
    def name(self) -> str:
        """The time as a name of a file, e.g. `20261129T101500.123456Z`."""
        return dt.datetime.fromisoformat(self.at).strftime("%Y%m%dT%H%M%S.%fZ")

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)

    def is_same_state(self, other: "BackupRecord") -> bool:
        """Whether the same files with the same bytes are in both."""
        return self.files == other.files and self.with_indices == other.with_indices

    def summary(self) -> dict[str, Any]:
        """What is in it, without the list of files."""
        return {
            "state": self.name,
            "at": self.at,
            "atlas": self.atlas,
            "schema_version": self.schema_version,
            "with_indices": self.with_indices,
            "files": len(self.files),
            "bytes": self.bytes,
            "tables": {name: table.rows for name, table in self.tables.items()},
        }

    def to_json(self) -> str:
        """All fields, and a digest over them."""
        return _sealed({"format": FORMAT, "backup_version": BACKUP_VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Self:
        """What `to_json` wrote.

        Args:
            text: The record.
            where: Its file, for messages.

        Raises:
            InputError: If it is not that, was changed, or is of a newer version.
        """
        try:
            raw = json.loads(text)
            if not isinstance(raw, dict) or raw.get("format") != FORMAT:
                message = "not written by `locatlas backup`"
                raise ValueError(message)
            if (found := raw["backup_version"]) != BACKUP_VERSION:
                message = f"backup of version {found}, this locatlas reads {BACKUP_VERSION}"
                raise ValueError(message)
            raw.pop("record_digest", None)
            if text != _sealed(raw):  # the spaces as well: every byte is one that was written
                message = "does not match its own digest: it was changed or damaged"
                raise ValueError(message)
            at = dt.datetime.fromisoformat(raw["at"])
            number = raw.get("number", 0)
            if at.utcoffset() != dt.timedelta(0) or not isinstance(number, int):
                message = f"time {raw['at']!r} or number {number!r} is none of a state"
                raise ValueError(message)
            return cls(
                at=raw["at"],
                locatlas=raw["locatlas"],
                atlas=raw["atlas"],
                schema_version=raw["schema_version"],
                with_indices=raw["with_indices"],
                tables={name: BackedTable.from_dict(name, table) for name, table in raw["tables"].items()},
                files=tuple(map(BackedFile.from_dict, raw["files"])),
                number=number,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            message = f"{where}: {reason}"
            raise InputError(message) from error


def now() -> str:
    """This moment as records have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")


def program_version() -> str:
    """Version of locatlas; "" where it runs without being installed."""
    try:
        return version("locatlas")
    except PackageNotFoundError:
        return ""


def in_order(files: Iterable[BackedFile]) -> tuple[BackedFile, ...]:
    """Files as a record has them."""
    return tuple(sorted(files, key=lambda file: file.path))


def _sealed(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    seal = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return json.dumps({**fields, "record_digest": seal}, indent=1, sort_keys=True) + "\n"

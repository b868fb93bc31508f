"""The folder of a site: counted while it is written, under a hidden name until it is whole. I/O."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.query.export.replaced_folder import replaced_folder

__all__ = ["MARK", "MOST_FILES", "Folder", "check_site_target", "whole_site"]

MARK = "site.json"
"""The file by which a folder is known as a site that locatlas wrote."""

KIND = "locatlas site"

NAMES = frozenset({"index.html", MARK, "page", "data", "pictures"})
"""What stands at the top of a site."""

MOST_FILES = 200_000


class Folder:
    """Writes files and counts them.

    Attributes:
        path: Where to.
        files: Written so far.
        bytes: Of these.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self.files, self.bytes = path, 0, 0
        self._most_bytes = most_bytes

    def check(self, files: int, size: int) -> None:
        """See that so many more files and bytes may be written.

        Raises:
            InputError: If they may not; says which options make the site smaller.
        """
        if self.bytes + size > self._most_bytes:
            megabytes, most = (self.bytes + size) / 1e6, self._most_bytes / 1e6
            message = (
                f"the site would have about {megabytes:,.0f} MB, more than {most:,.0f}: "
                "a smaller --limit or --px, one --level, or a larger --max-mb"
            )
            raise InputError(message)
        if self.files + files > MOST_FILES:
            message = f"the site would have more than {MOST_FILES:,} files: a smaller --limit, or one --level"
            raise InputError(message)

    def write(self, name: str, content: bytes) -> None:
        """Write one file.

        Raises:
            InputError: If the site gets too large.
            OSError: If it cannot be written.
        """
        self.check(1, len(content))
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.files += 1
        self.bytes += len(content)

    def write_data(self, name: str, value: Any) -> None:
        """Write a document as a script that keeps it under its name: all that a page from a disk may load."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        # parsed as JSON, since a key __proto__ means something else in a script
        quoted = text.replace("\\", "\\\\").replace("'", "\\'")
        script = f"(window.locatlas??={{}})[{json.dumps(name)}]=JSON.parse('{quoted}');\n"
        self.write(f"data/{name}.js", script.encode())


def check_site_target(path: Path, *, overwrite: bool) -> None:
    """See that a folder may be written, before anything is computed.

    Raises:
        InputError: If it is a file, a folder that is neither empty nor a site, or a site that is not to be replaced.
    """
    if not path.parent.is_dir():
        message = f"{path}: there is no folder {path.parent} to write it in"
        raise InputError(message)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        message = f"{path}: is no folder; name another path"
        raise InputError(message)
    held = {entry.name for entry in path.iterdir()}
    if not held:
        return
    if (other := sorted(held - NAMES)) or not _is_marked(path):
        what = f"holds {other[0]!r}, which no export wrote" if other else "is no site that locatlas wrote"
        message = f"{path}: {what}; name an empty or new folder"
        raise InputError(message)
    if not overwrite:
        message = f"{path}: a site is there; --overwrite replaces it"
        raise InputError(message)


def _is_marked(path: Path) -> bool:
    try:
        said = json.loads((path / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("kind") == KIND


@contextmanager
def whole_site(path: Path, *, most_bytes: int, overwrite: bool, said: dict[str, Any]) -> Iterator[Folder]:
    """A hidden folder beside `path`, renamed at the end of the block, or removed where it fails.

    Those that killed exports left there are removed, too.

    Args:
        path: The folder to be.
        most_bytes: Of all files.
        overwrite: Whether a site that is there is replaced.
        said: What its mark says beside its kind, once the block has ended.

    Raises:
        InputError: As `check_site_target`, also where something came meanwhile, and where the site gets too large.
    """
    check_site_target(path, overwrite=overwrite)
    _remove_left(path)
    with replaced_folder(path, lambda: check_site_target(path, overwrite=overwrite), word="site-") as temporary:
        folder = Folder(temporary, most_bytes)
        yield folder
        mark = {"kind": KIND, **said, "files": folder.files + 1, "bytes": folder.bytes}
        folder.write(MARK, (json.dumps(mark, indent=2, sort_keys=True) + "\n").encode())


def _remove_left(path: Path) -> None:
    """Remove what exports of processes that are no more left beside the folder."""
    named = re.compile(re.escape(f".{path.name}.") + r"(\d+)\.site-(?:tmp|old)")
    for entry in path.parent.iterdir():
        found = named.fullmatch(entry.name)
        if found is not None and not _is_alive(int(found[1])):
            if entry.name.endswith("old") and not path.exists():
                entry.rename(path)
                continue
            shutil.rmtree(entry, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Where in an atlas a grid's results go, so that two files of one name have a folder each. Reads and writes there."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from locatlas.errors import InputError

__all__ = ["result_folder", "sign"]

_SIGNED = "grid.json"
"""Says in a folder of results which file they are of."""


def result_folder(atlas: Path, grid: str, encoders: Sequence[str] = ()) -> Path:
    """`benchmarks/NAME` of the atlas; of other encoders than the grid's own, these are in the name.

    Where it holds the results of another file, or the name is that of a grid which comes with locatlas, some digits of
    the file's path come behind it.

    Args:
        atlas: Folder of the atlas.
        grid: Name of a grid, or a TOML file.
        encoders: In place of the grid's own.

    Raises:
        InputError: If what says whose the results there are cannot be read.
    """
    from locatlas.query.benchmark.grid import list_grids

    name = Path(grid).name.removesuffix(".toml")
    folder = atlas / "benchmarks" / "-".join([name, *(re.sub(r"[^\w.+-]+", "_", one) for one in encoders)])
    if grid in list_grids():
        return folder
    file = str(Path(grid).resolve())
    if name not in list_grids() and _file_of(folder) in (None, file):
        return folder
    return folder.with_name(f"{folder.name}-{hashlib.blake2b(file.encode(), digest_size=4).hexdigest()}")


def sign(folder: Path, grid: str) -> None:
    """Write down which file the results of a folder are of; a grid that comes with locatlas has its folder alone."""
    from locatlas.query.benchmark.grid import list_grids

    if grid not in list_grids():
        (folder / _SIGNED).write_text(json.dumps({"file": str(Path(grid).resolve())}, indent=1) + "\n")


def _file_of(folder: Path) -> str | None:
    """The file that the results of a folder are of; None where there are none, or from before this was written."""
    path = folder / _SIGNED
    try:
        return str(json.loads(path.read_text())["file"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path}: does not say which grid these results are of ({error}); name another folder with --out"
        raise InputError(message) from error

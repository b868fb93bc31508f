"""One export, by kind. Reads the store, writes files."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from locatlas.errors import UnknownNameError
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.shelf import Shelf
from locatlas.query.export.anndata_file import write_anndata
from locatlas.query.export.chosen import choose
from locatlas.query.export.embedding_atlas import write_embedding_atlas
from locatlas.query.export.faiss_file import FILES, write_faiss
from locatlas.query.export.profiles_file import write_profiles
from locatlas.query.export.target import check_target

__all__ = ["KINDS", "Exported", "Kind", "export"]

Kind = Literal["anndata", "parquet", "profiles", "faiss"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_K = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        kind: Of export.
        path: File or folder.
        level: "fov", "cell" or "protein".
        of: Level of the images that proteins are made of; None at image levels.
        encoder: Name and fingerprint.
        rows: Images or proteins.
        dim: Numbers a vector.
        bytes: Of all files.
        command: What shows the file; None where that is up to the reader.
        notes: What a reader must know.
    """

    kind: str
    path: str
    level: str
    of: str | None
    encoder: dict[str, str]
    rows: int
    dim: int
    bytes: int
    command: str | None = None
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `export`."""
        return asdict(self)


def export(
    shelf: Shelf, kind: str, out: Path, scope: Scope, *, k: int | None, method: str | None, overwrite: bool
) -> Exported:
    """Write an export.

    Args:
        shelf: The atlas.
        kind: One of `KINDS`.
        out: File, or folder for faiss.
        scope: Level, encoder and filters.
        k: Neighbors in graphs, of anndata and parquet; None for 15, or as many as there are.
        method: Of the map, of parquet.
        overwrite: Replace what is there.

    Raises:
        UnknownNameError: If there is no such kind, level, encoder or column.
        InputError: If `out` is there, a package or a map is missing, or nothing is to be exported.
        OSError: If it cannot be written; what was there stays.
    """
    if kind not in KINDS:
        raise UnknownNameError("export", kind, KINDS)
    check_target(out, overwrite=overwrite, folder_of=FILES if kind == "faiss" else ())
    chosen = choose(shelf, scope)
    k = min(DEFAULT_K, max(1, len(chosen.view) - 1)) if k is None else k
    rows, command = len(chosen.view), None
    if kind == "anndata":
        notes = write_anndata(chosen, out, k=k, overwrite=overwrite)
    elif kind == "parquet":
        command, rows, notes = write_embedding_atlas(chosen, out, k=k, method=method, overwrite=overwrite)
    elif kind == "profiles":
        notes = write_profiles(chosen, out, overwrite=overwrite)
    else:
        notes = write_faiss(chosen, out, overwrite=overwrite)
    files = [out / name for name in FILES] if kind == "faiss" else [out]
    return Exported(
        kind=kind,
        path=str(out),
        level=chosen.view.level,
        of=chosen.of,
        encoder={"name": chosen.encoder.spec.name, "fingerprint": chosen.encoder.fingerprint},
        rows=rows,
        dim=int(chosen.view.vectors.shape[1]),
        bytes=sum(path.stat().st_size for path in files),
        command=command,
        notes=[*chosen.notes, *notes],
    )

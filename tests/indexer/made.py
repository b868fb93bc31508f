"""Small collections in OpenCell's bucket layout, an encoder that costs nothing, snapshots of what an atlas holds."""

import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from locatlas.indexer.store.tables import Store
from locatlas.models.channels import used_channels
from locatlas.models.qc import check_usable
from locatlas.models.spec import EncoderSpec
from locatlas.types import ChannelImage

ANNOTATIONS = "opencell-localization-annotations.csv"
EDGE_PX = 40


def pixels(seed: int, *, channels: int = 2, dtype: str = "uint16", edge_px: int = EDGE_PX) -> NDArray[Any]:
    """Noise that no two seeds share."""
    top = {"uint8": 200, "uint16": 4000}[dtype]
    return np.random.default_rng(seed).integers(0, top, (channels, edge_px, edge_px)).astype(dtype)


def name_of(n: int, kind: str = "proj") -> str:
    """File name of the n-th field."""
    return f"OC-FOV_GENE{n}_ENSG{n:011d}_CID{n:06d}_FID{n:08d}_{kind}.tif"


def id_of(n: int, dataset: str = "opencell") -> str:
    """Image id of the n-th field."""
    return f"{dataset}/FID{n:08d}"


def write_field(folder: Path, n: int, array: NDArray[Any] | None = None) -> Path:
    """The n-th field as OpenCell stores it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(n)
    array = pixels(n) if array is None else array
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "CYX"[-array.ndim :]})
    return path


def write_annotations(folder: Path, labels: dict[int, str]) -> None:
    """Grade 3 labels of fields."""
    lines = ["ensg_id,target_name,annotations_grade_3,annotations_grade_2,annotations_grade_1"]
    lines += [f"ENSG{n:011d},GENE{n},{label},," for n, label in labels.items()]
    (folder / ANNOTATIONS).write_text("\n".join(lines) + "\n")


def write_collection(folder: Path, fields: Sequence[int] = range(6)) -> Path:
    """Some fields with their annotations."""
    for n in fields:
        write_field(folder, n)
    write_annotations(folder, {n: ("nucleoplasm", "vesicles")[n % 2] for n in fields})
    return folder


class PlainEncoder:
    """Percentiles of the channels, each weighed by its name: vectors that follow pixels and channels at no cost."""

    ran_on = "nowhere"
    at_once = 0

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec

    def prepare(self, image: ChannelImage) -> NDArray[np.float32]:
        check_usable(image, unit_range=False)
        vector = np.zeros(self.spec.dim)
        for name in used_channels(self.spec, image.channels):
            plane = image.pixels[image.channels.index(name)].astype(np.float64)
            parts = np.percentile(plane, np.linspace(0, 100, self.spec.dim))
            vector += parts * np.random.default_rng(list(name.encode())).standard_normal(self.spec.dim)
        return vector.astype(np.float32)

    def encode_prepared(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack(list(prepared))


def indexed(folder: Path, *, commit_rows: int | None = None) -> Path:
    """The six fields at `folder`/source, and `folder`/atlas of them, by the plain encoder; a test may change both.

    They are made once a process and copied.
    """
    made = _indexed_once(commit_rows)
    for name in ("source", "atlas"):
        shutil.copytree(made / name, folder / name)
    layout = Store.open(folder / "atlas").folder
    with layout.writer("a test"):
        layout.write_info(layout.info() | {"roots": dict.fromkeys(layout.info()["roots"], str(folder / "source"))})
    return folder / "atlas"


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Removed with the process."""


@functools.cache
def _indexed_once(commit_rows: int | None) -> Path:
    from locatlas.indexer.index import index

    _KEPT.append(tempfile.TemporaryDirectory(prefix="locatlas-made-"))
    folder = Path(_KEPT[-1].name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCATLAS_HOME", str(folder / "home"))
        patch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
        options = {} if commit_rows is None else {"commit_rows": commit_rows}
        index(write_collection(folder / "source"), atlas=folder / "atlas", dataset="opencell", **options)
    return folder


def versions(store: Store) -> dict[str, int]:
    """Version of each table: equal if and only if nothing was written."""
    return {table: store.version(table) for table in store.tables()}


def contents(store: Store) -> dict[str, Any]:
    """All that an uninterrupted and a continued run must have in common, bit for bit."""
    held: dict[str, Any] = {"roots": store.folder.info()["roots"]}
    for table in store.tables():
        if table.startswith("emb_"):
            rows = store.read(table)
            held[table] = [
                (row["id"], row["source_digest"], np.array(row["vector"], np.float32).tobytes())
                for row in rows.to_pylist()
            ]
        elif table == "quarantine":
            held[table] = [{k: v for k, v in row.items() if k != "run_id"} for row in store.read(table).to_pylist()]
        elif table != "runs":
            held[table] = store.read(table).to_pylist()
    return held


def vectors(store: Store, table: str) -> dict[str, bytes]:
    """Vector of each id, as bytes."""
    held = store.read_vectors(table)
    return {i: v.tobytes() for i, v in zip(held.ids, held.vectors, strict=True)}

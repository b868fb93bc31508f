"""What is known is used again for the same vectors only: images that changed, imports of the same name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from locatlas.query.benchmark.grid import EncoderEntry, Grid
from locatlas.query.benchmark.result import BenchmarkResult
from locatlas.query.benchmark.run import benchmark
from tests.query.made_training import TINY, make_atlas


def measure(atlas: Path, encoder: str, **said: Any) -> BenchmarkResult:
    whole: dict[str, Any] = {
        "name": "g", "title": "t", "encoders": (EncoderEntry(name=encoder, passes=("separate",)),),
        "protocols": ("protein-out",), "levels": ("fov", "protein"), "ks": (1,),
    }  # fmt: skip
    return benchmark(atlas=atlas, grid=Grid(**whole | said), n_bootstrap=0)


def scores(result: BenchmarkResult) -> dict[str, float]:
    return {one.cell.level: one.macro_f1 for one in result.cells}


def swept(atlas: Path, encoder: str) -> dict[str, float]:
    """By another way."""
    looked = open_atlas(atlas)
    return {
        level: looked.sweep(ks=[1], level=level, encoder=encoder).results[0].macro_f1 for level in ("fov", "protein")
    }


def put(atlas: Path, signal: float) -> None:
    """Import vectors of the same ids, name and length, whose classes are `signal` apart."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(20) % 2, 3)
    vectors = (rng.normal(size=(60, 8)) + signal * np.eye(8)[of]).astype(np.float32)
    np.savez(
        atlas.parent / "v.npz", ids=np.array([f"i{i}" for i in range(60)]), vectors=vectors,
        protein=np.array([f"P{i // 3:02}" for i in range(60)]), localizations=np.array([f"c{c}" for c in of]),
    )  # fmt: skip
    import_embeddings(atlas.parent / "v.npz", atlas=atlas, name="mine")


def test_vectors_that_were_imported_anew_are_measured_anew_as_fields_and_as_proteins(tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    put(atlas, 0.0)
    first = measure(atlas, "mine")
    assert measure(atlas, "mine").n_measured == 0
    put(atlas, 8.0)
    again = measure(atlas, "mine")
    assert (first.n_measured, again.n_measured) == (2, 2)
    assert scores(again) == swept(atlas, "mine") == {"fov": 1.0, "protein": 1.0}
    assert scores(first) != scores(again)


@pytest.mark.usefixtures("home")
def test_images_that_changed_are_measured_anew_as_fields_and_as_proteins(tmp_path: Path) -> None:
    atlas = make_atlas(tmp_path)
    assert measure(atlas, TINY).n_measured == 2
    rng = np.random.default_rng(1)
    for path in (tmp_path / "images").rglob("*.tif"):
        shape = tifffile.imread(path).shape
        tifffile.imwrite(path, rng.integers(0, 4000, shape).astype(np.uint16), imagej=True, metadata={"axes": "CYX"})
    index(tmp_path / "images", atlas=atlas, dataset="opencell")
    again = measure(atlas, TINY)
    assert again.n_measured == 2
    beside = next(e for e in encoders.stored_encoders(Store.open(atlas)) if e.state != "current")
    assert scores(again) == swept(atlas, beside.fingerprint)

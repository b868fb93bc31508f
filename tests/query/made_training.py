"""A small collection whose classes can be told apart, an atlas of it, and a tiny encoder of seeded weights."""

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store.tables import Store
from locatlas.models import registry, vit
from locatlas.models.spec import EncoderSpec
from locatlas.models.weights import save
from tests.indexer.made import name_of, write_annotations

TINY = "locatlas_pico.tiny"
EDGE_PX = 32
CLASSES = ("nucleoplasm", "vesicles")


def write_images(folder: Path, n_proteins: int = 10, fields_each: int = 2) -> Path:
    """Proteins by turns of one large smooth spot, and of many small ones; the last has no annotation."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:EDGE_PX, :EDGE_PX]
    for p in range(n_proteins):
        for f in range(fields_each):
            rng = np.random.default_rng(100 * p + f)
            spot = np.exp(-((y - 16 - rng.normal()) ** 2 + (x - 16 - rng.normal()) ** 2) / 60)
            many = (rng.random((EDGE_PX, EDGE_PX)) > 0.9).astype(float)
            protein = (spot, many)[p % 2] * 3000 + rng.normal(300, 30, (EDGE_PX, EDGE_PX))
            planes = np.stack([spot * 3000 + 200, protein]).astype(np.uint16)
            # the protein is the name's number in thousands
            name = name_of(1000 * p + f).replace(f"GENE{1000 * p + f}_", f"P{p}_")
            tifffile.imwrite(folder / name, planes, imagej=True, metadata={"axes": "CYX"})
    write_annotations(folder, {})
    lines = [
        f"ENSG{1000 * p + f:011d},P{p},{CLASSES[p % 2]},," for p in range(n_proteins - 1) for f in range(fields_each)
    ]
    path = folder / "opencell-localization-annotations.csv"
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    return folder


def add_tiny() -> EncoderSpec:
    """Register the tiny encoder."""
    spec = EncoderSpec(
        name=TINY, architecture="locatlas_pico", slots=("nucleus", "protein"), input_px=EDGE_PX, embedding_dim=192
    )
    network = vit.build(spec)
    vit.seed_weights(network, 3)
    path = registry.own_encoder_path(TINY).with_name("tiny.safetensors")
    save(vit.weights_module(network).state_dict(), path)
    return registry.add(TINY, weights=path, architecture="locatlas_pico", slots=spec.slots, input_px=EDGE_PX)


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """No curves: pictures take most of the time of a training this short."""
    patch.setattr("locatlas.models.training.loop.draw_curve", lambda log, folder: (log, folder))


def make_atlas(folder: Path) -> Path:
    """The atlas, by the tiny encoder on the protein alone, and its images beside it; a test may change both.

    They are made once a process, since that takes longer than most of what is tested on them, and copied.
    """
    add_tiny()
    made = _made_once()
    for name in ("images", "atlas"):
        shutil.copytree(made / name, folder / name)
    store = Store.open(folder / "atlas")
    with store.folder.writer("a test"):
        store.folder.write_info(store.folder.info() | {"roots": {"opencell": str((folder / "images").resolve())}})
    return folder / "atlas"


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Removed with the process."""


@functools.cache
def _made_once() -> Path:
    _KEPT.append(tempfile.TemporaryDirectory(prefix="locatlas-made-"))
    folder = Path(_KEPT[-1].name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCATLAS_HOME", str(folder / "home"))
        add_tiny()
        request = EncoderRequest(name=TINY, stains=("protein",), precision="fp32")
        index(write_images(folder / "images"), atlas=folder / "atlas", dataset="opencell", request=request)
    return folder

"""An atlas of made vectors: fields of view and their cells, written through the store, without any image."""

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import FOVS, image_table
from locatlas.indexer.store.tables import Store
from locatlas.models.spec import EncoderSpec

DIM = 8
CLASSES = ("er", "golgi", "nucleoplasm")
AS_HPA_SAYS = {"er": "Endoplasmic reticulum", "golgi": "Golgi apparatus", "nucleoplasm": "Nucleoplasm"}
PROTEINS = 6
FOVS_EACH, CELLS_EACH = 3, 4


def protein_of(n: int) -> str:
    """Name of the n-th protein; its class is the n-th, too."""
    return f"P{n}"


def row(image_id: str, **said: Any) -> dict[str, Any]:
    """A row of an image table that says little."""
    plain: dict[str, Any] = {"id": image_id, "dataset": "d", "channels": ["protein"], "source_digest": "x"}
    plain |= {key: [] for key in ("localizations", "graded", "groups", "metadata", "sources", "qc")}
    return plain | said


def made_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """6 proteins of 3 classes, 3 fields each on 2 plates, 4 cells a field; two cells of a protein are annotated.

    The second annotated cell of each protein has the class after that of its protein; that of P5 has none at all.
    """
    fovs, cells = [], []
    for p in range(PROTEINS):
        inherited = [CLASSES[p % 3]]
        for f in range(FOVS_EACH):
            fov = f"d/{p}{f}"
            same = {"protein": protein_of(p), "localizations": inherited, "plate": f"plate{f % 2}"}
            fovs.append(row(fov, **same))
            for c in range(CELLS_EACH):
                other = [] if p == 5 else [CLASSES[(p + 1) % 3]]
                own = {(0, 0): inherited, (1, 0): other}.get((f, c))
                said = {"annotated": own, "annotated_by": "ada" if own is not None else None, "fov_id": fov}
                said |= {"cell": str(c), "box": [0, 0, 5, 5], "centroid": [2.0, 2.0], "region": b"packed"}
                said |= {"area_px": 100 * (c + 1), "touches_border": c == 0, "focus": 0.1 * c, "segmenter": "given"}
                cells.append(row(f"{fov}/{c}", **same, **said, qc=["border"] if c == 0 else []))
    return fovs, cells


def made_vectors(rows: list[dict[str, Any]], seed: int) -> NDArray[np.float32]:
    """Images of a class lie close together, those of a protein closer."""
    rng = np.random.default_rng(seed)
    of_class = dict(zip(CLASSES, rng.normal(size=(3, DIM)), strict=True))
    of_protein = {protein_of(p): 0.5 * rng.normal(size=DIM) for p in range(PROTEINS)}
    means = [of_class[r["localizations"][0]] + of_protein[r["protein"]] for r in rows]
    return (np.array(means) + 0.6 * rng.normal(size=(len(rows), DIM))).astype(np.float32)


def encoder() -> EncoderSpec:
    """An encoder of vectors made elsewhere."""
    return EncoderSpec(
        name="made",
        architecture=encoders.IMPORTED,
        slots=("unknown",),
        input_px=0,
        embedding_dim=DIM,
        weights_sha256="imported:made",
        source="imported",
    )


def _as_hpa(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"localizations": [AS_HPA_SAYS[name] for name in one["localizations"]]}


def make_atlas(
    folder: Path,
    *,
    levels: tuple[str, ...] = ("fov", "cell"),
    annotated: bool = True,
    two_vocabularies: bool = False,
) -> Path:
    """The atlas; without annotations, nobody looked at a cell; of two vocabularies, P3 to P5 have HPA's words.

    Each is written once a process, and copied: an atlas names no folder, and a test may change its own.
    """
    shutil.copytree(_made_once(levels, annotated=annotated, two_vocabularies=two_vocabularies), folder)
    return folder


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Removed with the process."""


@functools.cache
def _made_once(levels: tuple[str, ...], *, annotated: bool, two_vocabularies: bool) -> Path:
    _KEPT.append(tempfile.TemporaryDirectory(prefix="locatlas-made-"))
    folder = Path(_KEPT[-1].name) / "atlas"
    fovs, cells = made_rows()
    if not annotated:
        cells = [r | {"annotated": None, "annotated_by": None} for r in cells]
    store = Store.create(folder)
    with store.folder.writer("a test"):
        for level, rows in (("fov", fovs), ("cell", cells)):
            if level not in levels:
                continue
            known = [r if level == "cell" else {k: v for k, v in r.items() if k in FOVS.names} for r in rows]
            if two_vocabularies:
                known = [_as_hpa(r) if r["protein"] in ("P3", "P4", "P5") else r for r in known]
            store.upsert(image_table(level), image_rows(known, level))
            stored = StoredEncoder(level, encoder(), "current")  # type: ignore[arg-type]
            ids = [r["id"] for r in rows]
            vectors = made_vectors(rows, seed=len(rows))
            store.put_embeddings(level, stored.fingerprint, ids, ["x"] * len(ids), vectors)  # type: ignore[arg-type]
            encoders.put(store, stored)
    return folder

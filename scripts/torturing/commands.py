"""What a worker is told to do: the commands of locatlas as calls, on small atlases. I/O."""

from pathlib import Path
from typing import Any

import numpy as np

from torturing.snapshot import snapshot
from torturing.sources import CROP_PX, Sources
from torturing.stub import StubEncoder

__all__ = [
    "annotate",
    "build_index",
    "draw_map",
    "embed_plan",
    "flippable",
    "give_up",
    "import_vectors",
    "index_cells",
    "index_fields",
    "look",
    "prepare",
    "query",
    "reembed_plan",
    "repair",
    "tidy",
    "verified",
]

COMPACT_FROM = 6
"""Fragments before compaction, for it to happen in small atlases."""


def prepare() -> None:
    """Put an encoder that costs nothing in place, and make commits small."""
    import warnings

    import faiss

    import locatlas.indexer.importing.run as importing
    from locatlas.indexer import commits, job
    from locatlas.indexer.cells import stage
    from locatlas.indexer.store import tables as store

    warnings.simplefilter("ignore")
    faiss.omp_set_num_threads(1)
    job.load_encoder = StubEncoder  # type: ignore[assignment]
    store.FRAGMENTS_BEFORE_COMPACTION = commits.FRAGMENTS_BEFORE_COMPACTION = COMPACT_FROM
    stage.COMMIT_FIELDS = 2
    importing._COMMIT_ROWS = 3


def index_fields(atlas: Path, source: Path, rows: int) -> dict[str, str]:
    """Fields; fingerprints of their encoders by level."""
    from locatlas.indexer.index import index

    summary = index(source, atlas=atlas, dataset="opencell", commit_rows=rows, prune=True)
    return {level: e.fingerprint for level, e in summary.encoders.items()}


def _plan(level: str, seed: int | None) -> Any:
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.models.crops import CropPlan

    crop = CropPlan(size_px=CROP_PX) if level == "cell" else None
    # every plan is named: left open, it would be that of the encoder in use
    return EncoderRequest(mapping="natural" if seed is None else "random", passes="joint", seed=seed, crop=crop)


def index_cells(atlas: Path, source: Path, rows: int) -> dict[str, str]:
    """Masked fields and their cells."""
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.indexer.index import index
    from locatlas.models.crops import CropPlan

    request = EncoderRequest(crop=CropPlan(size_px=CROP_PX))
    summary = index(
        source, atlas=atlas, dataset="manifest", level="both", request=request, commit_rows=rows, prune=True
    )
    return {level: e.fingerprint for level, e in summary.encoders.items()}


def embed_plan(atlas: Path, level: str, seed: int | None, rows: int, *, switch: bool = True) -> str:
    """Another plan for a level; its fingerprint."""
    from locatlas.indexer.embed import embed

    summary = embed(atlas=atlas, request=_plan(level, seed), levels=(level,), commit_rows=rows, switch=switch)
    return summary.encoders[level].fingerprint


def reembed_plan(atlas: Path, level: str, fingerprint: str | None, rows: int) -> int:
    """What is stale, by an encoder that the atlas knows."""
    from locatlas.indexer.embed import reembed

    return reembed(atlas=atlas, encoder=fingerprint, levels=(level,), commit_rows=rows).embedded


def annotate(atlas: Path, sheet: Path, who: str) -> dict[str, Any]:
    """A sheet of decisions."""
    from locatlas.indexer.annotation.bring_in import import_annotations

    return import_annotations(sheet, atlas=atlas, annotator=who, new_labels=True)


def import_vectors(atlas: Path, file: Path, name: str) -> str:
    """Vectors made elsewhere; the fingerprint of their encoder."""
    from locatlas.indexer.importing.run import import_embeddings

    return str(import_embeddings(file, atlas=atlas, name=name)["encoder"]["fingerprint"])


def tidy(atlas: Path, *, drop: bool) -> int:
    """Maintain; bytes that were freed."""
    from locatlas.indexer.maintain import maintain

    return maintain(atlas=atlas, drop_superseded=drop).freed_bytes


def give_up(atlas: Path, fingerprint: str) -> list[str]:
    """Delete an encoder that is not current; what was forgotten. Where it is already, the rest of the work is done."""
    from locatlas.indexer.maintain import maintain
    from locatlas.indexer.store import encoders
    from locatlas.indexer.store.tables import Store

    known = any(e.fingerprint == fingerprint for e in encoders.stored_encoders(Store.open(atlas)))
    return maintain(atlas=atlas, drop_encoders=[fingerprint] if known else []).forgotten


def pack_images(atlas: Path) -> int:
    """Decoded images; how many are held."""
    from locatlas.indexer.pixel_cache.run import pack

    return pack(atlas=atlas).images


def draw_map(atlas: Path, level: str) -> int:
    """A map by principal components; how many points are on it."""
    from locatlas.query.atlas import open_atlas

    return len(open_atlas(atlas).map(level))


def build_index(atlas: Path, kind: str, level: str) -> str:
    """An index for look-ups; what is said of it."""
    from locatlas.indexer.indices.refresh import refresh

    return refresh(atlas, kind, levels=[level])[level]


def query(atlas: Path, level: str, image: str, k: int) -> list[str]:
    """Neighbors of an image but itself, nearest first, by the index where there is one."""
    from locatlas.query.atlas import open_atlas

    opened = open_atlas(atlas)
    found = opened.neighbors(id=image, level=level, k=k, exclude="self")
    return list(found["id"].to_pylist())


def verified(atlas: Path, *, quick: bool) -> dict[str, list[str]]:
    """Findings by severity."""
    from locatlas.indexer.verify.run import verify

    found: dict[str, list[str]] = {"damage": [], "warning": [], "note": []}
    for f in verify(atlas=atlas, quick=quick).findings:
        found[f.severity].append(f"{f.kind}: {f.where}: {', '.join(f.items[:3])}")
    return found


def flippable(atlas: Path) -> list[str]:
    """Files with contents that `verify` answers for: not what a kill left that nothing reads, and not `damaged/`."""
    from locatlas.indexer.verify.run import verify

    left = {
        i
        for f in verify(atlas=atlas).findings
        if f.kind in ("unknown files", "no digest", "left over")
        for i in f.items
    }
    paths = [p for p in atlas.rglob("*") if p.is_file() and p.stat().st_size]
    names = sorted(p.relative_to(atlas).as_posix() for p in paths)
    return [n for n in names if n not in left and not n.startswith(("damaged/", ".lock", ".reembedding/"))]


def swept(atlas: Path, k: int) -> int:
    """Leave-one-protein-out over fields; how many voted on each other."""
    from locatlas.query.atlas import open_atlas

    return int(open_atlas(atlas).sweep(level="fov", ks=[1, k], group="protein").n_rows)


def copied_by_backup(atlas: Path, folder: Path) -> dict[tuple[str, str], Any]:
    """Back it up (on what was backed up before), restore that beside it, and read the rows of what was restored."""
    import shutil

    from locatlas.indexer.backup.restore import restore  # type: ignore[import-not-found, unused-ignore]
    from locatlas.indexer.backup.run import backup  # type: ignore[import-not-found, unused-ignore]

    backup(atlas=atlas, to=folder / "backup")
    shutil.rmtree(folder / "restored", ignore_errors=True)
    restore(folder / "backup", to=folder / "restored")
    rows: dict[tuple[str, str], Any] = snapshot(folder / "restored")["rows"]
    return rows


def repair(atlas: Path) -> list[str]:
    """What a repair did."""
    from locatlas.indexer.verify.run import verify

    return verify(atlas=atlas, repair=True).repaired


def look(atlas: Path, *, quick: bool) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Rows, and findings."""
    return snapshot(atlas), verified(atlas, quick=quick)


def write_vectors(file: Path, vectors: dict[str, bytes]) -> None:
    """An npz of vectors, of which the id's last part names the protein."""
    ids = np.array(sorted(vectors))
    array = np.stack([np.frombuffer(vectors[i], np.float32) for i in ids])
    np.savez(file, ids=ids, vectors=array, protein=np.array([i.rpartition("/")[2].upper() for i in ids]))


def calibrate(
    folder: Path, sources: Sources, seeds: tuple[int, ...], names: tuple[str, ...], dim: int
) -> tuple[dict[Any, str], int]:
    """Fingerprints of all plans, as a first atlas tells them, by (level, seed or name); and the length of vectors."""
    from locatlas.indexer.store import encoders
    from locatlas.indexer.store.tables import Store

    atlas, found = folder / "first", dict[Any, str]()
    found["fov", None] = index_fields(atlas, sources.opencell, 4)["fov"]
    found["cell", None] = index_cells(atlas, sources.cells, 4)["cell"]
    for level in ("fov", "cell"):
        for seed in seeds:
            found[level, seed] = embed_plan(atlas, level, seed, 4)
    for name in names:
        write_vectors(folder / "first.npz", {"imported/x": np.ones(dim, np.float32).tobytes()})
        found["fov", name] = import_vectors(atlas, folder / "first.npz", name)
    used = encoders.current(Store.open(atlas), "fov")
    assert used is not None
    return found, used.spec.dim

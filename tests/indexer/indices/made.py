"""Tables of made vectors for tests of their indices, and what is looked at of these."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.indices.candidates import TableIndex
from locatlas.indexer.indices.files import disk_folder, index_paths
from locatlas.indexer.indices.kinds import FaissKind, Kind
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.indices.sidecar import Sidecar
from locatlas.indexer.indices.unit import unit_vectors
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store

KINDS: tuple[Kind, ...] = ("flat", "pqfs", "ivf", "hnsw", "ivfpq", "lance-ivfrq")
FAISS_KINDS: tuple[FaissKind, ...] = ("flat", "pqfs", "ivf", "hnsw", "ivfpq")
D = 16
N = 300


def made(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((8, D))
    return (centres[rng.integers(0, 8, n)] + rng.standard_normal((n, D))).astype(np.float32)


def put(store: Store, encoder: StoredEncoder, ids: list[str], vectors: NDArray[np.float32]) -> None:
    sources = [hashlib.blake2b(vector, digest_size=16).hexdigest() for vector in vectors]
    store.put_embeddings("fov", encoder.fingerprint, ids, sources, vectors)


def names(n: int, prefix: str = "d/") -> list[str]:
    return [f"{prefix}{i:05d}" for i in range(n)]


def opened(store: Store, encoder: StoredEncoder) -> tuple[TableIndex | None, str]:
    return open_index(store, encoder, store.read_vectors(encoder.table))


def usable(store: Store, encoder: StoredEncoder) -> TableIndex:
    index, said = opened(store, encoder)
    assert index is not None, said
    return index


def nearest(store: Store, encoder: StoredEncoder, query: NDArray[np.float32], k: int, rows: Any = None) -> set[int]:
    """Rows of the k nearest among some rows of the table, by float64."""
    unit = store.read_vectors(encoder.table).vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = np.arange(len(unit)) if rows is None else np.asarray(rows)
    return set(rows[np.argsort(-(unit[rows] @ query.astype(np.float64)))[:k]].tolist())


def files(store: Store, encoder: StoredEncoder) -> dict[str, Path]:
    return {s: store.folder.indices / f"{encoder.table}.{s}" for s in ("faiss", "ids", "json")}


def folder_of(store: Store, encoder: StoredEncoder) -> Path:
    sidecar = Sidecar.from_json(index_paths(store.folder, encoder.table)[1].read_text())
    return disk_folder(store.folder, sidecar)


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def of_proteins() -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    centres = np.repeat(rng.standard_normal((30, 24)), 100, axis=0)
    return (centres + 0.4 * rng.standard_normal((3000, 24))).astype(np.float32)


def clustered(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around a few centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, d))
    return unit_vectors((centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))).astype(np.float32))

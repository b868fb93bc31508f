"""The `maps` table: where each image lies in a two-dimensional map of one encoder's vectors. I/O.

A map is one row, so that a kill leaves the one before or the new one, whole.
"""

import datetime as dt
import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import StoreDamagedError
from locatlas.indexer.store.schema import MAPS
from locatlas.indexer.store.tables import Store

__all__ = ["MapKey", "StoredMap", "drop_maps", "map_rows", "maps_of", "put_map", "stored_map", "vector_digests"]

TABLE = "maps"

_ANEW = "`locatlas map --refit` makes it anew"

DESCRIBING = [name for name in MAPS.names if name not in ("xy", "vectors", "model", "ids", "placed")]
"""Columns that are small."""


@dataclass(frozen=True, slots=True)
class MapKey:
    """What a map is of; another one of the same key replaces it.

    Attributes:
        level: "fov", "cell" or "protein".
        of: Level of the images that proteins are made of; None at image levels.
        fingerprint: Of the encoder.
        method: "pca", "umap" or "tsne".
    """

    level: str
    of: str | None
    fingerprint: str
    method: str

    @property
    def id(self) -> str:
        """Of the row."""
        return "/".join(filter(None, (self.level, self.of, self.fingerprint, self.method)))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredMap:
    """A map as the atlas holds it.

    Attributes:
        key: What it is of.
        encoder: Name of the encoder.
        seed: Of all that was drawn at random.
        params: As asked for, by name.
        used: What they came to on these vectors, and in words how later points are placed.
        versions: Of the packages that made it.
        at: When.
        ids: (n,) images or proteins, ascending.
        xy: (n, 2) float32.
        placed: (n,) bool; true where a point was put into a map that was there already.
        vectors: (n,) int64, `vector_digests` of what each point was made from.
        model: Arrays that later points are projected with; empty where they are placed by their neighbors.
    """

    key: MapKey
    encoder: str
    seed: int
    params: Mapping[str, Any]
    used: Mapping[str, Any]
    versions: Mapping[str, str]
    at: dt.datetime
    ids: Sequence[str]
    xy: NDArray[np.float32]
    placed: NDArray[np.bool_]
    vectors: NDArray[np.int64]
    model: Mapping[str, NDArray[np.float64]]

    def to_row(self) -> dict[str, Any]:
        """The row of `schema.MAPS`."""
        packed = io.BytesIO()
        if self.model:
            np.savez(packed, **self.model)  # type: ignore[arg-type]
        return {
            "id": self.key.id,
            "level": self.key.level,
            "of": self.key.of,
            "fingerprint": self.key.fingerprint,
            "encoder": self.encoder,
            "method": self.key.method,
            "seed": self.seed,
            "params": json.dumps(self.params, sort_keys=True),
            "used": json.dumps(self.used, sort_keys=True),
            "versions": json.dumps(self.versions, sort_keys=True),
            "at": self.at,
            "ids": list(self.ids),
            "xy": self.xy.reshape(-1),
            "placed": self.placed,
            "vectors": self.vectors,
            "model": packed.getvalue() if self.model else None,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> "StoredMap":
        """The map of a row, with arrays in place of lists.

        Raises:
            StoreDamagedError: If its parts do not fit each other, or the model cannot be read.
        """
        n = len(row["ids"])
        if not len(row["xy"]) == 2 * n == 2 * len(row["placed"]) == 2 * len(row["vectors"]):
            message = f"{where}: map {row['id']} has {n} ids, {len(row['xy'])} coordinates; {_ANEW}"
            raise StoreDamagedError(message)
        model: dict[str, NDArray[np.float64]] = {}
        if row["model"] is not None:
            try:
                with np.load(io.BytesIO(row["model"]), allow_pickle=False) as packed:
                    model = {name: packed[name] for name in packed.files}
            except (ValueError, OSError, zipfile.BadZipFile) as error:
                message = f"{where}: the projection of map {row['id']} cannot be read ({error}); {_ANEW}"
                raise StoreDamagedError(message) from error
        return cls(
            key=MapKey(row["level"], row["of"], row["fingerprint"], row["method"]),
            encoder=row["encoder"],
            seed=row["seed"],
            params=json.loads(row["params"]),
            used=json.loads(row["used"]),
            versions=json.loads(row["versions"]),
            at=row["at"],
            ids=row["ids"],
            xy=np.asarray(row["xy"], dtype=np.float32).reshape(n, 2),
            placed=np.asarray(row["placed"], dtype=np.bool_),
            vectors=np.asarray(row["vectors"], dtype=np.int64),
            model=model,
        )


def vector_digests(unit: NDArray[np.float32]) -> NDArray[np.int64]:
    """blake2b-64 of the bytes of each row, (n,) int64: tells whether a point was made from this vector."""
    rows = np.ascontiguousarray(unit, dtype="<f4")
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def put_map(store: Store, stored: StoredMap) -> None:
    """Write a map in one commit, in place of the one of the same key; the writer lock is held.

    Raises:
        StoreDamagedError: If it cannot be written; the one before stays.
    """
    row = stored.to_row()
    columns = [pa.array([row[field.name]], field.type) for field in MAPS]
    store.upsert(TABLE, pa.table(columns, schema=MAPS))


def stored_map(store: Store, key: MapKey) -> StoredMap | None:
    """The map of a key, or None.

    Raises:
        StoreDamagedError: If it cannot be read.
    """
    rows = store.read_rows(TABLE, [key.id], MAPS.names) if store.has(TABLE) else MAPS.empty_table()
    if not len(rows):
        return None
    row = {name: _value(rows[name][0]) for name in MAPS.names}
    return StoredMap.from_row(row, str(store.folder.path))


def _value(scalar: pa.Scalar) -> Any:
    """A list as an array, unless it is of text: a map may have millions of points."""
    if pa.types.is_list(scalar.type) and not pa.types.is_string(scalar.type.value_type):
        return scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()


def map_rows(store: Store) -> list[dict[str, Any]]:
    """All maps of an atlas, without their points, by id."""
    rows = store.read(TABLE, DESCRIBING).to_pylist()
    return [{**row, **{name: json.loads(row[name]) for name in ("params", "used", "versions")}} for row in rows]


def drop_maps(store: Store, encoders: Collection[tuple[str, str]]) -> list[str]:
    """Delete the maps of some encoders, in one commit; the writer lock is held.

    Args:
        store: The atlas.
        encoders: (image level, fingerprint) of each.

    Returns:
        Ids of the maps that are gone.
    """
    ids = maps_of(store, encoders)
    store.delete(TABLE, ids)
    return ids


def maps_of(store: Store, encoders: Collection[tuple[str, str]]) -> list[str]:
    """Ids of the maps of some encoders, named by image level and fingerprint."""
    return [row["id"] for row in map_rows(store) if (row["of"] or row["level"], row["fingerprint"]) in encoders]

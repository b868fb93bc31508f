"""Maps of an atlas as they are stored: where each image lies, and how far a map is behind. Reads the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store import encoders
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.maps import MapKey, StoredMap, map_rows, stored_map, vector_digests
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import mapped_vectors
from locatlas.query.atlas_views import AtlasViews
from locatlas.query.search.unit import Prepared, norms
from locatlas.types import LEVELS

__all__ = ["AS_OF", "METHODS", "MapPoints", "map_command", "points_of", "read_map", "unit_digests", "vectors_state"]

METHODS = ("pca", "umap", "tsne")

AS_OF = "as_of"
"""Among what was used: `vectors_state` of the table whose vectors the points stand by. Maps of before have none."""

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MapPoints:
    """A two-dimensional map of the vectors of one encoder.

    Attributes:
        level: "fov", "cell" or "protein".
        of: Level of the images that proteins are made of; None at image levels.
        encoder: Name of the encoder.
        fingerprint: Of the encoder.
        method: "pca", "umap" or "tsne".
        params: As asked for, by name, with the seed.
        used: What they came to on these vectors, and in words how later points were placed.
        versions: Of the packages that made it.
        ids: (n,) images or proteins, ascending.
        xy: (n, 2) float32. Distances are approximate: answers come from the vectors, never from a map.
        placed: (n,) bool; true where a point came later and was placed without drawing the others anew.
        vectors: (n,) int64, `indexer.maps.vector_digests` of the unit vector that each point was placed by; another one
            now means that the image has changed since, and that `locatlas map` would move it.
        notes: What a reader must know.
    """

    level: str
    of: str | None
    encoder: str
    fingerprint: str
    method: str
    params: Mapping[str, Any]
    used: Mapping[str, Any]
    versions: Mapping[str, str]
    ids: list[str]
    xy: NDArray[np.float32]
    placed: NDArray[np.bool_]
    vectors: NDArray[np.int64]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def to_arrow(self) -> pa.Table:
        """id, x, y (float32), placed (bool)."""
        x, y = np.ascontiguousarray(self.xy.T)
        return pa.table({"id": pa.array(self.ids, pa.string()), "x": x, "y": y, "placed": self.placed})


def read_map(
    store_or_atlas: Store | AtlasViews, level: str | None = None, *, encoder: str | None = None,
    method: str | None = None, of: str | None = None,
) -> MapPoints:  # fmt: skip
    """The map that is stored of a level.

    Images that are not in the atlas any more are left out; `notes` count those that came since the map was drawn, and
    at image levels those whose vector is another now (all vectors are looked at where their table is not the one that
    the map was drawn from): such a point is still where it was, until `locatlas map` is run.

    Args:
        store_or_atlas: The atlas.
        level: "fov", "cell" or "protein"; None for the first image level the atlas has.
        encoder: Name or fingerprint; None for the current one.
        method: "pca", "umap" or "tsne"; None for the one that was made last.
        of: At level protein, the images that proteins are made of; None for FOVs, or cells where there are none.

    Raises:
        UnknownNameError: If there is no such level, method or encoder.
        InputError: If no such map is stored; names the command that makes it.
    """
    store = store_or_atlas if isinstance(store_or_atlas, Store) else store_or_atlas.store
    if method is not None and method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    level, of, stored = _meant(store, level, of, encoder)
    rows = [r for r in map_rows(store) if (r["level"], r["of"]) == (level, of if level == "protein" else None)]
    fitting = [r for r in rows if r["fingerprint"] == stored.fingerprint and method in (None, r["method"])]
    key = None
    if fitting:
        newest = max(fitting, key=lambda r: (r["at"], r["method"]))
        key = MapKey(level, newest["of"], stored.fingerprint, newest["method"])
    found = None if key is None else stored_map(store, key)
    if found is None:
        raise InputError(_none(store, level, method, stored, encoder, rows))
    return points_of(store, found)


def _meant(store: Store, level: str | None, of: str | None, encoder: str | None) -> tuple[str, str, StoredEncoder]:
    """Level, level of the images, and encoder."""
    for kind, named, known in (("level", level, LEVELS), ("image level", of, LEVELS[:2])):
        if named is not None and named not in known:
            raise UnknownNameError(kind, named, known)
    if level in (None, "protein") and of is None:
        stored = encoders.stored_encoders(store)
        fits = [e for e in stored if encoder is None or e.is_called(encoder)] or stored
        of = "fov" if any(e.level == "fov" for e in fits) or not fits else "cell"
    images = str(of if level in (None, "protein") else level)
    return level or images, images, encoders.find(store, images, encoder)


def _none(
    store: Store, level: str, method: str | None, wanted: StoredEncoder, encoder: str | None, rows: list[dict[str, Any]]
) -> str:
    """Why there is no such map, and what makes it."""
    what = f"no {f'{method} ' if method else ''}map of level {level} by encoder {wanted.spec.name}"
    others = sorted({f"{r['method']} by {r['encoder']} ({r['fingerprint'][:12]})" for r in rows})
    there = f" (there are: {', '.join(others)})" if others else ""
    return f"{store.folder.path}: {what}{there}; `{map_command(store, level, method, encoder)}` makes it"


def map_command(store: Store, level: str, method: str | None = None, encoder: str | None = None) -> str:
    """The command that makes or renews a map."""
    further = [f"--level {level}", *([f"--method {method}"] if method else []), *([f"-e {encoder}"] if encoder else [])]
    return f"locatlas map --atlas {store.folder.path} {' '.join(further)}"


def points_of(store: Store, found: StoredMap) -> MapPoints:
    """A stored map with the images that are there now, and what has to be said of it."""
    key = found.key
    now = _ids_now(store, key)
    here = pc.is_in(pa.array(found.ids, pa.string()), value_set=now).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(here)
    ids = [found.ids[i] for i in rows.tolist()]
    placed = found.placed[rows]
    notes = []
    if (missing := len(now) - len(ids)) > 0:
        notes.append(
            f"{missing} of {len(now)} are not on the map: they came later, or their vector has no direction; "
            f"`{map_command(store, key.level, key.method)}` places what can be placed"
        )
    if n := int(placed.sum()):
        notes.append(f"{n} of {len(ids)} points were placed later ({found.used['later']}); --refit draws all anew")
    images = key.of or key.level
    if key.level == images and (n := _changed(store, key, ids, found.vectors[rows], found.used.get(AS_OF))):
        notes.append(
            f"{n} of {len(ids)} points stand where their images were before these changed; "
            f"`{map_command(store, key.level, key.method)}` moves them"
        )
    current = encoders.current(store, images)
    if current is not None and current.fingerprint != key.fingerprint:
        notes.append(f"drawn from vectors of {found.encoder}, which is not the current encoder ({current.spec.name})")
    return MapPoints(
        level=key.level,
        of=key.of,
        encoder=found.encoder,
        fingerprint=key.fingerprint,
        method=key.method,
        params={**found.params, "seed": found.seed},
        used={name: value for name, value in found.used.items() if name != AS_OF},
        versions=found.versions,
        ids=ids,
        xy=found.xy[rows],
        placed=placed,
        vectors=found.vectors[rows],
        notes=notes,
    )


def _changed(
    store: Store, key: MapKey, ids: Sequence[str], drawn_from: NDArray[np.int64], as_of: str | None
) -> int:  # fmt: skip
    """How many points were made from another vector than their image has now; none where the table is as it was."""
    table = encoders.find(store, key.level, key.fingerprint).table
    if as_of is not None and vectors_state(store, table) == as_of:
        return 0
    mapped = mapped_vectors(store, table)
    held = mapped.held
    rows = rows_in(pa.array(ids, pa.string()), held.names)
    there = rows >= 0
    lengths = norms(held.vectors) if mapped.norms is None else mapped.norms
    now = unit_digests(Prepared(held.vectors, lengths).take(rows[there]))
    return int(np.count_nonzero(now != drawn_from[there]))


def vectors_state(store: Store, table: str) -> str | None:
    """What no other state of a table of vectors has; None where that cannot be told."""
    return manifest_digest(store.folder, table, store.version(table))


def unit_digests(vectors: Prepared) -> NDArray[np.int64]:
    """`indexer.maps.vector_digests` of the unit vectors of (n, d), int64 (n,); no copy of all is made."""
    blocks = [slice(low, low + _ROWS_AT_ONCE) for low in range(0, len(vectors), _ROWS_AT_ONCE)]
    return np.concatenate([np.empty(0, np.int64), *(vector_digests(vectors.unit(block)) for block in blocks)])


def _ids_now(store: Store, key: MapKey) -> pa.Array:
    """Images that have a vector by the encoder, or the proteins of these, each once."""
    images = key.of or key.level
    table = encoders.find(store, images, key.fingerprint).table
    ids = store.read(table, ["id"])["id"] if store.has(table) else pa.chunked_array([], pa.string())
    there = store.read(image_table(images), ["id", "protein"])
    there = there.filter(pc.is_in(there["id"], value_set=ids.combine_chunks()))
    return pc.unique(there["protein"].drop_null() if key.level == "protein" else there["id"])

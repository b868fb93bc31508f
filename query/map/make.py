"""Draw a map of an atlas, or bring the one that is stored up to date. Reads the store, writes one row."""

import datetime as dt
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.allocator import give_pages_back
from locatlas.indexer.store.aligned import one_array, rows_in
from locatlas.indexer.store.arrow_numbers import as_arrow
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.maps import MapKey, StoredMap, put_map, stored_map
from locatlas.indexer.store.schema import embedding_table_name
from locatlas.query.asking.scope import Scope, look
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.map.neighbors import FEWEST, tsne, umap
from locatlas.query.map.projection import Pca, fit_pca, place_among
from locatlas.query.map.request import MapRequest
from locatlas.query.map.stored import AS_OF, MapPoints, points_of, unit_digests, vectors_state
from locatlas.query.search.exact import search
from locatlas.query.search.unit import Prepared

__all__ = ["MapResult", "make_map"]

LATER_NEIGHBORS = 15
"""Neighbors that a later point is placed by, where the method has no projection of its own."""

_ROWS_AT_ONCE = 4096

Tell = Callable[[str], None]
Action = Literal["drawn", "placed", "unchanged"]


@dataclass(frozen=True, slots=True, eq=False)
class MapResult:
    """A map and what was done for it.

    Attributes:
        points: The map as it is stored now.
        action: "drawn", "placed" (some points, beside those that were there), or "unchanged".
        why: Why it was drawn, in words; empty where it was not.
        n_placed: Points that were placed now.
        n_gone: Points that were taken out now, whose images are gone.
        view: What the points were made from.
    """

    points: MapPoints
    action: Action
    why: str
    n_placed: int
    n_gone: int
    view: View

    @property
    def localizations(self) -> list[frozenset[str]]:
        """Annotated localizations of each point, in the order of `points`."""
        # an image that came while the map was drawn is not on it; one that went is not in the answer
        rows = rows_in(pa.array(self.points.ids, pa.string()), self.view.meta["id"])
        sets = self.view.meta["localizations"].take(as_arrow(rows)).to_pylist()  # without a copy of the vectors
        return [frozenset(names or ()) for names in sets]


@dataclass(frozen=True, slots=True, eq=False)
class _Vectors:
    """Vectors that have a direction, by id, with the digests of their unit vectors."""

    names: pa.Array
    prepared: Prepared
    digests: NDArray[np.int64]

    @classmethod
    def of(cls, view: View) -> "_Vectors":
        """Those of a view."""
        prepared, names = view.prepared, one_array(view.meta["id"])
        if not prepared.all_directed:
            rows = np.flatnonzero(prepared.lengths > 0)
            prepared, names = prepared.take(rows), names.take(pa.array(rows))
        return cls(names, prepared, unit_digests(prepared))

    def __len__(self) -> int:
        return len(self.names)

    def are_all_alike(self) -> bool:
        """Whether all have one direction."""
        first = self.prepared.unit(slice(0, 1))
        blocks = (slice(low, low + _ROWS_AT_ONCE) for low in range(0, len(self), _ROWS_AT_ONCE))
        return all((self.prepared.unit(block) == first).all() for block in blocks)


def make_map(shelf: Shelf, request: MapRequest, *, tell: Tell | None = None) -> MapResult:
    """Draw the map, or place what came later on the one that is there; nothing is done where nothing changed.

    A map is drawn anew where other parameters or another seed are asked for, and where fewer than half of the points
    it was drawn from still have their vector. The writer lock is held while it is written only.

    Raises:
        UnknownNameError: If there is no such level, encoder or method.
        InputError: If there are fewer than three vectors with a direction, the method is not installed, or a parameter
            does not fit.
    """
    asked = request.asked()
    store = shelf.store
    scope = Scope(level=request.level, encoder=request.encoder, of=request.of, map_labels=request.map_labels)
    # before they are read: whatever comes meanwhile makes another state
    states = {table: vectors_state(store, table) for table in store.tables() if table.startswith("emb_")}
    seen = look(shelf, scope, Subject())
    view, encoder = seen.view, seen.loaded.encoder
    of = seen.loaded.view.level if view.level == "protein" else None
    if view.level == "protein" and not len(view):
        message = f"{store.folder.path}: no image names a protein; a map of --level {of} needs no names"
        raise InputError(message)
    vectors = _Vectors.of(view)
    if len(vectors) < 3 or vectors.prepared.dim < 2:
        message = (
            f"{store.folder.path}: {len(vectors)} vectors of {vectors.prepared.dim} numbers at level {view.level} "
            "have a direction; a map needs at least 3 of 2 numbers"
        )
        raise InputError(message)
    if vectors.are_all_alike():
        message = f"{store.folder.path}: all {len(vectors)} vectors at level {view.level} are the same"
        raise InputError(message)
    key, state = MapKey(view.level, of, encoder.fingerprint, request.method), states.get(encoder.table)
    before = None if request.refit else stored_map(store, key)  # which may be why it is asked for
    n_placed = n_gone = 0
    action: Action = "drawn"
    if why := _why_anew(before, vectors, request, asked):
        now = _as_of(state, _draw(key, encoder.spec.name, vectors, request.seed, asked, tell or (lambda _: None)))
        give_pages_back(view.vectors)  # all were read once and are not needed for writing
        _commit(shelf, now, drawn=len(vectors))
    else:
        assert before is not None
        changed, n_placed, n_gone = _place(before, vectors)
        now = _as_of(state, changed)
        give_pages_back(view.vectors)
        action = "placed" if n_placed or n_gone else "unchanged"
        if action == "placed":
            _commit(shelf, now, placed=n_placed, removed=n_gone)
        else:
            _settle(shelf)
    return MapResult(points_of(store, now), action, why, n_placed, n_gone, view)


def _why_anew(before: StoredMap | None, vectors: _Vectors, request: MapRequest, asked: Mapping[str, Any]) -> str:
    """Why all points must be drawn; empty where they need not."""
    if request.refit:
        return "asked for"
    if before is None:
        return "there was none"
    if dict(before.params) != dict(asked):
        return f"other parameters than before ({_shown(before.params)})"
    if before.seed != request.seed:
        return f"another seed than before ({before.seed})"
    rows = rows_in(pa.array(before.ids, pa.string()), vectors.names)
    same = (rows >= 0) & (vectors.digests[rows] == before.vectors)
    n, n_same = int(np.count_nonzero(~before.placed)), int(np.count_nonzero(same & ~before.placed))
    if 2 * n_same < n:
        return f"of {n} points that were drawn, {n - n_same} have another vector now or are gone"
    return ""


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items()) or "none"


def _draw(
    key: MapKey, encoder: str, vectors: _Vectors, seed: int, asked: Mapping[str, Any], tell: Tell
) -> StoredMap:  # fmt: skip
    n = len(vectors)
    tell(f"{key.method} of {n} vectors")
    pca, used = fit_pca(vectors.prepared)
    xy = pca.project(vectors.prepared)
    packages, model = ["numpy", "scipy"], {"mean": pca.mean, "axes": pca.axes}
    later = "by the same projection"
    if key.method != "pca":
        if n < FEWEST:
            message = f"{n} vectors: {key.method} needs at least {FEWEST}; method pca takes 3"
            raise InputError(message)
        model, later = {}, f"at the weighted mean of their {min(LATER_NEIGHBORS, n)} nearest drawn neighbors"
        if key.method == "umap":
            packages += ["umap-learn", "numba"]
            tell("umap compiles itself first, about half a minute in each process, and draws then")
            xy, used = umap(vectors.prepared, xy, seed=seed, **asked)
        else:
            packages += ["openTSNE"]
            xy, used = tsne(vectors.prepared, xy, seed=seed, **asked)
    return StoredMap(
        key=key,
        encoder=encoder,
        seed=seed,
        params=asked,
        used={**used, "later": later},
        versions={name: version(name) for name in ("locatlas", *packages)},
        at=dt.datetime.now(dt.UTC),
        ids=vectors.names.to_pylist(),
        xy=xy,
        placed=np.zeros(len(vectors), dtype=np.bool_),
        vectors=vectors.digests,
        model=model,
    )


def _place(before: StoredMap, vectors: _Vectors) -> tuple[StoredMap, int, int]:
    """The map with the images that are there now; how many were placed, and how many are gone."""
    rows = rows_in(vectors.names, pa.array(before.ids, pa.string()))
    known = (rows >= 0) & (before.vectors[rows] == vectors.digests)
    gone = len(before.ids) - int(np.count_nonzero(rows >= 0))
    xy = np.where(known[:, None], before.xy[rows], np.float32(0))
    placed = ~known | before.placed[rows]
    new = np.flatnonzero(~known)
    if len(new):
        if before.model:
            xy[new] = Pca(before.model["mean"], before.model["axes"]).project(vectors.prepared.take(new))
        else:
            drawn = np.flatnonzero(~placed)
            found = search(vectors.prepared.take(new), vectors.prepared.take(drawn), k=min(LATER_NEIGHBORS, len(drawn)))
            xy[new] = place_among(found, xy[drawn])
    changed = replace(before, ids=vectors.names.to_pylist(), xy=xy, placed=placed, vectors=vectors.digests)
    return changed, len(new), gone


def _as_of(state: str | None, stored: StoredMap) -> StoredMap:
    """The map, saying which state of the table its points stand by."""
    return replace(stored, used={**stored.used, AS_OF: state})


def _commit(shelf: Shelf, stored: StoredMap, **counts: int) -> None:
    """Write the map; whoever writes meanwhile is waited for, since drawing may have taken long."""
    store, table = shelf.store, embedding_table_name(stored.key.of or stored.key.level, stored.key.fingerprint)
    with store.folder.writer("map", brief=True, patient=True), Run.record(store, "map") as run:
        if not store.has(table):
            message = f"{store.folder.path}: the vectors of {stored.encoder} were deleted while they were drawn"
            raise InputError(message)
        run.level, run.fingerprint = stored.key.level, stored.key.fingerprint
        run.touched()
        put_map(store, stored)
        run.wrote([stored.key.id])
        run.counts.update(counts)


def _settle(shelf: Shelf) -> None:
    """Close what a run left that was killed after its map was written, as every command does that writes.

    Whoever writes now has done so already, and an atlas that can only be read is left as it is.
    """
    store = shelf.store
    if os.access(store.folder.path, os.W_OK):
        with suppress(AtlasLockedError), store.folder.writer("map", brief=True), Run.record(store, "map"):
            pass

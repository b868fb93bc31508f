"""The atlas as a user holds it: open, status, vectors, neighbors, classify, sweep. Reads the store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer import encoders
from locatlas.indexer.encoders import StoredEncoder
from locatlas.indexer.faiss_index import FaissIndex, open_index
from locatlas.indexer.job import image_table
from locatlas.indexer.store import Store
from locatlas.query import answers
from locatlas.query.filters import Filter, apply, parse
from locatlas.query.localize import localize
from locatlas.query.lookup import Exclude, Queries, look_up
from locatlas.query.query_image import embed_image
from locatlas.query.status import status
from locatlas.query.sweep import SweepResult, sweep
from locatlas.query.unit import normalize
from locatlas.query.view import NOT_READ, View
from locatlas.types import Level

__all__ = ["Atlas", "Where", "open_atlas"]

Where = Sequence[str] | Mapping[str, Any]
"""Filters that all must hold: ["dataset=opencell", "pixel_size_um<0.3"], or {"dataset": "opencell"}."""


def open_atlas(path: str | Path) -> "Atlas":
    """The atlas in a folder, for reading; writers do not block it.

    Raises:
        InputError: If there is no atlas.
    """
    return Atlas(Store.open(Path(path)))


class Atlas:
    """Answers from one atlas. What is read is kept until a table changes.

    Attributes:
        store: Its tables.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._views: dict[tuple[str, str], tuple[tuple[int, int], View, FaissIndex | None, str]] = {}

    def __repr__(self) -> str:
        return f"Atlas({str(self.store.folder.path)!r})"

    def status(self) -> dict[str, Any]:
        """Tables, encoders, coverage, indices, roots, runs and versions."""
        return status(self.store)

    def levels(self) -> list[str]:
        """Image levels that have vectors."""
        return sorted({e.level for e in encoders.stored_encoders(self.store)}, reverse=True)

    def _image_level(self, level: Level | None, encoder: str | None) -> str:
        if level in ("fov", "cell"):
            return str(level)
        levels = self.levels()
        if not levels:
            message = f"{self.store.folder.path}: no vectors yet; `locatlas index` makes some"
            raise InputError(message)
        if encoder is not None and len(levels) > 1:
            fits = [lv for lv in levels if any(_is(e, encoder) for e in encoders.stored_encoders(self.store, lv))]
            levels = fits or levels
        return levels[0]  # fov before cell

    def _loaded(self, level: str, encoder: str | None) -> tuple[StoredEncoder, View, FaissIndex | None, str]:
        stored = encoders.find(self.store, level, encoder)
        table = image_table(level)
        if not self.store.has(stored.table):
            message = f"{self.store.folder.path}: encoder {stored.spec.name} has no vectors at level {level} yet"
            raise InputError(message)
        versions = (self.store.version(stored.table), self.store.version(table))
        key = (level, stored.fingerprint)
        if key not in self._views or self._views[key][0] != versions:
            # vectors first: a writer commits an image's row before its vector, so every vector read has its row
            held = self.store.read_vectors(stored.table)
            images = self.store.read(table, [c for c in self._columns(table) if c not in NOT_READ])
            index, state = open_index(self.store, stored, held)
            self._views[key] = (versions, View.build(level, held.ids, held.vectors, images), index, state)
        _, view, index, state = self._views[key]
        return stored, view, index, state

    def _columns(self, table: str) -> list[str]:
        from locatlas.indexer.schema import CELLS, FOVS

        return list((FOVS if table == "fovs" else CELLS).names)

    def view(self, level: Level | None = None, *, encoder: str | None = None) -> View:
        """Vectors and metadata of a level; proteins are aggregated from FOVs, or from cells where there are no FOVs.

        Args:
            level: "fov", "cell" or "protein"; None for the first the atlas has.
            encoder: Name or fingerprint; None for the current one.
        """
        _, view, _, _ = self._loaded(self._image_level(level, encoder), encoder)
        return view.by_protein() if level == "protein" else view

    def embeddings(
        self, *, level: Level | None = None, encoder: str | None = None
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Ids, ascending, and their vectors (n, d) float32, not normalised."""
        view = self.view(level, encoder=encoder)
        return view.ids, view.vectors

    def neighbors(
        self,
        *,
        protein: str | None = None,
        id: str | None = None,  # noqa: A002 (the word of the design)
        image: str | Path | Sequence[str | Path] | None = None,
        channels: Sequence[str] = (),
        pixel_size_um: float | None = None,
        level: Level | None = None,
        k: int = 10,
        exclude: Exclude = "protein",
        where: Where = (),
        exact: bool | None = None,
        encoder: str | None = None,
    ) -> pa.Table:
        """The k images (or proteins) most similar to a protein, an image of the atlas, or a new image file.

        Args:
            protein: Gene symbol; the query is the mean of the unit vectors of its images.
            id: Image id.
            image: A file, or one file per channel.
            channels: Meanings of the image's planes in order, e.g. ("nucleus", "protein").
            pixel_size_um: Of the new image, where known.
            level: What is searched: "fov", "cell" or "protein"; None for the first image level the atlas has.
            k: Neighbors, 1 <= k <= number of rows.
            exclude: What the query must not meet: "none", "self", "fov" or "protein", each with those before it.
            where: Filters on the answers.
            exact: True to scan, False to use the FAISS index, None to use it where there is one.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            Nearest first: rank (from 1), id, protein, similarity (cosine), localizations, dataset. The table's
            metadata has `query`, `level`, `exact` and `encoder`.

        Raises:
            UnknownNameError: If the protein, id, column or encoder is not in the atlas.
            InputError: If the query is not exactly one of protein, id and image, or k does not fit.
        """
        image_level = self._image_level(level, encoder)
        stored, base, index, _ = self._loaded(image_level, encoder)
        view = base.by_protein() if level == "protein" else base
        queries = self._one_query(stored, base, view, protein, id, image, channels, pixel_size_um)
        allowed = _allowed(view, where)
        _check_k(k, int(allowed.sum()) if allowed is not None else len(view))
        found, was_exact = look_up(
            queries, view, k=k, exclude=exclude, allowed=allowed, index=_usable(index, view, exact=exact)
        )
        query = {"protein": protein, "id": id, "image": [str(p) for p in _as_list(image)] or None}
        return answers.neighbor_table(
            view, found, query={k: v for k, v in query.items() if v}, exact=was_exact, encoder=stored, exclude=exclude
        )

    def classify(
        self,
        *,
        protein: str | None = None,
        id: str | None = None,  # noqa: A002 (the word of the design)
        image: str | Path | Sequence[str | Path] | None = None,
        channels: Sequence[str] = (),
        pixel_size_um: float | None = None,
        level: Level | None = None,
        k: int = 20,
        exclude: Exclude = "protein",
        weights: Literal["uniform", "distance", "softmax"] = "softmax",
        temperature: float = 0.07,
        threshold: float = 0.5,
        where: Where = (),
        exact: bool | None = None,
        encoder: str | None = None,
    ) -> pa.Table:
        """Where a protein, an image or a new image is localized, by the vote of its k nearest labelled neighbors.

        Args:
            protein: Gene symbol: each of its images is classified (with level "protein", its profile).
            id: Image id.
            image: A new file, or one per channel.
            channels: Meanings of the image's planes.
            pixel_size_um: Of the new image, where known.
            level: As in `neighbors`.
            k: Neighbors that vote.
            exclude: What a query must not meet.
            weights: Of the votes.
            temperature: Of softmax votes.
            threshold: Share of the vote from which a localization is predicted; the top one is, in any case.
            where: Filters on those that vote.
            exact: As in `neighbors`.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            One row an item: id, protein, annotated, predicted, scores (localization and score, best first),
            neighbors (ids) and their similarities. Without protein, id and image, all rows are classified.

        Raises:
            UnknownNameError: If the protein, id, column or encoder is not in the atlas.
            InputError: If k does not fit or nothing labelled may vote.
        """
        image_level = self._image_level(level, encoder)
        stored, base, index, _ = self._loaded(image_level, encoder)
        view = base.by_protein() if level == "protein" else base
        if protein is None and id is None and image is None:
            queries = Queries.from_rows(view, np.arange(len(view), dtype=np.int64))
        elif protein is not None and id is None and image is None:
            queries = Queries.from_rows(view, _rows_of(view, "protein", protein))
        else:
            queries = self._one_query(stored, base, view, protein, id, image, channels, pixel_size_um)
        items, was_exact = localize(
            queries,
            view,
            k=k,
            exclude=exclude,
            weights=weights,
            temperature=temperature,
            threshold=threshold,
            allowed=_allowed(view, where),
            index=_usable(index, view, exact=exact),
        )
        return answers.localized_table(items, level=view.level, exact=was_exact, encoder=stored)

    def sweep(
        self,
        *,
        ks: Sequence[int] = (1, 3, 5, 10, 20, 50, 100, 200),
        group: str = "protein",
        protocol: Literal["leave-group-out", "kfold"] = "leave-group-out",
        folds: int = 5,
        seed: int = 0,
        weights: str | Sequence[str] = "uniform",
        temperature: float = 0.07,
        threshold: float = 0.5,
        labels: Literal["single", "multi"] = "single",
        level: Level | None = None,
        where: Where = (),
        encoder: str | None = None,
    ) -> SweepResult:
        """How well k-NN recovers the annotated localizations, at every neighborhood size, from one search.

        Args:
            ks: Neighborhood sizes.
            group: Column whose values must not be split: rows of the query's own group never vote.
            protocol: Leave one group out, or grouped k-fold.
            folds: Of kfold.
            seed: Of folds and bootstrap.
            weights: One or several of uniform, distance, softmax.
            temperature: Of softmax votes.
            threshold: Of multi-label predictions.
            labels: "single" takes rows with exactly one localization, "multi" all labelled rows.
            level: As in `neighbors`.
            where: Filters on the rows that take part at all.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            Scores by k and vote, with what was left out and the definitions; `.plot(path)`, `.to_arrow()`.

        Raises:
            UnknownNameError: If the group's column or the encoder is not in the atlas.
            InputError: If no row has both a group and a label, or k exceeds the references.
        """
        stored, base, _, _ = self._loaded(self._image_level(level, encoder), encoder)
        view = base.by_protein() if level == "protein" else base
        if (allowed := _allowed(view, where)) is not None:
            view = view.take(np.flatnonzero(allowed).astype(np.int64))
        return sweep(
            view.vectors,
            view.localizations,
            view.column(group),
            view.ids,
            ks=ks,
            protocol=protocol,
            group=group,
            folds=folds,
            seed=seed,
            weights=(weights,) if isinstance(weights, str) else tuple(weights),
            temperature=temperature,
            threshold=threshold,
            labels_mode=labels,
        ).with_context(
            level=view.level,
            encoder={"name": stored.spec.name, "fingerprint": stored.fingerprint},
            where=[str(f) for f in _filters(where)],
        )

    def _one_query(
        self,
        stored: StoredEncoder,
        base: View,
        view: View,
        protein: str | None,
        image_id: str | None,
        image: str | Path | Sequence[str | Path] | None,
        channels: Sequence[str],
        pixel_size_um: float | None,
    ) -> Queries:
        if sum(x is not None for x in (protein, image_id, image)) != 1:
            message = "one query needed: a protein, an id or an image"
            raise InputError(message)
        if image is not None:
            paths = [Path(p) for p in _as_list(image)]
            vector = embed_image(paths, channels, stored.spec, pixel_size_um=pixel_size_um)
            return Queries([str(paths[0])], vector[None], [None], [None], [None], [frozenset()])
        if image_id is not None:
            source = view if view.level == "protein" else base
            return Queries.from_rows(source, _rows_of(source, "id", image_id))
        assert protein is not None
        rows = _rows_of(base, "protein", protein)
        mean = normalize(base.vectors[rows]).astype(np.float64).mean(axis=0).astype(np.float32)
        labels: frozenset[str] = frozenset().union(*(base.localizations[r] for r in rows))
        own_id = protein if view.level == "protein" else None
        return Queries([protein], mean[None], [own_id], [None], [protein], [labels])


def _is(encoder: StoredEncoder, name: str) -> bool:
    return encoder.spec.name == name or (len(name) >= 6 and encoder.fingerprint.startswith(name))


def _as_list(image: str | Path | Sequence[str | Path] | None) -> list[str | Path]:
    if image is None:
        return []
    return [image] if isinstance(image, str | Path) else list(image)


def _rows_of(view: View, column: str, value: str) -> NDArray[np.int64]:
    values = view.column(column)
    rows = np.array([row for row, found in enumerate(values) if found == value], dtype=np.int64)
    if not len(rows):
        known = {v for v in values if v is not None}
        close = [v for v in known if v.lower() == value.lower()]
        hint = f"Did you mean {close[0]}?" if close else ""
        raise UnknownNameError(column if column != "id" else f"{view.level} id", value, known, hint)
    return rows


def _allowed(view: View, where: Where) -> NDArray[np.bool_] | None:
    filters = _filters(where)
    if not filters:
        return None
    allowed = apply(view.meta, filters)
    if not allowed.any():
        message = f"no image at level {view.level} passes the filter {' and '.join(map(str, filters))}"
        raise InputError(message)
    return allowed


def _filters(where: Where) -> list[Filter]:
    if isinstance(where, Mapping):
        return [Filter(column, "=", value) for column, value in where.items()]
    return [parse(text) for text in ([where] if isinstance(where, str) else where)]


def _check_k(k: int, n: int) -> None:
    if not 1 <= k <= n:
        message = f"k = {k}: must be from 1 to {n}, the number of images (or proteins) that may answer"
        raise InputError(message)


def _usable(index: FaissIndex | None, view: View, *, exact: bool | None) -> FaissIndex | None:
    """The index to use: proteins are aggregated on the fly and have none."""
    if exact is True or view.level == "protein":
        if exact is False:
            message = "proteins are aggregated on the fly and searched exactly; leave --approximate out"
            raise InputError(message)
        return None
    if exact is False and index is None:
        message = "no FAISS index to use; make one with `locatlas embed --faiss ivf`, or leave --approximate out"
        raise InputError(message)
    return index

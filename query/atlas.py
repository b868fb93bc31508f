"""The atlas as a user holds it: open, status, vectors, neighbors, classify, sweep. Reads the store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store import Store
from locatlas.query import answers
from locatlas.query.localize import localize
from locatlas.query.lookup import look_up
from locatlas.query.notes import mixed_vocabularies, too_few_voters
from locatlas.query.selection import (
    Where,
    allowed_rows,
    check_k,
    filters_of,
    further_exclusions,
    known_groups,
    usable_index,
)
from locatlas.query.shelf import Loaded, Shelf
from locatlas.query.status import status
from locatlas.query.subjects import Subject
from locatlas.query.sweep import SweepResult, sweep
from locatlas.query.view import View
from locatlas.query.vocabulary import with_mapped_labels
from locatlas.query.vote import Weights
from locatlas.types import LEVELS, Level

__all__ = ["Atlas", "Where", "open_atlas"]

DEFAULT_K = 10
"""Neighbors of a look-up where no number is given."""

DEFAULT_VOTERS = 20
"""Neighbors that vote where no number is given."""


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
        self._shelf = Shelf(store)

    def __repr__(self) -> str:
        return f"Atlas({str(self.store.folder.path)!r})"

    def status(self) -> dict[str, Any]:
        """Tables, encoders, coverage, indices, roots, runs and versions."""
        return status(self.store)

    def levels(self) -> list[str]:
        """Image levels that have vectors, FOVs before cells."""
        return self._shelf.levels()

    def _searched(
        self, level: Level | None, encoder: str | None, subject: Subject, where: Where, map_labels: str | None = None
    ) -> tuple[Loaded, View, NDArray[np.bool_] | None]:
        """The image level a query is taken from, what is searched, and which of its rows pass the filters.

        Where no level is named it is the first that has the named protein or id. Proteins are made of the images that
        pass the filters, so that all of them pass.
        """
        if level not in (None, *LEVELS):
            raise UnknownNameError("level", str(level), LEVELS)
        levels = [str(level)] if level in ("fov", "cell") else self._shelf.levels(encoder)
        loaded = self._shelf.load(levels[0], encoder)
        for other in levels[1:]:
            if subject.is_in(loaded.view):
                break
            if subject.is_in((candidate := self._shelf.load(other, encoder)).view):
                loaded = candidate
        if map_labels is not None:
            loaded = replace(loaded, view=with_mapped_labels(loaded.view, map_labels))
        allowed = allowed_rows(loaded.view, where)
        if level != "protein":
            return loaded, loaded.view, allowed
        images = loaded.view if allowed is None else loaded.view.take(np.flatnonzero(allowed).astype(np.int64))
        return loaded, images.by_protein(), None

    def view(self, level: Level | None = None, *, encoder: str | None = None) -> View:
        """Vectors and metadata of a level; proteins are aggregated from FOVs, or from cells where there are no FOVs.

        Args:
            level: "fov", "cell" or "protein"; None for the first image level the atlas has.
            encoder: Name or fingerprint; None for the current one.
        """
        return self._searched(level, encoder, Subject(), ())[1]

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
        k: int | None = None,
        exclude: str = "protein",
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
            k: Neighbors, 1 <= k <= number of rows that may answer; None for 10, or as many as there are.
            exclude: What the query must not meet: "none", "self", "fov" or "protein", each with those before it, or a
                column, e.g. "plate": itself, its FOV and its equals.
            where: Filters on the images that may answer, or that a protein is made of.
            exact: True to scan, False to use the FAISS index, None to use it where there is one.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            Nearest first: rank (from 1), id, protein, similarity (cosine), localizations, dataset. The table's
            metadata has `query`, `level`, `exact` and `encoder`.

        Raises:
            UnknownNameError: If the protein, id, column or encoder is not in the atlas.
            InputError: If the query is not exactly one of protein, id and image, or k does not fit.
        """
        subject = Subject.named(protein, id, image, channels, pixel_size_um)
        loaded, view, allowed = self._searched(level, encoder, subject, where)
        queries = subject.as_one(loaded, view)
        n_rows = int(allowed.sum()) if allowed is not None else len(view)
        k = min(DEFAULT_K, n_rows) if k is None else k
        check_k(k, n_rows)
        index = usable_index(loaded, view, exact=exact)
        found, was_exact = look_up(queries, view, k=k, exclude=exclude, allowed=allowed, index=index)
        return answers.neighbor_table(
            view,
            found,
            query=subject.said(),
            exact=was_exact,
            encoder=loaded.encoder,
            exclude=exclude,
            notes=[*loaded.notes(), *subject.notes(loaded.view)],
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
        k: int | None = None,
        exclude: str = "protein",
        weights: Weights = "softmax",
        temperature: float = 0.07,
        threshold: float = 0.5,
        map_labels: str | None = None,
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
            k: Neighbors that vote, 1 <= k <= number of labelled rows; None for 20, or as many as there are.
            exclude: What a query must not meet, as in `neighbors`.
            weights: Of the votes.
            temperature: Of softmax votes.
            threshold: Share of the vote from which a localization is predicted; the top one is, in any case.
            map_labels: Map that brings all localizations into one vocabulary, e.g. "hpa->opencell".
            where: Filters on those that vote, and without a query on those that are classified.
            exact: As in `neighbors`.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            One row an item: id, protein, annotated, predicted, scores (localization and score, best first),
            neighbors (ids) and their similarities. Without protein, id and image, all rows are classified.

        Raises:
            UnknownNameError: If the protein, id, column or encoder is not in the atlas.
            InputError: If k does not fit or nothing labelled may vote.
        """
        subject = Subject.named(protein, id, image, channels, pixel_size_um)
        loaded, view, allowed = self._searched(level, encoder, subject, where, map_labels)
        queries = subject.as_many(loaded, view, allowed)
        asked = k
        if k is None:
            voters = [bool(names) for names in view.localizations]
            n_voters = sum(voters) if allowed is None else int(np.array(voters)[allowed].sum())
            k = max(1, min(DEFAULT_VOTERS, n_voters))
        items, was_exact = localize(
            queries,
            view,
            k=k,
            exclude=exclude,
            weights=weights,
            temperature=temperature,
            threshold=threshold,
            allowed=allowed,
            index=usable_index(loaded, view, exact=exact),
        )
        return answers.localized_table(
            items,
            level=view.level,
            exact=was_exact,
            encoder=loaded.encoder,
            k=k,
            notes=[
                *loaded.notes(),
                *subject.notes(loaded.view),
                *(too_few_voters(items, asked) if asked else ()),
                *mixed_vocabularies(view, allowed),
            ],
        )

    def sweep(
        self,
        *,
        ks: Sequence[int] | None = None,
        group: str = "protein",
        protocol: Literal["leave-group-out", "kfold"] = "leave-group-out",
        folds: int = 5,
        seed: int = 0,
        weights: Weights | Sequence[Weights] = "uniform",
        temperature: float = 0.07,
        threshold: float = 0.5,
        labels: Literal["single", "multi"] = "single",
        level: Level | None = None,
        exclude: Literal["self", "fov", "protein"] = "protein",
        map_labels: str | None = None,
        where: Where = (),
        encoder: str | None = None,
        device: str = "cpu",
    ) -> SweepResult:
        """How well k-NN recovers the annotated localizations, at every neighborhood size, from one search.

        Args:
            ks: Neighborhood sizes; None for 1 to 200 as far as there are references enough.
            group: Column whose values must not be split: rows of the query's own group never vote.
            protocol: Leave one group out, or grouped k-fold.
            folds: Of kfold.
            seed: Of folds and bootstrap.
            weights: One or several of uniform, distance, softmax.
            temperature: Of softmax votes.
            threshold: Of multi-label predictions.
            labels: "single" takes rows with exactly one localization, "multi" all labelled rows.
            level: As in `neighbors`.
            exclude: What else never votes, beside the query's group: "self", "fov" or "protein", each with those before
                it. A split by FOV, as papers often make it, is group "fov" with exclude "fov".
            map_labels: Map that brings all localizations into one vocabulary, e.g. "hpa->opencell".
            where: Filters on the rows that take part at all.
            encoder: Name or fingerprint; None for the current one.
            device: Where the search runs: "cpu", or a torch device; the result is the same.

        Returns:
            Scores by k and vote, with what was left out and the definitions; `.plot(path)`, `.to_arrow()`.

        Raises:
            UnknownNameError: If the group's column or the encoder is not in the atlas.
            InputError: If no row has both a group and a label, or k exceeds the references.
        """
        loaded, view, allowed = self._searched(level, encoder, Subject(), where, map_labels)
        if allowed is not None:
            view = view.take(np.flatnonzero(allowed).astype(np.int64))
        groups = view.names(group)
        if all(name is None for name in groups):
            message = (
                f"group {group!r} is unknown for all {len(view)} images; groups that are known: {known_groups(view)}"
            )
            raise InputError(message)
        return sweep(
            view.vectors,
            view.localizations,
            groups,
            view.ids,
            ks=ks,
            protocol=protocol,
            group=group,
            folds=folds,
            seed=seed,
            weights=weights,
            temperature=temperature,
            threshold=threshold,
            labels_mode=labels,
            exclude=further_exclusions(view, exclude, group),
            device=device,
        ).with_context(
            level=view.level,
            encoder={"name": loaded.encoder.spec.name, "fingerprint": loaded.encoder.fingerprint},
            where=[str(f) for f in filters_of(where)],
            map_labels=map_labels,
            notes=[*loaded.notes(), *mixed_vocabularies(view, None)],
        )

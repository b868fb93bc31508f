"""The atlas as a user holds it: open, neighbors, classify, and all of its bases. Reads the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import pyarrow as pa

from locatlas.errors import InputError
from locatlas.indexer.store.tables import Store
from locatlas.query.answers.neighbors import find
from locatlas.query.asking.label_source import LabelSource
from locatlas.query.asking.profiles import Profile
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.selection import Where
from locatlas.query.asking.subjects import Subject
from locatlas.query.atlas_map import AtlasMap
from locatlas.query.atlas_measures import AtlasMeasures
from locatlas.query.atlas_probe import AtlasProbe
from locatlas.types import Level

if TYPE_CHECKING:  # a look-up needs none of these
    from locatlas.query.answers.aggregate import How
    from locatlas.query.answers.vote import Weights
    from locatlas.query.remote import RemoteAtlas

__all__ = ["Atlas", "Where", "open_atlas"]


@overload
def open_atlas(path: Path) -> "Atlas": ...


@overload
def open_atlas(path: str, *, token: str | None = None) -> "Atlas | RemoteAtlas": ...


def open_atlas(path: str | Path, *, token: str | None = None) -> "Atlas | RemoteAtlas":
    """The atlas in a folder, for reading, or one that `locatlas serve` serves; writers do not block it.

    Args:
        path: A folder, or the address of a server, e.g. "http://127.0.0.1:8765".
        token: What the server wants to be shown.

    Raises:
        InputError: If there is no atlas, or a token is given for a folder.
    """
    if isinstance(path, str) and path.lower().startswith(("http://", "https://")):
        from locatlas.query.remote import RemoteAtlas

        return RemoteAtlas(path, token=token)
    if token is not None:
        message = f"{path}: a token is for the address of a server, not for a folder"
        raise InputError(message)
    return Atlas(Store.open(Path(path)))


class Atlas(AtlasMeasures, AtlasProbe, AtlasMap):
    """Answers from one atlas. What is read is kept until a table changes.

    Attributes:
        store: Its tables.
    """

    def neighbors(
        self,
        *,
        protein: str | None = None,
        id: str | None = None,  # noqa: A002 (the word of the design)
        image: str | Path | Sequence[str | Path] | None = None,
        channels: Sequence[str] = (),
        pixel_size_um: float | None = None,
        at: tuple[float, float] | None = None,
        level: Level | None = None,
        k: int | None = None,
        exclude: str = "protein",
        map_labels: str | None = None,
        where: Where = (),
        label_source: LabelSource = "inherited",
        profile: Profile | None = None,
        of: str | None = None,
        exact: bool | None = None,
        encoder: str | None = None,
    ) -> pa.Table:
        """The k images (or proteins) most similar to a protein, an image of the atlas, or a new image file.

        Args:
            protein: Gene symbol, or Ensembl id where images have it; the query is its profile.
            id: Image id.
            image: A file, or one file per channel.
            channels: Meanings of the image's planes in order, e.g. ("nucleus", "protein").
            pixel_size_um: Of the new image, where known.
            at: y, x of a cell in the image, in pixels, to be cut out as the atlas' cells were; None takes it whole.
            level: What is searched: "fov", "cell" or "protein"; None for the first image level the atlas has.
            k: Neighbors, 1 <= k <= number of rows that may answer; None for 10, or as many as there are.
            exclude: What the query must not meet: "none", "self", "fov" or "protein", each with those before it, or a
                column, e.g. "plate": itself, its FOV and its equals.
            map_labels: Map that brings the localizations, which are shown and filtered by, into one vocabulary, e.g.
                "hpa:opencell".
            where: Filters on the images that may answer, or that a protein is made of.
            label_source: Localizations that are shown: "inherited" from the protein, field or data set, or "annotated"
                ones of the very cells; these belong to cells only.
            profile: At level protein, what a protein is: the "mean" of the unit vectors of its images (default), or the
                "medoid", the image with the highest mean cosine to the others.
            of: At level protein, which images it is made of: "fov" or "cell"; None for FOVs, or cells where there are
                none.
            exact: True to scan, False to use the FAISS index, None to use it where there is one.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            Nearest first: rank (from 1), id, protein, similarity (cosine), localizations, dataset. The table's
            metadata has `query`, `level`, `label_source`, `profile`, `exact`, `encoder`, `notes` and, of a protein, the
            `similarity_context` that tells whether the list means anything.

        Raises:
            UnknownNameError: If the protein, id, column or encoder is not in the atlas.
            InputError: If the query is not exactly one of protein, id and image, or k does not fit.
        """
        subject = Subject.named(protein, id, image, channels, pixel_size_um, at)
        scope = Scope(
            level=level,
            encoder=encoder,
            where=where,
            label_source=label_source,
            map_labels=map_labels,
            profile=profile,
            of=of,
        )
        return find(self._shelf, subject, scope, k=k, exclude=exclude, exact=exact)

    def classify(
        self,
        *,
        protein: str | None = None,
        id: str | None = None,  # noqa: A002 (the word of the design)
        image: str | Path | Sequence[str | Path] | None = None,
        channels: Sequence[str] = (),
        pixel_size_um: float | None = None,
        at: tuple[float, float] | None = None,
        level: Level | None = None,
        k: int | None = None,
        exclude: str = "protein",
        weights: "Weights" = "softmax",
        temperature: float = 0.07,
        threshold: float = 0.5,
        by: str | None = None,
        how: "How | None" = None,
        top: float | None = None,
        map_labels: str | None = None,
        where: Where = (),
        label_source: LabelSource = "inherited",
        profile: Profile | None = None,
        of: str | None = None,
        exact: bool | None = None,
        encoder: str | None = None,
    ) -> pa.Table:
        """Where a protein, an image or a new image is localized, by the vote of its k nearest labelled neighbors.

        Args:
            protein: Gene symbol, or Ensembl id: each of its images is classified (with level "protein", its profile).
            id: Image id.
            image: A new file, or one per channel.
            channels: Meanings of the image's planes.
            pixel_size_um: Of the new image, where known.
            at: As in `neighbors`.
            level: As in `neighbors`.
            k: Neighbors that vote, 1 <= k <= number of labelled rows; None for 20, or as many as there are.
            exclude: What a query must not meet, as in `neighbors`.
            weights: Of the votes.
            temperature: Of softmax votes.
            threshold: Share of the vote from which a localization is predicted; the top one is, in any case.
            by: Put the votes of cells together by "fov", "protein" or another column of names; then `id` names one of
                these.
            how: With by: "mean" of the cells' scores (default), "majority" (share of the cells whose top class it is),
                or "top" (mean over the most confident cells).
            top: With how "top": the share of the cells that are taken; None for 0.25.
            map_labels: Map that brings all localizations into one vocabulary, e.g. "hpa:opencell".
            where: Filters on those that vote, and without a query on those that are classified.
            label_source: Localizations that vote: "inherited", or "annotated", by cells that were annotated only.
            profile: As in `neighbors`.
            of: As in `neighbors`.
            exact: As in `neighbors`.
            encoder: Name or fingerprint; None for the current one.

        Returns:
            One row an item: id, protein, annotated, predicted, scores (localization and score, best first),
            neighbors (ids) and their similarities. Without protein, id and image, all rows are classified. With `by`
            one row a unit: scores and predicted of its cells together, their number (with a vote, and without any),
            votes (cells by top class), heterogeneity and normalised entropy of these.

        Raises:
            UnknownNameError: If the protein, id, column or encoder is not in the atlas.
            InputError: If k does not fit or nothing labelled may vote.
        """
        from locatlas.query.answers.classify import Vote, classify
        from locatlas.query.answers.classify_units import Together, classify_units

        subject = Subject.named(protein, id, image, channels, pixel_size_um, at)
        scope = Scope(
            level=level,
            encoder=encoder,
            where=where,
            label_source=label_source,
            map_labels=map_labels,
            profile=profile,
            of=of,
        )
        vote = Vote(k=k, exclude=exclude, weights=weights, temperature=temperature, threshold=threshold, exact=exact)
        together = Together.named(by, how, top)
        if together is not None:
            return classify_units(self._shelf, subject, scope, vote, together)
        return classify(self._shelf, subject, scope, vote)

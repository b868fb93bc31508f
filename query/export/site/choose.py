"""What a site is to hold: levels, encoder, proteins, and the images that have a page. Asks the API."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.encoders import StoredEncoder, current, find
from locatlas.query.asking.vocabulary import label_map
from locatlas.query.export.site.asking import Api

__all__ = ["Choice", "SiteRequest", "choose"]

NAMELESS = 100
"""Images without a protein's name that have a page, for each that a protein may have."""

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRequest:
    """What is asked for.

    Attributes:
        level: Of the images shown, "fov" or "cell"; None for both.
        encoder: Name or fingerprint; None for the current one of each level.
        limit: Most images of a level that have a page, of each protein; of those without a protein's name 100 times as
            many.
        map_labels: Map that brings the localizations of neighbors, votes and maps into one vocabulary; None for none.
        px: Longest edge of the picture of a field; of a cell, half of it.
        most_bytes: Of all files.
    """

    level: str | None = None
    encoder: str | None = None
    limit: int = 12
    map_labels: str | None = None
    px: int = 384
    most_bytes: int = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What a site holds.

    Attributes:
        request: What was asked for.
        status: The document of the atlas as the site shows it.
        shown: Image levels shown.
        asked: Image levels with vectors, which are asked for neighbors and votes.
        encoders: Of these, by level.
        of: Level that a protein's vector is made of where it is not the one that the atlas would take; else None.
        proteins: By name, as the API lists them.
        images: Entries of the images with a page (id, level, channels), by protein; of those without a name by None.
        left_out: Images of the shown levels without a page.
    """

    request: SiteRequest
    status: dict[str, Any]
    shown: tuple[str, ...]
    asked: tuple[str, ...]
    encoders: dict[str, StoredEncoder]
    of: str | None
    proteins: list[dict[str, Any]]
    images: dict[str | None, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: int = 0

    def encoder(self, level: str) -> str | None:
        """As requests at an image level name it: only where one was asked for."""
        return None if self.request.encoder is None else self.encoders[level].fingerprint

    @property
    def map_labels(self) -> str | None:
        """The map of labels by its name."""
        name = self.request.map_labels
        return None if name is None else label_map(name).name

    @property
    def levels(self) -> tuple[str, ...]:
        """Those that can be asked, the protein's own where there is any, as the page lists them."""
        return ("protein", *self.asked) if self.asked and self.proteins else self.asked

    def maps(self) -> list[dict[str, Any]]:
        """Stored maps of the encoders and levels, as the status lists them, the last made first."""
        usual = self.of or (self.asked[0] if self.asked else None)
        prints = {level: one.fingerprint for level, one in self.encoders.items()}
        found = [
            kept
            for kept in self.status["stored"]["maps"]
            if kept["fingerprint"] == prints.get(kept["of"] or kept["level"])
            and kept["level"] in self.levels
            and kept["of"] in (None, usual)
        ]
        return sorted(found, key=lambda kept: str(kept["at"]), reverse=True)

    def without_images(self) -> Self:
        """The same with no image of any protein: what a protein alone takes."""
        return replace(self, images={name: [] for name in self.images}, left_out=0)


async def choose(api: Api, request: SiteRequest) -> Choice:
    """What the site is to hold.

    Raises:
        UnknownNameError: If no level has the encoder, or there is no such map of labels.
        InputError: If there is no image of the level.
    """
    if request.map_labels is not None:
        label_map(request.map_labels)  # an answer that is refused would be kept as one
    status = (await api.get("status")).document()
    shown = tuple(one["level"] for one in status["levels"] if one["images"] and request.level in (None, one["level"]))
    if not shown:
        message = f"nothing to export: the atlas has no images{f' of level {request.level}' if request.level else ''}"
        raise InputError(message)
    store = api.desk.store
    found = {level: _encoder(api, level, request.encoder) for level in shown}
    encoders = {level: one for level, one in found.items() if one is not None}
    if request.encoder is not None and not encoders:
        find(store, shown[0], request.encoder)  # says which there are
    asked = tuple(encoders)
    usual = next((one["level"] for one in status["levels"] if one["vectors"]), None)
    of = asked[0] if asked and asked[0] != usual else None
    proteins = await _proteins(api)
    images: dict[str | None, list[dict[str, Any]]] = {}
    for one in proteins:
        images[one["protein"]] = await _images_of(api, one, shown, request.limit)
    if nameless := [await _image(api, name) for name in _nameless(api, shown, NAMELESS * request.limit)]:
        images[None] = nameless
    n_images = sum(one["images"] for one in status["levels"] if one["level"] in shown)
    left_out = n_images - sum(map(len, images.values()))
    return Choice(request, status, shown, asked, encoders, of, proteins, images, left_out)


def _encoder(api: Api, level: str, name: str | None) -> StoredEncoder | None:
    if name is None:
        return current(api.desk.store, level)
    try:
        return find(api.desk.store, level, name)
    except UnknownNameError:
        return None


async def _proteins(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = (await api.get("proteins", limit=_PAGE, offset=len(found))).document()
        found += page["proteins"]
        if len(found) >= page["total"] or not page["proteins"]:
            return found


async def _images_of(api: Api, protein: dict[str, Any], shown: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """The first images of each level, as the API lists them: fields, then cells."""
    found: list[dict[str, Any]] = []
    for level, offset, n in (("fov", 0, protein["n_fovs"]), ("cell", protein["n_fovs"], protein["n_cells"])):
        if level in shown and n:
            answer = await api.get(f"proteins/{protein['protein']}", limit=min(limit, n), offset=offset)
            found += answer.document()["images"]
    return found


def _nameless(api: Api, shown: Sequence[str], limit: int) -> list[str]:
    found: list[str] = []
    for level, table in (("fov", "fovs"), ("cell", "cells")):
        if level in shown:
            rows = api.desk.store.read(table, ["id", "protein"])
            found += rows.filter(rows["protein"].combine_chunks().is_null())["id"].to_pylist()[:limit]
    return found


async def _image(api: Api, name: str) -> dict[str, Any]:
    return (await api.get(f"images/{name}")).document()

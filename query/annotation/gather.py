"""Choose what annotators are to look at, and gather what their sheet says of it. Reads the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.annotation.bring_in import allowed_labels
from locatlas.indexer.annotation.said import check_annotator
from locatlas.indexer.annotation.sheet import AllowedLabels
from locatlas.indexer.annotation.table import read_annotations
from locatlas.indexer.store import encoders
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.query.annotation.choice import (
    Choose,
    check_choice,
    choose_at_random,
    choose_least_certain,
    choose_per_class,
    margin,
)
from locatlas.query.answers import tables as answers
from locatlas.query.answers.vote import neighbor_weights
from locatlas.query.asking.selection import Where, allowed_rows
from locatlas.query.asking.view import NOT_READ, View
from locatlas.query.atlas import Atlas

__all__ = ["ChosenSheet", "SheetRequest", "Votes", "choose_sheet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRequest:
    """What is to be looked at, and how it is shown.

    Attributes:
        level: "cell" or "fov"; None for cells where there are any.
        choose: `random`; `per-class`, evenly over inherited localizations and within them over groups; `uncertain`,
            the smallest margins between the two best label sets of the k-NN vote.
        n: How many; all that fit where there are fewer.
        seed: Of every order.
        where: Filters on what is chosen from (all that are labelled vote, whatever the filters).
        annotated: True for images that somebody annotated, False for those that nobody has, None for both.
        annotator: Leaves out what this annotator has decided already.
        group: Column of `per-class`.
        vocabulary: Name of the vocabulary that labels are to be from; None for the labels the atlas uses.
        show_labels: Whether inherited labels and the vote stand in the sheet and, folded, on the page.
        encoder: Whose vectors vote; None for the current one.
        k: Neighbors that vote; None for the default of `classify`.
        crop: How cells are cut for the pictures; None for the current encoder's crop.
        edge_px: Longest edge of a picture's panel, 16 to 2048.
    """

    level: Literal["fov", "cell"] | None = None
    choose: Choose = "random"
    n: int = 200
    seed: int = 0
    where: Where = ()
    annotated: bool | None = None
    annotator: str | None = None
    group: str = "protein"
    vocabulary: str | None = None
    show_labels: bool = False
    encoder: str | None = None
    k: int | None = None
    crop: CropPlan | None = None
    edge_px: int = 256

    def __post_init__(self) -> None:
        if self.level not in (None, "fov", "cell"):
            raise UnknownNameError("level", str(self.level), ("fov", "cell"))
        check_choice(self.choose, self.n)
        if self.annotator is not None:
            object.__setattr__(self, "annotator", check_annotator(self.annotator))
        if not 16 <= self.edge_px <= 2048:
            message = f"pictures of {self.edge_px} px: 16 to 2048 allowed"
            raise InputError(message)


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """What the neighbors of each image say.

    Attributes:
        margins: By id, as `margin` gives them.
        predicted: By id, localizations with their share of the vote.
        said: Who voted, in words.
    """

    margins: dict[str, float | None]
    predicted: dict[str, str]
    said: str


@dataclass(frozen=True, slots=True, eq=False)
class ChosenSheet:
    """What annotators are to look at.

    Attributes:
        request: What was asked for.
        level: "fov" or "cell".
        ids: In the order of the sheet.
        digests: Digest of each eligible image.
        inherited: Inherited localizations of each eligible image, sorted.
        votes: What neighbors say; None where nobody asked.
        allowed: Labels that may be written.
        n_eligible: Images that could be chosen.
        left_out: Those that could not, by reason.
    """

    request: SheetRequest
    level: str
    ids: list[str]
    digests: dict[str, str]
    inherited: dict[str, list[str]]
    votes: Votes | None
    allowed: AllowedLabels
    n_eligible: int
    left_out: dict[str, int]


def choose_sheet(atlas: Atlas, request: SheetRequest) -> ChosenSheet:
    """Choose images.

    Args:
        atlas: Where from.
        request: Which.

    Raises:
        InputError: If nothing can be chosen, or the request does not fit the atlas.
        UnknownNameError: If a column, an encoder or the vocabulary is not known.
    """
    store = atlas.store
    level: Literal["fov", "cell"] = request.level or ("cell" if store.count("cells") else "fov")
    allowed = allowed_labels(store, request.vocabulary)
    view, left_out = _eligible(store, level, request)
    ids = view.ids
    inherited = {i: sorted(names) for i, names in zip(ids, view.localizations, strict=True)}
    votes = None
    if request.choose == "uncertain" or (request.show_labels and encoders.current(store, level) is not None):
        votes = _votes(atlas, level, request)
    if request.choose == "random":
        chosen = choose_at_random(ids, request.n, seed=request.seed)
    elif request.choose == "per-class":
        groups = dict(zip(ids, view.names(request.group), strict=True))
        chosen = choose_per_class(inherited, groups, request.n, seed=request.seed)
        left_out["without a localization"] = sum(not names for names in inherited.values())
    else:
        assert votes is not None
        margins = {i: votes.margins.get(i) for i in ids}
        chosen = choose_least_certain(margins, request.n, seed=request.seed)
        left_out["without a vote"] = sum(value is None for value in margins.values())
    left_out = {reason: n for reason, n in left_out.items() if n}
    if not chosen:
        why = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "the atlas has none"
        message = f"{store.folder.path}: no {level} is left to choose from ({why})"
        raise InputError(message)
    digests = dict(zip(ids, view.column("source_digest"), strict=True))
    return ChosenSheet(request, level, chosen, digests, inherited, votes, allowed, len(ids), left_out)


def _eligible(store: Store, level: str, request: SheetRequest) -> tuple[View, dict[str, int]]:
    """Images that may be chosen, without vectors, and how many may not, by reason."""
    table = image_table(level)
    names = [c for c in image_schema("fov" if level == "fov" else "cell").names if c not in {*NOT_READ, "region"}]
    images = store.read(table, names)
    view = View.build(level, images["id"], np.empty((len(images), 0), np.float32), images)
    has_image = pc.greater(pc.list_value_length(store.read(table, ["id", "sources"])["sources"]), 0)
    kept = np.asarray(has_image.to_pylist(), dtype=np.bool_)
    left_out = {"without an image (vectors made elsewhere)": int((~kept).sum())}
    if len(view) and (passing := allowed_rows(view, request.where)) is not None:
        left_out["not passing the filters"] = int((kept & ~passing).sum())
        kept &= passing
    now = dict(zip(view.ids, view.column("source_digest"), strict=True))
    done = [a for a in read_annotations(store, level=level) if now.get(a.image_id) == a.source_digest]
    anyone, them = {a.image_id for a in done}, {a.image_id for a in done if a.annotator == request.annotator}
    by_anyone = np.array([i in anyone for i in view.ids], dtype=np.bool_)
    by_them = np.array([i in them for i in view.ids], dtype=np.bool_)
    if request.annotated is not None:
        left_out["annotated already" if not request.annotated else "not annotated"] = int(
            (kept & (by_anyone != request.annotated)).sum()
        )
        kept &= by_anyone == request.annotated
    if request.annotator is not None:
        left_out[f"annotated by {request.annotator} already"] = int((kept & by_them).sum())
        kept &= ~by_them
    return view.take(np.flatnonzero(kept).astype(np.int64)), left_out


def _votes(atlas: Atlas, level: Literal["fov", "cell"], request: SheetRequest) -> Votes:
    table = atlas.classify(level=level, encoder=request.encoder, k=request.k)
    said = answers.context(table)
    items = table.select(["id", "predicted", "neighbors", "similarities"]).to_pylist()
    view = atlas.view(level=level, encoder=request.encoder)
    labels = dict(zip(view.ids, view.localizations, strict=True))
    return Votes(
        {item["id"]: _margin(item["neighbors"], item["similarities"], labels) for item in items},
        {item["id"]: "; ".join(f"{p['localization']} {p['score']:.2f}" for p in item["predicted"]) for item in items},
        f"{said['k']} nearest labelled neighbors but those of its own field and protein, softmax votes, inherited "
        f"localizations, {said['encoder']['name']} {said['encoder']['fingerprint'][:12]}",
    )


def _margin(neighbors: list[str], similarities: list[float], labels: Mapping[str, frozenset[str]]) -> float | None:
    """How sure the vote of `classify` on one image is."""
    if not neighbors:
        return None
    near = np.array([similarities], dtype=np.float32)
    [shares] = neighbor_weights(near, k=len(neighbors), weights="softmax").tolist()
    return margin([(labels[i], share) for i, share in zip(neighbors, shares, strict=True)])

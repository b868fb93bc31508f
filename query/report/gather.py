"""Everything that a report tells, asked of the atlas as a user would ask. Reads the store."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.models.spec import EncoderSpec
from locatlas.query.answers.tables import neighbors_document, proteins_document
from locatlas.query.asking.selection import filters_of
from locatlas.query.asking.view import View
from locatlas.query.atlas import Atlas
from locatlas.query.benchmark.summary import Summary
from locatlas.query.report.choice import Chosen, as_table, choose_images, choose_proteins
from locatlas.query.report.holdings import (
    count_flags,
    count_labels,
    count_localizations,
    count_splits,
    quarantine_by_reason,
)
from locatlas.query.report.measured import class_rows, summary_of
from locatlas.query.report.request import ReportRequest
from locatlas.query.sweep.every_k import DEFAULT_KS
from locatlas.query.sweep.result import KResult, SweepResult

__all__ = ["Gathered", "gather"]

MOST_PROTEINS = 8
"""Proteins whose neighbors are shown where none are named."""

OWN_PICTURES = 3
"""Pictures of the protein that asks."""

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What a report tells.

    Attributes:
        document: All of it, as JSON takes it.
        sweep: Scores by k; None where no image that takes part has a localization.
        summary: The shown k, as figures take it; None likewise.
        pictured: Ids of the images that are shown, at the level of the report, sorted.
    """

    document: dict[str, Any]
    sweep: SweepResult | None
    summary: Summary | None
    pictured: list[str]


def gather(atlas: Atlas, request: ReportRequest, *, told: Told | None = None) -> Gathered:
    """Ask the atlas.

    Args:
        atlas: Which.
        request: What about.
        told: Of progress.

    Raises:
        UnknownNameError: If a column, protein or encoder is not in the atlas.
        LeakageError: As `Atlas.sweep`.
        InputError: As `Atlas.sweep`.
    """
    steps = iter(range(1, 5))
    tell = (lambda: told("asking the atlas", next(steps), 4)) if told is not None else lambda: None
    level: Literal["fov", "cell"] = request.level or atlas.levels()[0]  # type: ignore[assignment]
    encoder = encoders.find(atlas.store, level, request.encoder)
    view = atlas.view(
        level,
        encoder=encoder.fingerprint,
        where=request.where,
        label_source=request.label_source,
        map_labels=request.map_labels,
    )
    status = atlas.status()
    tell()
    sweep = at_k = summary = None
    if any(view.localizations):
        sweep, at_k = _sweep(atlas, level, encoder.fingerprint, request)
        groups = dict(zip(view.ids, view.names(request.group), strict=True))
        summary = summary_of(sweep, at_k, encoder.spec, groups)
    tell()
    galleries = [] if sweep is None or at_k is None else _galleries(sweep, at_k, view, request)
    similar = _neighbors(atlas, level, encoder.fingerprint, view, galleries, request)
    tell()
    proteins = None
    if any(view.names("protein")):
        table = atlas.proteins(
            of=level,
            where=request.where,
            label_source=request.label_source,
            encoder=encoder.fingerprint,
            seed=request.seed,
        )
        proteins = proteins_document(table)
    tell()
    document = {
        "title": request.title or f"Protein localization in {atlas.store.folder.path.resolve().name}",
        "level": level,
        "encoder": {"name": encoder.spec.name, "fingerprint": encoder.fingerprint},
        "made_images_only": encoder.spec.source == "shipped",
        "k": None if at_k is None else at_k.k,
        "votes": request.weights,
        "group": request.group,
        "data": _data(view, status, request),
        "proteins": proteins,
        "qc": count_flags({t: atlas.store.read(name, ["dataset", "qc"]) for t, name in _tables(atlas.store)}),
        "quarantine": quarantine_by_reason(_quarantined(atlas.store)),
        "sweep": None if sweep is None else sweep.to_dict(),
        "classes": [] if sweep is None or at_k is None or summary is None else class_rows(sweep, at_k, summary),
        "ece": None if summary is None else summary.ece,
        "galleries": galleries,
        "neighbors": similar,
        "encoders": _encoders(atlas.store, status),
        "tables": status["tables"],
        "schema_version": status["schema_version"],
        "versions": status["versions"] | {"matplotlib": version("matplotlib"), "python": platform.python_version()},
    }
    shown = {one["id"] for gallery in galleries for kind in ("typical", "confused") for one in gallery[kind]}
    shown |= {name for one in similar for name in (*one["own"], *(hit["id"] for hit in one["hits"]))}
    return Gathered(document, sweep, summary, sorted(shown))


def _tables(store: Store) -> list[tuple[str, str]]:
    return [(level, table) for level, table in (("fov", "fovs"), ("cell", "cells")) if store.has(table)]


def _quarantined(store: Store) -> list[dict[str, Any]]:
    return store.read("quarantine", ["dataset", "source", "reason"]).to_pylist()


def _sweep(
    atlas: Atlas, level: Literal["fov", "cell"], encoder: str, request: ReportRequest
) -> tuple[SweepResult, KResult]:
    """Scores at all ks, and those at the one that is shown, with predictions."""
    sizes = request.sizes
    could = sizes or DEFAULT_KS
    how: dict[str, Any] = {
        name: getattr(request, name)
        for name in ("group", "protocol", "folds", "seed", "weights", "temperature", "threshold", "labels", "exclude")
    }
    how |= {name: getattr(request, name) for name in ("label_source", "map_labels", "where")}
    how |= {"held_out": request.held_out, "allow_training_groups": request.allow_training_groups}
    how |= {"level": level, "encoder": encoder}
    result = atlas.sweep(ks=sizes, keep_predictions=(request.shown_k(could),), **how)
    found = {one.k for one in result.results}
    k = request.shown_k(tuple(found))
    if k not in found or k != request.shown_k(could):  # none of the usual ks, or they do not all fit
        result = atlas.sweep(ks=sorted(found | {k}), keep_predictions=(k,), **how)
    return result, next(one for one in result.results if one.k == k)


def _galleries(sweep: SweepResult, at_k: KResult, view: View, request: ReportRequest) -> list[dict[str, Any]]:
    assert at_k.predicted is not None
    assert at_k.scores is not None
    assert sweep.targets is not None
    place = {name: row for row, name in enumerate(view.ids)}
    proteins, sets = view.names("protein"), view.localizations
    groups = dict(zip(view.ids, view.names(request.group), strict=True))
    chosen = choose_images(
        sweep.classes,
        sweep.targets,
        as_table(at_k.predicted, len(sweep.classes)),
        at_k.scores,
        sweep.ids,
        groups,
        n=request.pictures,
    )

    def said(one: Chosen) -> dict[str, Any]:
        row = place[one.id]
        return {
            "id": one.id,
            "protein": proteins[row],
            "group": groups[one.id],
            "annotated": sorted(sets[row]),
            "predicted": one.predicted,
            "confidence": one.confidence,
        }

    order = np.argsort(-at_k.counts.support, kind="stable")
    return [
        {"localization": name, "typical": [*map(said, chosen[name][0])], "confused": [*map(said, chosen[name][1])]}
        for name in (sweep.classes[i] for i in order)
        if name in chosen
    ]


def _neighbors(
    atlas: Atlas,
    level: Literal["fov", "cell"],
    encoder: str,
    view: View,
    galleries: Sequence[dict[str, Any]],
    request: ReportRequest,
) -> list[dict[str, Any]]:
    """Nearest images of some proteins; where no protein is known, of the most typical image of each localization."""
    asked: dict[str, Any] = {
        "level": level,
        "encoder": encoder,
        "where": request.where,
        "label_source": request.label_source,
        "k": min(request.neighbors, len(view)),
    }
    sets = dict(zip(view.ids, view.localizations, strict=True))

    def own(name: str, names: Sequence[str]) -> dict[str, Any]:
        shown = list(names[:OWN_PICTURES])
        return {"asked": name, "own": shown, "labels": [sorted(sets[name]) for name in shown], "n_own": len(names)}

    images: dict[str, list[str]] = {}
    for name, protein in zip(view.ids, view.names("protein"), strict=True):
        if protein:
            images.setdefault(protein, []).append(name)
    chosen = list(request.proteins) or choose_proteins(view, n=MOST_PROTEINS)
    if chosen:
        return [
            neighbors_document(atlas.neighbors(protein=name, exclude="protein", **asked))
            | own(name, images.get(name, []))
            for name in chosen
        ]
    first = [gallery["typical"][0]["id"] for gallery in galleries if gallery["typical"]][:MOST_PROTEINS]
    return [
        neighbors_document(atlas.neighbors(id=name, exclude=request.group, **asked)) | own(name, [name])
        for name in first
    ]


def _data(view: View, status: dict[str, Any], request: ReportRequest) -> dict[str, Any]:
    labelled = status["labelled"]
    return {
        "datasets": [
            {"level": level, "dataset": name, "images": n, "labelled": labelled[level].get(name, 0)}
            for level, found in status["datasets"].items()
            for name, n in found.items()
        ],
        "images": len(view),
        "where": [str(one) for one in filters_of(request.where)],
        "proteins": len({name for name in view.names("protein") if name}),
        "groups": len({name for name in view.names(request.group) if name}),
        "labels": count_labels(view),
        "localizations": count_localizations(view, request.group),
        "splits": count_splits(view),
    }


def _encoders(store: Store, status: dict[str, Any]) -> list[dict[str, Any]]:
    """As `status` has them, with where their weights come from."""
    specs: dict[tuple[str, str], EncoderSpec] = {
        (one.level, one.fingerprint): one.spec for one in encoders.stored_encoders(store)
    }
    return [
        one
        | {
            name: getattr(specs[one["level"], one["fingerprint"]], name)
            for name in ("architecture", "weights_sha256", "license", "paper")
        }
        for one in status["encoders"]
    ]

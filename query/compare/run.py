"""The answer of `compare`: what another encoder changes on the rows that both have. Reads the store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.store import encoders
from locatlas.query.answers.notes import mixed_vocabularies
from locatlas.query.answers.vote import DEFAULT_TEMPERATURE, Weights
from locatlas.query.asking.leakage import Part
from locatlas.query.asking.scope import Scope, Seen, look
from locatlas.query.asking.selection import filters_of, further_exclusions
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.query.compare.neighbors import DEPTH, agreement, references_met
from locatlas.query.compare.result import Classified, Comparison, moved_most
from locatlas.query.compare.rows import CommonRows, common_rows
from locatlas.query.compare.scores import mean_interval, paired_scores
from locatlas.query.scores.bootstrap import DEFAULT_REPLICATES
from locatlas.query.scores.protocols import LabelMode, encode_labels
from locatlas.query.search import exact
from locatlas.query.search.exclude import encode_names
from locatlas.query.search.within import search_within
from locatlas.query.sweep.every_k import sweep
from locatlas.types import Neighbors

__all__ = ["DEFAULT_K", "CompareHow", "compare"]

DEFAULT_K = 20
"""Neighbors that are compared where no number is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareHow:
    """How two encoders are compared.

    Attributes:
        k: Neighbors that are compared, and that vote; None for `DEFAULT_K`, or as many as every row may meet.
        group: Column of groups that are no neighbors of their own.
        exclude: What else never meets: "self", "fov" or "protein".
        labels: `single` votes on rows with exactly one localization, `multi` on all labelled rows.
        weights: Of the votes.
        temperature: Of `softmax` votes.
        part: What is scored, where an encoder was trained on some of it.
        seed: Of the bootstrap.
        n_bootstrap: Its replicates, at least 1.
        device: Where the search runs; the result is the same.
    """

    k: int | None = None
    group: str = "protein"
    exclude: str = "protein"
    labels: LabelMode = "single"
    weights: Weights = "uniform"
    temperature: float = DEFAULT_TEMPERATURE
    part: Part = "held-out"
    seed: int = 0
    n_bootstrap: int = DEFAULT_REPLICATES
    device: str = "cpu"


def compare(shelf: Shelf, scope: Scope, other: str | None, how: CompareHow) -> Comparison:
    """Compare an encoder with an older one, on the rows that both have.

    Args:
        shelf: What is loaded.
        scope: Which rows take part, and the new encoder.
        other: Name or fingerprint of the old encoder; None for the one that the new one was trained from.
        how: As above.

    Raises:
        UnknownNameError: If a column or an encoder is not in the atlas.
        LeakageError: If nothing is left that neither encoder was trained on, or `part` refuses what is left.
        InputError: If they have no rows in common, or k exceeds what some row may meet.
    """
    images = replace(scope, level=scope.image_levels(shelf)[0], profile=None, of=None)
    new = look(shelf, images, Subject())
    old = look(shelf, replace(images, encoder=_older(shelf, new, other)), Subject())
    rows = common_rows(shelf, new, old, scope, group=how.group, part=how.part)
    further = further_exclusions(rows.new, how.exclude, how.group)
    codes = [rows.codes, *(encode_names(names)[0] for names in further.values())]
    labelled = encode_labels(rows.new.localizations, how.labels).usable
    met, k, notes = _neighborhood(rows, codes, labelled, how)
    depth = min(DEPTH * k, int(references_met(codes, np.ones_like(labelled)).max()))
    near = [_nearest(view, rows.asking, codes, depth, how.device) for view in (rows.new, rows.old)]
    found = agreement(near[0], near[1], k)
    scored = np.unique(rows.codes[rows.asking], return_inverse=True)[1].reshape(-1)
    by = "protein" if any(rows.new.names("protein")) else how.group
    return Comparison(
        k=k,
        group=how.group,
        by=by,
        ids=tuple(compress(rows.new.ids, rows.asking)),
        found=found,
        overlap_ci95=mean_interval(found.common, k, scored, n_replicates=how.n_bootstrap, seed=how.seed),
        chance=float(np.mean(k / met)),
        moved=moved_most(found, list(compress(rows.new.names(by), rows.asking))),
        classified=None if notes else _classified(rows, labelled, further, k, how),
        n_rows=len(rows.new),
        n_groups=int(scored.max()) + 1,
        left_out=rows.left_out,
        excluded=("id", *further),
        seed=how.seed,
    ).with_context(
        level=rows.new.level,
        label_source=new.said()["label_source"],
        profile=_profile(scope, new),
        encoders={"new": new.said()["encoder"], "old": old.said()["encoder"]},
        trained_on=rows.trained_on,
        where=[str(f) for f in filters_of(scope.where)],
        map_labels=scope.map_labels,
        notes=[*rows.notes, *notes, *mixed_vocabularies(rows.new, None)],
    )


def _profile(scope: Scope, images: Seen) -> dict[str, str] | None:
    return {"how": scope.profile or "mean", "of": images.view.level} if scope.level == "protein" else None


def _older(shelf: Shelf, new: Seen, other: str | None) -> str:
    """Name or fingerprint of the encoder to compare with: as named, the parent, or the only other one.

    Raises:
        InputError: If none is named and it is not clear which is meant.
    """
    if other is not None:
        return other
    spec, level = new.loaded.encoder.spec, new.loaded.encoder.level
    others = [e for e in encoders.stored_encoders(shelf.store, level) if e.fingerprint != spec.fingerprint]
    parents = [e for e in others if e.fingerprint == spec.parent]
    if len(parents or others) == 1:
        return (parents or others)[0].fingerprint
    names = ", ".join(f"{e.spec.name} ({e.fingerprint[:12]})" for e in others) or "none"
    message = f"compare {spec.name} with which encoder? name one with --with; others at level {level}: {names}"
    raise InputError(message)


def _neighborhood(
    rows: CommonRows, codes: Sequence[NDArray[np.int64]], labelled: NDArray[np.bool_], how: CompareHow
) -> tuple[NDArray[np.int64], int, list[str]]:
    """References of each scored row, k, and why there is no vote if there is none.

    Raises:
        InputError: If k exceeds what some row may meet.
    """
    met = references_met(codes, np.ones(len(labelled), dtype=np.bool_))[rows.asking]
    voters = references_met(codes, labelled)[rows.asking & labelled]
    notes = []
    if not len(voters) or not voters.min():
        notes.append("too few labelled rows of other groups to vote: only neighbors are compared")
    most = int(min(met.min(), voters.min())) if not notes else int(met.min())
    k = min(DEFAULT_K, max(most, 1)) if how.k is None else how.k
    if not 1 <= k <= most:
        few = (
            "is too small"
            if k < 1
            else f"is too large: some scored row may meet only {most} references; use at most {most}"
        )
        message = f"k = {k} {few}" if most else f"some row may meet no other: all rows share its group ({how.group})"
        raise InputError(message)
    return met, k, notes


def _nearest(
    view: View, asking: NDArray[np.bool_], codes: Sequence[NDArray[np.int64]], depth: int, device: str
) -> Neighbors:
    if asking.all():
        return search_within(view.prepared, k=depth, exclude=list(codes), device=device)
    pairs = [(mine[asking], mine) for mine in codes]
    return exact.search(view.prepared.take(asking), view.prepared, k=depth, exclude=pairs, device=device)


def _classified(
    rows: CommonRows, labelled: NDArray[np.bool_], further: dict[str, list[Any]], k: int, how: CompareHow
) -> Classified:
    """The sweep of each encoder at one k, on the same rows."""
    new, old = (
        sweep(
            view.vectors,
            view.localizations,
            rows.groups,
            view.ids,
            ks=[k],
            group=how.group,
            exclude=further,
            queries=rows.asking,
            weights=how.weights,
            temperature=how.temperature,
            labels_mode=how.labels,
            n_bootstrap=0,
            keep_predictions=True,
            device=how.device,
        )
        for view in (rows.new, rows.old)
    )
    scored = rows.asking & labelled
    place = {name: row for row, name in enumerate(rows.new.ids)}
    order = np.array([place[name] for name in new.ids], dtype=np.int64)
    assert new.ids == old.ids
    assert scored[order].all()
    sets = rows.new.localizations
    targets = np.array([[name in sets[row] for name in new.classes] for row in order], dtype=np.bool_)
    tables = []
    for result in (new, old):
        predicted = result.results[0].predicted
        assert predicted is not None
        tables.append(predicted if predicted.ndim == 2 else predicted[:, None] == np.arange(len(new.classes)))
    groups = np.unique(rows.codes[order], return_inverse=True)[1].reshape(-1)
    scores = paired_scores(
        targets, tables[0], tables[1], groups, new.classes, n_replicates=how.n_bootstrap, seed=how.seed
    )
    return Classified(
        scores=scores, labels=how.labels, weights=how.weights, n=len(order), n_voters=new.n_rows, left_out=new.left_out
    )

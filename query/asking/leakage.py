"""Which rows an encoder was trained on, so that no score of these passes for one of new images. Reads the store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, LeakageError
from locatlas.indexer.files.planes import plural
from locatlas.indexer.store.encoders import stored_encoders
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import group_value, known_training, trainings_named
from locatlas.models import registry
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest
from locatlas.query.asking.view import View

__all__ = ["DEFINITION", "Overlap", "Part", "part_named", "seen_rows", "training_notes", "training_overlap"]

Part = Literal["unseen", "held-out", "all"]
"""What is evaluated: `unseen` takes everything and refuses if any was seen in training, `held-out` leaves what was seen
out, `all` takes it in."""

DEFINITION = (
    "a row was seen in training if the encoder, or one that it was trained from, was trained or stopped on its image, "
    "on a cell of its image, on its field, or on any image of the same value of the evaluated group"
)


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """What an encoder was trained on of the rows of a view.

    Attributes:
        manifest: Of the encoder; None where nothing is known of its training.
        group: Column of the groups that are evaluated.
        groups: Their values, one a row; None has none.
        seen: Rows that were seen in training, bool (n,); all of a group are if one is.
        notes: What a reader must know where the training is not known, or not in full.
    """

    manifest: TrainingManifest | None
    group: str
    groups: Sequence[str | None]
    seen: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The same for some of the rows."""
        return replace(self, groups=[self.groups[row] for row in rows.tolist()], seen=self.seen[rows])

    def choose(self, rows: NDArray[np.bool_], part: Part) -> NDArray[np.bool_]:
        """The rows to evaluate.

        Args:
            rows: Those that could be, bool (n,).
            part: What of them is wanted.

        Returns:
            bool (n,), some of `rows`.

        Raises:
            LeakageError: If some were seen in training and `part` is `unseen`, or all were and it is `held-out`.
        """
        if part not in get_args(Part):
            message = f"part {part!r}: one of {', '.join(get_args(Part))} needed"
            raise InputError(message)
        if self.manifest is None or part == "all":
            return rows
        met, fine = rows & self.seen, rows & ~self.seen
        if not met.any() or (part == "held-out" and fine.any()):
            return fine
        of_groups = f"{self._n_groups(met)} of {plural(self._n_groups(rows), 'group')} ({self.group})"
        message = (
            f"encoder {self.manifest.encoder} was trained on {of_groups} that would be evaluated, "
            f"{int(met.sum())} of {plural(int(rows.sum()), 'row')}: "
        )
        if fine.any():
            message += f"--held-out (held_out=True) evaluates the other {plural(int(fine.sum()), 'row')}, "
        else:
            message += "nothing is left for --held-out, "
        raise LeakageError(message + "--allow-training-groups all of them, as if they were new")

    def said(
        self, rows: NDArray[np.bool_], part: Part, *, chosen: NDArray[np.bool_] | None = None
    ) -> dict[str, Any] | None:
        """What a document tells under `trained_on`; None where nothing is known of the encoder's training.

        Args:
            rows: Those that could be evaluated, bool (n,).
            part: What of them was.
            chosen: The rows that were; None for what `choose` gives.
        """
        if self.manifest is None:
            return None
        known = self.manifest
        chosen = self.choose(rows, part) if chosen is None else chosen
        return {
            "encoder": known.encoder,
            "objective": known.objective,
            "level": known.level,
            "split_by": known.group,
            "fraction": known.fraction,
            "n_images": len(known.images),
            "n_validation_images": len(known.validation_images),
            "group": self.group,
            "n_rows": int(rows.sum()),
            "n_seen_rows": int((rows & self.seen).sum()),
            "n_groups": self._n_groups(rows),
            "n_seen_groups": self._n_groups(rows & self.seen),
            "evaluated": part,
            "n_evaluated_rows": int(chosen.sum()),
            "n_evaluated_groups": self._n_groups(chosen),
            "definition": DEFINITION,
        }

    def _n_groups(self, rows: NDArray[np.bool_]) -> int:
        return len({self.groups[row] for row in np.flatnonzero(rows).tolist()} - {None, ""})


def part_named(*, held_out: bool, allow_training_groups: bool, default: Part = "unseen") -> Part:
    """What is evaluated, by the two options that commands have.

    Raises:
        InputError: If both are given.
    """
    if held_out and allow_training_groups:
        message = "held-out leaves out what was seen in training and allow-training-groups takes it in: one of them"
        raise InputError(message)
    return "held-out" if held_out else "all" if allow_training_groups else default


def training_overlap(store: Store, spec: EncoderSpec, view: View, group: str, *, images: View | None = None) -> Overlap:
    """What an encoder was trained on of the rows of a view.

    Args:
        store: The atlas.
        spec: The encoder.
        view: What is evaluated, before any filter.
        group: Column of the groups that are evaluated.
        images: At level protein, the images that proteins are made of: one is seen if any of its images was.

    Raises:
        UnknownNameError: If the group's column is not in the view.
    """
    groups = view.names(group)
    manifests = _lineage(store, spec)
    if not manifests:
        unseen = np.zeros(len(view), dtype=np.bool_)
        return Overlap(None, group, groups, unseen, tuple(_unknown(store, spec)))
    seen = _seen(view, group, manifests)
    if view.level == "protein" and images is not None:
        met = np.flatnonzero(_seen(images, "protein", manifests)).tolist()
        proteins = images.names("protein")
        seen |= np.isin(view.ids, sorted({name for row in met if (name := proteins[row])}))
    return Overlap(manifests[0], group, groups, _whole_groups(seen, groups), tuple(_unrecorded(manifests[0], group)))


def training_notes(store: Store, spec: EncoderSpec, view: View, names: Collection[str], images: View) -> list[str]:
    """That some of what is classified was seen in training, which makes its classification look too good.

    Args:
        store: The atlas.
        spec: The encoder.
        view: What is searched.
        names: Ids of what is classified; those that are not in the view are new.
        images: As `training_overlap`.
    """
    overlap = training_overlap(store, spec, view, "protein", images=images)
    if overlap.manifest is None:
        return list(overlap.notes)
    asked = _among(view.ids, set(names))
    n = int((asked & overlap.seen).sum())
    if not n:
        return []
    return [
        f"{overlap.manifest.encoder} was trained on {n} of {int(asked.sum())} classified rows or on others of their "
        "protein: how well these are told says nothing of new ones"
    ]


def _seen(view: View, group: str, manifests: Sequence[TrainingManifest]) -> NDArray[np.bool_]:
    columns = {group.removeprefix("group_"): view.names(group)}
    if view.level == "protein":
        columns["protein"] = view.names("protein")
    else:
        columns["fov"] = view.names("fov")
    return seen_rows(view.ids, view.column("dataset"), columns, manifests)


def seen_rows(
    ids: Sequence[str],
    datasets: Sequence[str],
    columns: Mapping[str, Sequence[str | None]],
    manifests: Sequence[TrainingManifest],
) -> NDArray[np.bool_]:
    """Rows that some training saw, by id or by value. Pure.

    Args:
        ids: Of the rows.
        datasets: Of the rows.
        columns: Values by column, one a row: the evaluated group; and `fov`, so that a cell is seen with its field, and
            a field with any of its cells.
        manifests: Of the trainings.

    Returns:
        bool (n,).
    """
    known_ids: set[str] = set()
    known: dict[str, set[str]] = {column: set() for column in columns}
    for manifest in manifests:
        known_ids.update(manifest.images, manifest.validation_images)
        for column, found in manifest.groups.items():
            known.setdefault(column.removeprefix("group_"), set()).update(found)
    seen = _among(ids, known_ids)
    for column, values in columns.items():
        if column == "fov":
            seen |= _among(values, known_ids)
        mine = (
            group_value(column, dataset, value) if value else None
            for dataset, value in zip(datasets, values, strict=True)
        )
        seen |= _among(list(mine), known[column])
    return _whole_groups(seen, columns["fov"]) if "fov" in columns else seen


def _among(values: Sequence[str | None], known: Collection[str]) -> NDArray[np.bool_]:
    return np.fromiter((value in known for value in values), dtype=np.bool_, count=len(values))


def _whole_groups(seen: NDArray[np.bool_], groups: Sequence[str | None]) -> NDArray[np.bool_]:
    """All rows of the groups of which any was seen: these were not independent of it."""
    met = {name for row in np.flatnonzero(seen).tolist() if (name := groups[row])}
    return seen | _among(groups, met)


def _lineage(store: Store, spec: EncoderSpec) -> list[TrainingManifest]:
    """The manifest of an encoder and those of the encoders it was trained from, as far as they are known."""
    by_fingerprint = {known.fingerprint: known.spec for known in stored_encoders(store)}
    found: list[TrainingManifest] = []
    todo: list[tuple[str, str | None]] = [(spec.name, spec.weights_sha256)]
    for name, weights in todo:
        for manifest in _manifests(store, name, weights):
            if manifest not in found:
                found.append(manifest)
                parent = by_fingerprint.get(manifest.parent or "")
                todo.append((parent.name, parent.weights_sha256) if parent else (manifest.parent_name or "", None))
    return [_with_fields(store, manifest) for manifest in found]


def _manifests(store: Store, name: str, weights: str | None) -> list[TrainingManifest]:
    """Of an encoder, by its weights, from the atlas or this user's own encoders.

    Where the weights are unknown, as those of an ancestor that the atlas forgot, all of its name: nothing tells which.
    """
    if weights is not None:
        known = known_training(store, weights)
    elif named := trainings_named(store, name):
        return named
    else:
        known = registry.training(name) if name else None
    return [] if known is None else [known]


def _with_fields(store: Store, manifest: TrainingManifest) -> TrainingManifest:
    """The manifest with the fields of the cells that it names, where it does not say them itself."""
    ids = [*manifest.images, *manifest.validation_images]
    if manifest.level != "cell" or "fov" in manifest.groups or not ids or not store.has("cells"):
        return manifest
    rows = store.read_rows("cells", ids, ["id", "dataset", "fov_id"])
    fields = {group_value("fov", row["dataset"], row["fov_id"]) for row in rows.to_pylist() if row["fov_id"]}
    return replace(manifest, groups={**manifest.groups, "fov": tuple(sorted(fields))})


def _unrecorded(manifest: TrainingManifest, group: str) -> list[str]:
    """That a manifest is silent on the evaluated group, so that only images of this atlas tell what was seen."""
    if group.removeprefix("group_") in {column.removeprefix("group_") for column in manifest.groups}:
        return []
    return [
        f"the manifest of {manifest.encoder} does not say which values of {group} it was trained on: those of "
        "its images that are in this atlas are taken"
    ]


def _unknown(store: Store, spec: EncoderSpec) -> list[str]:
    """That an encoder was trained from a known one, on nobody knows what."""
    if spec.parent is None:
        return []
    names = {known.fingerprint: known.spec.name for known in stored_encoders(store)}
    parent = names.get(spec.parent, f"encoder {spec.parent[:12]}")
    return [
        f"{spec.name} was trained from {parent}, but this atlas does not know on what: it may have seen these images"
    ]

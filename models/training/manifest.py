"""What an encoder was trained on and how: the record that goes with its weights. Frozen data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from locatlas.errors import InputError

__all__ = ["TrainingManifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingManifest:
    """The record of one training.

    Attributes:
        encoder: Name of the encoder that came out.
        weights_sha256: Of its weights file.
        parent: Fingerprint of the encoder that it began from; None from scratch.
        parent_name: Its name.
        objective: `supervised` or `dino`.
        level: `fov` or `cell`.
        group: Column whose values were not split between the parts, e.g. `protein`.
        images: Ids of the images that it was trained on, sorted.
        validation_images: Ids of the images by which training was stopped or a checkpoint chosen, sorted.
        groups: Values, by column, of all images of both kinds and of those of all encoders that it descends from: what
            must not be evaluated as if it were new. Values as `indexer.trainings.group_value` makes them, sorted.
        held_out: Values of `group` that were set aside before anything was seen, sorted.
        fraction: Share of the groups that are not held out, in (0, 1].
        seed: Of the training.
        split_seed: Of the held-out part and the fraction.
        labels: `single` or `multi`; None without labels.
        classes: Localizations, in the order of the head's outputs.
        options: Objective's and plan's settings, JSON-ready.
        metrics: At the end: losses, validation scores, steps, seconds, images a second.
        versions: Of the packages that the result depends on.
        made_at: ISO 8601, UTC.
    """

    encoder: str
    weights_sha256: str
    objective: str
    level: str
    group: str
    images: tuple[str, ...]
    parent: str | None = None
    parent_name: str | None = None
    validation_images: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    fraction: float = 1.0
    seed: int = 0
    split_seed: int = 0
    labels: str | None = None
    classes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    made_at: str = ""

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The manifest written by `to_json`.

        Raises:
            InputError: If it is none, or one of a newer locatlas.
        """
        try:
            raw: Any = json.loads(text)
        except ValueError as error:
            message = f"training manifest cannot be parsed ({error})"
            raise InputError(message) from error
        known = {f.name for f in fields(cls)}
        if not isinstance(raw, dict) or raw.keys() - known:
            message = f"not a training manifest, or one of a newer locatlas: {sorted(set(raw) - known)[:5]}"
            raise InputError(message)
        if missing := sorted({"encoder", "weights_sha256", "objective", "level", "group", "images"} - raw.keys()):
            message = f"training manifest lacks {missing}"
            raise InputError(message)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        values["groups"] = {name: tuple(found) for name, found in raw.get("groups", {}).items()}
        return cls(**values)

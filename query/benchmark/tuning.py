"""What a grid asks of a fine-tuning. Pure."""

from collections.abc import Mapping
from typing import Any

from locatlas.indexer.training.request import FinetuneRequest
from locatlas.query.benchmark.settings import DEFAULTS

__all__ = ["finetune_request"]

_OF_LABELS = ("head",)
"""Settings of fine-tuning that an objective without labels has no use for."""


def finetune_request(
    *,
    objective: str,
    level: str,
    labels: str,
    fraction: float,
    seed: int,
    settings: Mapping[str, Any],
    finetune: Mapping[str, Any],
    encoder: str | None = None,
) -> FinetuneRequest:
    """The training whose encoder is judged with `protein-holdout`: it sees no group that is scored.

    Args:
        objective: `supervised`, or `dino`, which leaves the labels and what is about them (`head`) aside.
        level: "fov" or "cell".
        labels: `single` or `multi`.
        fraction: Of the groups that may be learned from.
        seed: Of split and training.
        settings: As `Grid.settings`.
        finetune: As `Grid.finetune`.
        encoder: Fingerprint of the one that it begins from.

    Raises:
        InputError: If settings do not fit each other.
    """
    asked: dict[str, Any] = {
        "objective": objective,
        "level": level,
        "encoder": encoder,
        "group": str(settings.get("group", "protein")),
        "hold_out": float(settings.get("hold_out", DEFAULTS["hold_out"])),
        "validation": float(settings.get("validation", DEFAULTS["validation"])),
        "fraction": fraction,
        "split_seed": seed,
        "seed": seed,
        "where": tuple(settings.get("where", ())),
    }
    own = dict(finetune)
    if objective == "supervised":
        of_labels = {name: settings[name] for name in ("map_labels", "label_source") if settings.get(name) is not None}
        asked |= {"labels": labels, **of_labels}
    else:
        own = {name: value for name, value in own.items() if name not in _OF_LABELS}
    return FinetuneRequest(**asked | own)

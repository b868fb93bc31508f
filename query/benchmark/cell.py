"""One measurement of a grid: all that decides a score, apart from the images. Frozen data; pure."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, Self

__all__ = ["CLASSIFIERS", "OBJECTIVES", "PROTOCOLS", "Cell", "Classifier", "Objective", "Protocol"]

Protocol = Literal["protein-out", "protein-kfold", "protein-holdout", "fov-kfold", "transfer"]
"""Who is a reference for whom (docs/protocols.md).

- `protein-out`: leave one protein out, k-NN only: references are all images of other proteins.
- `protein-kfold`: grouped k-fold by protein.
- `protein-holdout`: a seeded share of the proteins is scored; references or training data are a fraction of the others.
- `fov-kfold`: k-fold by field, stratified, as such papers often have it: other fields of a protein are references.
- `transfer`: references are the images of one data set, queries those of another, labels mapped to one vocabulary.
"""

Classifier = Literal["knn", "linear", "mlp", "wide"]
"""Nearest neighbors, or a head trained on frozen vectors (`HeadKind`)."""

Objective = Literal["frozen", "supervised", "dino"]
"""What happened to the encoder before: nothing, or a fine-tuning on the training part (`protein-holdout` only)."""

PROTOCOLS: tuple[Protocol, ...] = ("protein-out", "protein-kfold", "protein-holdout", "fov-kfold", "transfer")
CLASSIFIERS: tuple[Classifier, ...] = ("knn", "linear", "mlp", "wide")
OBJECTIVES: tuple[Objective, ...] = ("frozen", "supervised", "dino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row of the tidy table.

    Attributes:
        encoder: Name as the grid or the user has it; of a fine-tuned one that of the encoder it began from.
        mapping: Channel plan: `natural`, `random` or `replicate`; None for vectors that were imported.
        mapping_seed: Of `random`, else None.
        passes: `joint` or `separate`; None for vectors that were imported.
        stains: Channels that are used; () for all.
        objective: As above.
        level: "fov", "cell" or "protein".
        labels: `single` takes images with exactly one localization, `multi` all annotated ones.
        protocol: As above.
        classifier: As above.
        k: Neighbors that vote; None for heads.
        votes: `uniform`, `distance` or `softmax`; None for heads.
        fraction: Share of the groups that may be learned from, in (0, 1]; 1 but for heads and `protein-holdout`.
        seed: Of folds, held-out part, fraction, and trainings; 0 where nothing is random (k-NN with `protein-out` and
            `transfer`).
        settings: What else decides the score, the same for all cells of a grid, as sorted (name, value) pairs: folds,
            hold_out, min_groups, map_labels, reference, overlap, grade_weights, temperature, threshold, settings of
            fine-tuning, ... Values are JSON scalars, `where` is a tuple of filters.
    """

    encoder: str
    mapping: str | None
    mapping_seed: int | None
    passes: str | None
    stains: tuple[str, ...] = ()
    objective: Objective = "frozen"
    level: str
    labels: Literal["single", "multi"] = "single"
    protocol: Protocol
    classifier: Classifier = "knn"
    k: int | None = None
    votes: str | None = None
    fraction: float = 1.0
    seed: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "stains": list(self.stains), "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> Self:
        """From what `to_dict` gave."""
        settings = {name: tuple(v) if isinstance(v, list) else v for name, v in said["settings"].items()}
        return cls(**{**said, "stains": tuple(said["stains"]), "settings": tuple(sorted(settings.items()))})

    def setting(self, name: str, default: Any = None) -> Any:
        """The value of a setting."""
        return dict(self.settings).get(name, default)

    def id(self, fingerprint: str, data_digest: str) -> str:
        """Key of its row: 32 hexadecimal digits of all that decides the score.

        Args:
            fingerprint: Of the encoder whose vectors were judged, which of a fine-tuned one is known afterwards only:
                there it is that of the encoder it began from.
            data_digest: Of ids, labels, groups and vectors (`arena.Arena.digest`).
        """
        told = json.dumps([self.to_dict(), fingerprint, data_digest], sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def without(self, *names: str) -> tuple[tuple[str, Any], ...]:
        """All but some attributes as sorted pairs: equal for cells that differ in nothing else."""
        return tuple(sorted((n, v) for n, v in ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
                            if n not in names))  # fmt: skip

"""What a report is asked to tell, and the command line that asks for it again. Frozen data; pure."""

import shlex
from dataclasses import dataclass, fields
from typing import Literal

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.answers.vote import Weights
from locatlas.query.asking.label_source import LabelSource
from locatlas.query.asking.selection import Where, filters_of
from locatlas.query.sweep.every_k import Protocol

__all__ = ["ReportRequest"]

_USUAL_K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What a report tells. Names are those of `Atlas.sweep`; what is said here is said only where it differs.

    Attributes:
        title: Of the page; None for one made of the folder's name.
        level: "fov" or "cell"; None for the first image level the atlas has.
        encoder: Name or fingerprint; None for the current one.
        ks: Neighborhood sizes; None for 1 to 200 as far as there are references enough.
        k: The one of confusion matrix, classes and galleries, decided before anything is scored; None for 10, or the
            largest below it.
        group: Column whose values must not be split.
        protocol: Leave one group out, or grouped k-fold.
        folds: Of kfold.
        seed: Of folds and bootstrap.
        weights: Of the votes.
        temperature: Of softmax votes.
        labels: "single" or "multi".
        threshold: Of multi-label predictions.
        exclude: What else never votes.
        label_source: Localizations that count.
        map_labels: Map that brings all localizations into one vocabulary.
        where: Filters on the rows that take part at all.
        held_out: Score only what the encoder was not trained on.
        allow_training_groups: Score what it was trained on, too.
        proteins: Whose neighbors are shown; () for one of each localization, of the 8 most frequent.
        pictures: Of each kind for each localization, >= 1.
        neighbors: Shown of each protein, >= 1.
    """

    title: str | None = None
    level: Literal["fov", "cell"] | None = None
    encoder: str | None = None
    ks: tuple[int, ...] | None = None
    k: int | None = None
    group: str = "protein"
    protocol: Protocol = "leave-group-out"
    folds: int = 5
    seed: int = 0
    weights: Weights = "uniform"
    temperature: float = 0.07
    labels: Literal["single", "multi"] = "single"
    threshold: float = 0.5
    exclude: Literal["self", "fov", "protein"] = "protein"
    label_source: LabelSource = "inherited"
    map_labels: str | None = None
    where: Where = ()
    held_out: bool = False
    allow_training_groups: bool = False
    proteins: tuple[str, ...] = ()
    pictures: int = 8
    neighbors: int = 8

    def __post_init__(self) -> None:
        if self.level not in (None, "fov", "cell"):
            raise UnknownNameError("level of a report", str(self.level), ("fov", "cell"))
        for name, value in (("pictures", self.pictures), ("neighbors", self.neighbors)):
            if value < 1:
                message = f"{name} = {value}: at least 1 needed"
                raise InputError(message)

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """Neighborhood sizes of the sweep as they are named, with that of the matrix; None for the usual ones."""
        return None if self.ks is None else tuple(sorted({*self.ks, *([self.k] if self.k else [])}))

    def shown_k(self, known: tuple[int, ...]) -> int:
        """The k of the matrix among those that were searched."""
        return self.k or max((k for k in known if k <= _USUAL_K), default=min(known))

    def command(self, atlas: str, out: str) -> str:
        """The command line that makes the report again; what is as usual is left out."""
        words = ["locatlas", "report", "--atlas", atlas, "--out", out]
        for one in fields(self):
            value = getattr(self, one.name)
            flag = "-k" if one.name == "k" else f"--{one.name.replace('_', '-')}"
            if one.name in ("where", "proteins"):
                flag, given = ("--where", filters_of(value)) if one.name == "where" else ("--protein", value)
                words += [word for text in given for word in (flag, str(text))]
            elif value == one.default:
                continue
            elif value is True:
                words.append(flag)
            else:
                words += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
        return shlex.join(words)

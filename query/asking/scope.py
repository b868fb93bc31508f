"""What a question looks at: level, encoder, labels, filters, and what proteins are made of. Reads the store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.asking.label_source import LabelSource, check_label_source, label_notes
from locatlas.query.asking.profiles import PROFILES, Profile, by_protein
from locatlas.query.asking.selection import Where, allowed_rows
from locatlas.query.asking.shelf import Loaded, Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.types import LEVELS

__all__ = ["IMAGE_LEVELS", "Scope", "Seen", "look"]

IMAGE_LEVELS = ("fov", "cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a question looks at, as a user says it.

    Attributes:
        level: "fov", "cell" or "protein"; None for the first image level that fits (cells, for annotations).
        encoder: Name or fingerprint; None for the current one.
        where: Filters on the images.
        label_source: Whose localizations count.
        map_labels: Map that brings them into one vocabulary.
        profile: How a protein is made of its images, at level protein; None for the mean.
        of: Which images it is made of there; None for FOVs, or cells where there are none.
    """

    level: str | None = None
    encoder: str | None = None
    where: Where = ()
    label_source: LabelSource = "inherited"
    map_labels: str | None = None
    profile: Profile | None = None
    of: str | None = None

    def __post_init__(self) -> None:
        for kind, named, known in (
            ("level", self.level, LEVELS),
            ("profile", self.profile, PROFILES),
            ("image level", self.of, IMAGE_LEVELS),
        ):
            if named is not None and named not in known:
                raise UnknownNameError(kind, named, known)
        if (self.profile or self.of) and self.level != "protein":
            message = f"profile and of say how proteins are made of images: level protein needed, not {self.level}"
            raise InputError(message)
        for level in (self.level, self.of):
            check_label_source(self.label_source, "cell" if level in (None, "protein") else str(level))

    def image_levels(self, shelf: Shelf) -> list[str]:
        """Image levels to try, in order."""
        if self.level in IMAGE_LEVELS or self.of:
            return [str(self.of or self.level)]
        return ["cell"] if self.label_source == "annotated" else shelf.levels(self.encoder)

    def image_views(self, shelf: Shelf) -> Iterator[View]:
        """What lies at these levels, each loaded when it is come to."""
        return (shelf.load(level, self.encoder).view for level in self.image_levels(shelf))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a question looks at, loaded.

    Attributes:
        scope: As it was asked for.
        loaded: The image level that queries are taken from, with the labels in question.
        view: What is searched: its rows, or the proteins made of those that pass the filters.
        passing: Rows of the loaded images that pass the filters; None where all do.
    """

    scope: Scope
    loaded: Loaded
    view: View
    passing: NDArray[np.bool_] | None

    @property
    def allowed(self) -> NDArray[np.bool_] | None:
        """Rows of `view` that may answer; None for all."""
        return None if self.view.level == "protein" else self.passing

    def said(self) -> dict[str, Any]:
        """What an answer names: level, labels, encoder, and at level protein what proteins are made of."""
        encoder, of = self.loaded.encoder, self.loaded.view.level
        return {
            "level": self.view.level,
            "label_source": self.scope.label_source if of == "cell" else None,
            "profile": {"how": self.scope.profile or "mean", "of": of} if self.view.level == "protein" else None,
            "encoder": {"name": encoder.spec.name, "fingerprint": encoder.fingerprint},
        }

    def notes(self, *further: Sequence[str]) -> list[str]:
        """What a reader must know of vectors and labels, then what else there is to say."""
        own = [*self.loaded.notes(), *label_notes(self.loaded.view, self.scope.label_source)]
        return own + [note for notes in further for note in notes]


def look(shelf: Shelf, scope: Scope, subject: Subject) -> Seen:
    """Load what a question looks at.

    Where no level is named it is the first that has the named protein or id, and cells for a cell of a new image.
    Proteins are made of the images that pass the filters, so that all of them pass.

    Raises:
        UnknownNameError: If there is no such encoder, map or column.
        InputError: If no image passes the filters, or no cell is annotated and annotations are asked for.
    """
    levels = scope.image_levels(shelf)
    if subject.at is not None and not scope.of and scope.level in (None, "protein"):
        levels = ["cell"]
    loaded = shelf.load(levels[0], scope.encoder)
    for other in levels[1:]:
        if subject.is_in(loaded.view):
            break
        if subject.is_in((candidate := shelf.load(other, scope.encoder)).view):
            loaded = candidate
    view = loaded.labelled.of(scope.label_source, scope.map_labels)
    loaded = replace(loaded, view=view)
    passing = allowed_rows(view, scope.where)
    if scope.level != "protein":
        return Seen(scope, loaded, view, passing)
    images = view if passing is None else view.take(np.flatnonzero(passing))
    return Seen(scope, loaded, by_protein(images, scope.profile or "mean"), passing)

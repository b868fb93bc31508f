"""What an atlas holds: its state, levels, annotations, and vectors with metadata. Reads the store."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.indexer.store import Store
from locatlas.query.annotation_report import annotation_report, annotation_table
from locatlas.query.profiles import Profile
from locatlas.query.scope import Scope, look
from locatlas.query.shelf import Shelf
from locatlas.query.show import ShownAnswer, atlas_html, show
from locatlas.query.status import status
from locatlas.query.subjects import Subject
from locatlas.query.view import View
from locatlas.types import Level

__all__ = ["AtlasViews"]


class AtlasViews:
    """What one atlas holds. What is read is kept until a table changes.

    Attributes:
        store: Its tables.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._shelf = Shelf(store)

    def __repr__(self) -> str:
        return f"Atlas({str(self.store.folder.path)!r})"

    def _repr_html_(self) -> str:
        return atlas_html(self.store)

    def show(self, table: pa.Table, *, limit: int = 50) -> ShownAnswer:
        """An answer of `neighbors` or `classify` as a notebook shows it, with the stored thumbnails.

        Args:
            table: The answer.
            limit: Rows that are shown; each has its picture in the notebook.

        Raises:
            InputError: If the table is no such answer.
        """
        return show(self.store, table, limit=limit)

    def status(self) -> dict[str, Any]:
        """Tables, encoders, coverage, indices, roots, runs and versions."""
        return status(self.store)

    def annotations(self) -> pa.Table:
        """What people said, one row an image and annotator; `applies`: the image is still the one they looked at."""
        return annotation_table(self.store)

    def annotation_report(self, *, level: str | None = None) -> dict[str, Any]:
        """Who annotated how much, how far annotators agree, and how often inherited labels hold.

        Args:
            level: "fov" or "cell"; None for the one that has annotations, cells where both have.
        """
        return annotation_report(self.store, level=level)

    def levels(self) -> list[str]:
        """Image levels that have vectors, FOVs before cells."""
        return self._shelf.levels()

    def view(
        self,
        level: Level | None = None,
        *,
        encoder: str | None = None,
        profile: Profile | None = None,
        of: str | None = None,
    ) -> View:
        """Vectors and metadata of a level.

        Args:
            level: "fov", "cell" or "protein"; None for the first image level the atlas has.
            encoder: Name or fingerprint; None for the current one.
            profile: As in `neighbors`.
            of: As in `neighbors`.
        """
        return look(self._shelf, Scope(level=level, encoder=encoder, profile=profile, of=of), Subject()).view

    def embeddings(
        self, *, level: Level | None = None, encoder: str | None = None
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Ids, ascending, and their vectors (n, d) float32, not normalised."""
        view = self.view(level, encoder=encoder)
        return view.ids, view.vectors

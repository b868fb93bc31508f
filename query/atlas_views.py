"""What an atlas holds: its state, levels, annotations, and vectors with metadata. Reads the store."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.indexer.store.tables import Store
from locatlas.query.asking.label_source import LabelSource
from locatlas.query.asking.profiles import Profile
from locatlas.query.asking.scope import Scope, look
from locatlas.query.asking.selection import Where
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from locatlas.types import Level

if TYPE_CHECKING:
    from locatlas.query.show import ShownAnswer

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
        from locatlas.query.show import atlas_html

        return atlas_html(self.store)

    def show(self, table: pa.Table, *, limit: int = 50) -> "ShownAnswer":
        """An answer of `neighbors` or `classify` as a notebook shows it, with the stored thumbnails.

        Args:
            table: The answer.
            limit: Rows that are shown; each has its picture in the notebook.

        Raises:
            InputError: If the table is no such answer.
        """
        from locatlas.query.show import show

        return show(self.store, table, limit=limit)

    def status(self) -> dict[str, Any]:
        """Tables, encoders, coverage, indices, roots, runs and versions."""
        from locatlas.query.status import status

        return status(self.store)

    def annotations(self) -> pa.Table:
        """What people said, one row an image and annotator; `applies`: the image is still the one they looked at."""
        from locatlas.query.annotation.report import annotation_table

        return annotation_table(self.store)

    def annotation_report(self, *, level: str | None = None) -> dict[str, Any]:
        """Who annotated how much, how far annotators agree, and how often inherited labels hold.

        Args:
            level: "fov" or "cell"; None for the one that has annotations, cells where both have.
        """
        from locatlas.query.annotation.report import annotation_report

        return annotation_report(self.store, level=level)

    def levels(self) -> list[str]:
        """Image levels that have vectors, FOVs before cells."""
        return self._shelf.levels()

    def view(
        self,
        level: Level | None = None,
        *,
        encoder: str | None = None,
        where: Where = (),
        label_source: LabelSource = "inherited",
        map_labels: str | None = None,
        profile: Profile | None = None,
        of: str | None = None,
    ) -> View:
        """Vectors and metadata of a level, as questions look at them.

        Args:
            level: "fov", "cell" or "protein"; None for the first image level the atlas has.
            encoder: Name or fingerprint; None for the current one.
            where: Filters; only rows that pass are there.
            label_source: As in `neighbors`.
            map_labels: As in `classify`.
            profile: As in `neighbors`.
            of: As in `neighbors`.

        Raises:
            UnknownNameError: If the encoder, map or a filter's column is not known.
            InputError: If no row passes the filters.
        """
        scope = Scope(
            level=level,
            encoder=encoder,
            where=where,
            label_source=label_source,
            map_labels=map_labels,
            profile=profile,
            of=of,
        )
        seen = look(self._shelf, scope, Subject())
        return seen.view if seen.allowed is None else seen.view.take(np.flatnonzero(seen.allowed))

    def embeddings(
        self, *, level: Level | None = None, encoder: str | None = None
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Ids, ascending, and their vectors (n, d) float32, not normalised."""
        view = self.view(level, encoder=encoder)
        return view.ids, view.vectors

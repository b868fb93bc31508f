"""Who asks: a protein, an image of the atlas, or a new image file, as query vectors. Reads new image files."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.files.planes import plural
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.lookup import Queries
from locatlas.query.asking.profiles import Profile, profile
from locatlas.query.asking.same_file import rows_from_files
from locatlas.query.asking.shelf import Loaded
from locatlas.query.asking.view import View

__all__ = ["Subject", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a user named; at most one of protein, id and image.

    Attributes:
        protein: Gene symbol; as a user names it, also an Ensembl id (`gene_ids.by_symbol`).
        ensembl_id: Of the protein, where it was named by it.
        id: Image id, or at level protein a protein.
        image: Files of a new image, one in all or one a channel; () for none.
        channels: Meanings of the new image's planes.
        pixel_size_um: Of the new image, where known.
        at: y, x of the cell in the new image, in pixels; None takes the image as it is.
    """

    protein: str | None = None
    ensembl_id: str | None = None
    id: str | None = None
    image: tuple[Path, ...] = ()
    channels: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    at: tuple[float, float] | None = None

    @classmethod
    def named(
        cls,
        protein: str | None,
        image_id: str | None,
        image: str | Path | Sequence[str | Path] | None,
        channels: Sequence[str],
        pixel_size_um: float | None,
        at: tuple[float, float] | None,
    ) -> "Subject":
        """What a user named.

        Raises:
            InputError: If that is more than one of protein, id and image, or a point of no image.
        """
        files = () if image is None else (image,) if isinstance(image, str | Path) else tuple(image)
        if sum((protein is not None, image_id is not None, bool(files))) > 1:
            message = "one query needed, not several: a protein, an id or an image"
            raise InputError(message)
        if at is not None and not files:
            message = "at is the place of a cell in a new image: an image needed"
            raise InputError(message)
        paths = tuple(Path(p) for p in files)
        protein, image_id = (None if n is None else unicodedata.normalize("NFC", n) for n in (protein, image_id))
        return cls(
            protein=protein, id=image_id, image=paths, channels=tuple(channels), pixel_size_um=pixel_size_um, at=at
        )

    @property
    def is_everything(self) -> bool:
        """Whether nothing was named."""
        return self.protein is None and self.id is None and not self.image

    def said(self) -> dict[str, object]:
        """As told back to the user."""
        named = {
            "protein": self.protein,
            "ensembl_id": self.ensembl_id,
            "id": self.id,
            "image": [str(p) for p in self.image],
        }
        said: dict[str, object] = {key: value for key, value in named.items() if value}
        return said if self.at is None else {**said, "at": list(self.at)}

    def is_in(self, view: View) -> bool:
        """Whether the named protein or id occurs in a view; a new image and everything fit any."""
        if self.protein is not None:
            return view.has("protein", self.protein)
        return self.id is None or view.has("id", self.id)

    def notes(self, loaded: Loaded) -> list[str]:
        """What an answer must say of who asks: the protein that an Ensembl id means, and the odd of a new image.

        That is, other channels than those of the images it is compared with, and what it is taken as.

        Args:
            loaded: Image level that it is compared at.
        """
        if self.ensembl_id is not None:
            return [f"{self.ensembl_id} is {self.protein} in this atlas"]
        if not self.image:
            return []
        notes, crop = [], loaded.encoder.spec.crop
        usual = Counter(tuple(sorted(channels)) for channels in loaded.view.meta["channels"].to_pylist()).most_common(1)
        if usual and set(usual[0][0]) != set(self.channels):
            usually = ", ".join(usual[0][0])
            notes.append(f"the image has {', '.join(self.channels)}; most images of the atlas have {usually}")
        if crop is not None and loaded.view.level == "cell" and self.at is None:
            notes.append(
                f"the whole image is taken as the crop of one cell; the atlas' cells were cut at {crop}: "
                "--at Y,X cuts one out of a field"
            )
        return notes

    def as_one(self, store: Store, loaded: Loaded, view: View, how: Profile = "mean") -> Queries:
        """One query vector.

        Args:
            store: The atlas' tables, asked whether they have the new image already.
            loaded: Image level that the query is taken from.
            view: What is searched: its view, or that of its proteins.
            how: What a protein is: the mean of the unit vectors of its images, or their medoid.

        Raises:
            UnknownNameError: If the protein or id is not there.
            InputError: If nothing was named, or the new image's channels are not, or no cell can be cut out of it.
            ImageRejectedError: If the new image cannot be used.
        """
        if self.is_everything:
            message = "one query needed: a protein, an id or an image"
            raise InputError(message)
        base = loaded.view
        if self.image:
            if self.at is not None and base.level != "cell":
                message = f"at names a cell of the image: level cell needed, not {base.level}"
                raise InputError(message)
            from locatlas.query.asking.query_image import embed_image  # which reads files

            vector, digest = embed_image(
                self.image, self.channels, loaded.encoder.spec, pixel_size_um=self.pixel_size_um, at=self.at
            )
            # the same file may be in the atlas already: then neither it nor a cell of it may be its own neighbor
            same = rows_from_files(store, base, self.image, digest)
            made_of = base.take(same) if len(same) else None
            return Queries([str(self.image[0])], vector[None], [frozenset()], made_of=made_of)
        if self.id is not None:
            return Queries.from_rows(view, rows_of(view, "id", self.id))
        assert self.protein is not None
        images = base.take(rows_of(base, "protein", self.protein))
        labels: frozenset[str] = frozenset().union(*images.localizations)
        return Queries([self.protein], profile(images.vectors, how)[0][None], [labels], made_of=images)

    def as_many(
        self, store: Store, loaded: Loaded, view: View, allowed: NDArray[np.bool_] | None, how: Profile = "mean"
    ) -> Queries:
        """One query an image: all images of the protein, the named or new one, or all that pass the filters."""
        if self.is_everything:
            rows = np.arange(len(view)) if allowed is None else np.flatnonzero(allowed)
            return Queries.from_rows(view, rows.astype(np.int64))
        if self.protein is not None:
            return Queries.from_rows(view, rows_of(view, "protein", self.protein))
        return self.as_one(store, loaded, view, how)


def rows_of(view: View, column: str, value: str) -> NDArray[np.int64]:
    """Rows of a view whose column has the value.

    Raises:
        UnknownNameError: If none has; tells the nearest values.
        InputError: If a cell is needed and the id is that of a field of some.
    """
    coding = view.coded(column)
    code = coding.code(value)
    if code < 0:
        if column == "id" and view.level == "cell":
            _refuse_field(view, value)
        raise UnknownNameError(f"{view.level} id" if column == "id" else column, value, coding.known.to_pylist())
    return np.flatnonzero(coding.of_row == code).astype(np.int64)


def _refuse_field(cells: View, value: str) -> None:
    inside = [cell for cell, fov in zip(cells.ids, cells.column("fov"), strict=True) if fov == value]
    if inside:
        message = (
            f"{value!r} is a field with {plural(len(inside), 'cell')}; name one of them, e.g. {inside[0]}, "
            "or ask --level fov"
        )
        raise InputError(message)

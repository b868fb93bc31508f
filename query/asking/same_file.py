"""Which rows of an atlas were made from a file that is asked with: they must not answer. Reads the store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.view import View

__all__ = ["rows_from_files"]


def rows_from_files(store: Store, view: View, files: Sequence[Path], digest: str) -> NDArray[np.int64]:
    """Rows of a view that are images of these files, or cells of a field that is.

    A file is known by its bytes, wherever it lies, if it is asked with as it was indexed: all channels in the same
    order. With some of the channels only it is known by its place.

    Args:
        store: The atlas' tables.
        view: Of FOVs or cells.
        files: Of the new image.
        digest: As `images.read_image` gives it.
    """
    same = _images(store, view.level, files, digest)
    found = np.isin(np.array(view.ids, dtype=object), list(same)) if same else np.zeros(len(view), dtype=np.bool_)
    if view.level == "cell":
        coding = view.coded("fov")
        fields = coding.codes(sorted(_images(store, "fov", files, digest)))
        found |= np.isin(coding.of_row, fields[fields >= 0])
    return np.flatnonzero(found).astype(np.int64)


def _images(store: Store, level: str, files: Sequence[Path], digest: str) -> set[str]:
    """Ids of the images that these files are."""
    table = store.read(image_table(level), ["id", "source_digest", "root", "row", "sources"])
    same = pc.fill_null(pc.equal(table["source_digest"], digest), fill_value=False).to_numpy().astype(np.bool_)
    sources = table["sources"].combine_chunks()
    paths, image = pc.struct_field(pc.list_flatten(sources), "path"), pc.list_parent_indices(sources).to_numpy()
    # a file of many rows is no image of any of them
    whole = pc.is_null(table["row"]).to_numpy()
    given = [file.expanduser() for file in files]
    # a link is known by its own place, and any path by the place of the file that it leads to
    absolute = [place for file in given for place in (file.parent.resolve() / file.name, file.resolve())]
    for name in store.folder.info()["roots"]:
        root = store.folder.root_path(name).resolve()
        below = [file.relative_to(root).as_posix() for file in absolute if file.is_relative_to(root)]
        if below:
            hit = pc.is_in(paths, pa.array(below, pa.string())).to_numpy(zero_copy_only=False).astype(np.bool_)
            mine = pc.fill_null(pc.equal(table["root"], name), fill_value=False).to_numpy().astype(np.bool_)
            at = np.unique(image[hit])
            same[at] |= (mine & whole)[at]
    return set(table["id"].filter(pa.array(same)).to_pylist())

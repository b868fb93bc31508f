"""Which images of an atlas the ids of a file are, and which they may have meant. Pure."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import InputError
from locatlas.indexer.store.aligned import one_array, rows_in

__all__ = ["Met", "NearlyMet", "ids_of", "met"]


@dataclass(frozen=True, slots=True)
class NearlyMet:
    """Ids of a file that are those of images but for what stands before them.

    Attributes:
        ids: How many.
        example: One of them, as the file has it.
        image: The id of its image.
        dataset: The data set of the images, where its name before each of the ids makes it that of its image; None
            where more than that is missing, so that the file has to have the whole id.
    """

    ids: int
    example: str
    image: str
    dataset: str | None


@dataclass(frozen=True, slots=True)
class Met:
    """How many ids of a file are images of the atlas.

    Attributes:
        with_image: Ids of images.
        without_image: Ids of rows of their own, which have no image.
        nearly: Of these the ones that images have but for what stands before them.
    """

    with_image: int
    without_image: int
    nearly: tuple[NearlyMet, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "with_image": self.with_image,
            "without_image": self.without_image,
            "nearly_met": [asdict(one) for one in self.nearly],
        }


def ids_of(names: pa.Array, known: pa.ChunkedArray, file: Path, dataset: str) -> pa.Array:
    """Ids as the atlas has them: as they stand where it knows them, else with the data set's name before them.

    Args:
        names: Ids in the file, text (n,).
        known: Ids of the rows of the level.
        file: Named in the error.
        dataset: Its name.

    Raises:
        InputError: If two ids become one.
    """
    prefix = f"{dataset}/"
    stands = pc.or_(pc.is_in(names, value_set=one_array(known)), pc.starts_with(names, prefix))
    ids = pc.if_else(stands, names, pc.binary_join_element_wise(prefix, names, ""))
    if pc.count_distinct(ids).as_py() != len(ids):
        twice = next(i for i, n in Counter(ids.to_pylist()).items() if n > 1)
        message = f"{file}: ids meet once the data set's name stands before them: {twice!r}"
        raise InputError(message)
    return ids


def met(names: pa.Array, ids: pa.Array, images: pa.Table) -> Met:
    """Compare the ids of a file with those of the images of a level.

    Args:
        names: Ids in the file, text (n,).
        ids: What they are in the atlas, text (n,), see `ids_of`.
        images: Columns id, dataset and sources of the level's rows as they were before.
    """
    pictured = images.filter(pc.greater(pc.list_value_length(images["sources"]), 0))
    alone = names.filter(pa.array(rows_in(ids, pictured["id"]) < 0))
    nearly, left = [], np.ones(len(alone), dtype=np.bool_)
    for dataset in sorted(pc.unique(pictured["dataset"]).to_pylist()):
        its = pictured["id"].filter(pc.equal(pictured["dataset"], dataset))
        place = rows_in(pc.binary_join_element_wise(f"{dataset}/", alone, ""), its)
        if (there := place >= 0).any():
            first = int(there.argmax())
            image = its[int(place[first])].as_py()
            nearly.append(NearlyMet(int(there.sum()), alone[first].as_py(), image, dataset))
            left &= ~there
    if one := _by_last_part(alone.filter(pa.array(left)), pictured["id"]):
        nearly.append(one)
    return Met(len(names) - len(alone), len(alone), tuple(nearly))


def _by_last_part(names: pa.Array, images: pa.ChunkedArray) -> NearlyMet | None:
    """Ids that are the last part of the id of one image, and of no other; a number is that of a cell in its field."""
    ends = one_array(pc.replace_substring_regex(images, "^.*/", ""))
    counted = pc.value_counts(ends)
    once = counted.field("values").filter(pc.equal(counted.field("counts"), 1))
    named = pc.invert(pc.match_substring_regex(names, r"^\d*$"))
    found = names.filter(pc.and_(named, pc.is_in(names, value_set=once)))
    if not len(found):
        return None
    example = found[0].as_py()
    return NearlyMet(len(found), example, images[int(pc.index(ends, example).as_py())].as_py(), None)

"""A column of lists of names as sets, equal ones being one object: a million rows have some hundred. Pure."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.arrow_numbers import as_numpy

__all__ = ["label_sets"]


def label_sets(column: pa.ChunkedArray) -> list[frozenset[str]]:
    """The set of names of each row; empty where a row has none or is null.

    Args:
        column: list<string>.
    """
    lists = column.combine_chunks()
    names = pc.list_flatten(lists).to_pylist()
    ends = np.cumsum(np.bincount(as_numpy(pc.list_parent_indices(lists)), minlength=len(lists)))
    shared: dict[tuple[str, ...], frozenset[str]] = {}
    sets, start = [], 0
    for end in ends.tolist():
        said = tuple(names[start:end])
        found = shared.get(said)
        if found is None:
            found = shared.setdefault(said, frozenset(said))
        sets.append(found)
        start = end
    return sets

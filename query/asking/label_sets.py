"""A column of lists of names as sets; lists that are alike give one object: a million rows have some hundred. Pure."""

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["label_sets"]


def label_sets(column: pa.ChunkedArray) -> list[frozenset[str]]:
    """The set of names of each row; empty where a row has none or is null.

    Args:
        column: list<string>.
    """
    lists = column.combine_chunks()
    names = pc.list_flatten(lists).to_pylist()  # without what a null list may hide
    n_of = pc.list_value_length(lists).to_pylist()
    shared: dict[tuple[str, ...], frozenset[str]] = {}
    sets, start = [], 0
    for n in n_of:
        end = start + (n or 0)
        said = tuple(names[start:end])
        found = shared.get(said)
        if found is None:
            found = shared.setdefault(said, frozenset(said))
        sets.append(found)
        start = end
    return sets

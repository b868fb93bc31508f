"""The answer of `neighbors`: the images or proteins most similar to one query. Reads the store."""

import numpy as np
import pyarrow as pa

from locatlas.query.answers import tables as answers
from locatlas.query.answers.notes import beyond_filters, in_the_atlas, unknown_proteins
from locatlas.query.asking.gene_ids import by_symbol
from locatlas.query.asking.lookup import look_up
from locatlas.query.asking.scope import Scope, look
from locatlas.query.asking.selection import check_k, usable_index
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject, rows_of

__all__ = ["DEFAULT_K", "find"]

DEFAULT_K = 10
"""Neighbors of a look-up where no number is given."""


def find(shelf: Shelf, subject: Subject, scope: Scope, *, k: int | None, exclude: str, exact: bool | None) -> pa.Table:
    """Hits of one query, nearest first.

    Args:
        shelf: What is loaded.
        subject: Who asks.
        scope: What is searched.
        k: Neighbors; None for `DEFAULT_K`, or as many as there are.
        exclude: What the query must not meet.
        exact: True to scan, False to use the FAISS index, None to use it where there is one.

    Raises:
        UnknownNameError: If something named is not in the atlas.
        InputError: If the query is not exactly one, or k does not fit.
    """
    subject = by_symbol(subject, scope.image_views(shelf))
    seen = look(shelf, scope, subject)
    queries = subject.as_one(shelf.store, seen.loaded, seen.view, scope.profile or "mean")
    n_rows = int(np.count_nonzero(seen.allowed)) if seen.allowed is not None else len(seen.view)
    k = min(DEFAULT_K, n_rows) if k is None else k
    check_k(k, n_rows, seen.view.level, exclude)
    index = usable_index(seen.loaded, seen.view, exact=exact)
    found, was_exact = look_up(queries, seen.view, k=k, exclude=exclude, allowed=seen.allowed, index=index)
    own, resemblance = np.empty(0, dtype=np.int64), None
    if subject.protein is not None:
        from locatlas.query.answers.resemblance import similarity_context

        resemblance = similarity_context(seen, subject.protein)
        own = rows_of(seen.loaded.view, "protein", subject.protein)
    return answers.neighbor_table(
        seen.view,
        found,
        query=subject.said(),
        similarity_context=resemblance,
        exact=was_exact,
        exclude=exclude,
        **seen.said(),
        notes=seen.notes(
            subject.notes(seen.loaded),
            in_the_atlas(subject, queries, exclude),
            beyond_filters(seen.passing, own, "images that the query is made of"),
            unknown_proteins(queries, exclude),
        ),
    )

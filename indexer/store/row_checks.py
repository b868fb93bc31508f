"""The check that every write passes: rows are exactly what the table holds. Pure."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import SchemaMismatchError

__all__ = ["check_rows"]


def check_rows(rows: pa.Table, schema: pa.Schema, *, table: str) -> None:
    """Refuse rows that are not exactly what the table holds.

    LanceDB by itself fills missing columns with null, casts silently and accepts the same id twice, so nothing is
    written before this has passed.

    Args:
        rows: What is to be written.
        schema: The table's schema.
        table: Its name, for the message.

    Raises:
        SchemaMismatchError: If columns, types or order differ, a required value or an item of a list is null, an id
            is empty, not NFC, has control characters or occurs twice, or a number or vector is not finite.
    """

    def refuse(why: str) -> None:
        message = f"table {table}: {why}; nothing was written"
        raise SchemaMismatchError(message)

    if rows.schema.names != schema.names:
        missing = sorted(set(schema.names) - set(rows.schema.names))
        extra = sorted(set(rows.schema.names) - set(schema.names))
        refuse(f"columns differ (missing {missing}, unexpected {extra}, or another order)")
    for expected in schema:
        got = rows.schema.field(expected.name).type
        if got != expected.type:
            refuse(f"column {expected.name} is {got}, must be {expected.type}")
        if not expected.nullable and rows[expected.name].null_count:
            refuse(f"column {expected.name} has {rows[expected.name].null_count} nulls")
    _check_ids(rows["id"], refuse)
    for field in schema:
        _check_values(field, rows, refuse)


def _check_ids(ids: Any, refuse: Callable[[str], None]) -> None:
    if (n_distinct := pc.count_distinct(ids).as_py()) != len(ids):
        counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(ids).to_pylist()}
        twice = [i for i, count in counts.items() if count > 1][:5]
        refuse(f"{len(ids) - n_distinct} ids occur more than once, e.g. {twice}")
    bad = pc.filter(ids, pc.or_(pc.equal(pc.utf8_length(ids), 0), pc.match_substring_regex(ids, r"\p{Cc}")))
    if len(bad):
        refuse(f"id {bad[0].as_py()!r} is empty or has control characters")
    other = pc.filter(ids, pc.not_equal(ids, pc.utf8_normalize(ids, form="NFC")))
    if len(other):
        refuse(f"id {other[0].as_py()!r} is not NFC-normalised")


def _check_values(field: Any, rows: pa.Table, refuse: Callable[[str], None]) -> None:
    """Nulls and numbers that no table means, which Arrow lets through inside of lists."""
    column = rows[field.name]
    if pa.types.is_fixed_size_list(field.type):
        _check_vectors(column, rows["id"], refuse)
        return
    if pa.types.is_list(field.type):
        column = pc.list_flatten(column)
        parts = [column]
        if pa.types.is_struct(field.type.value_type):
            parts += [pc.struct_field(column, [i]) for i in range(field.type.value_type.num_fields)]
        if nulls := sum(part.null_count for part in parts):
            refuse(f"column {field.name} has {nulls} nulls inside of its lists")
    if pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False:  # None: all are null
        refuse(f"column {field.name} has numbers that are not finite")


def _check_vectors(column: Any, ids: Any, refuse: Callable[[str], None]) -> None:
    first = 0
    for chunk in column.chunks:
        flat = chunk.flatten()
        if flat.null_count:
            refuse("a vector has nulls")
        finite = np.isfinite(flat.to_numpy(zero_copy_only=False).reshape(len(chunk), chunk.type.list_size)).all(axis=1)
        if not finite.all():
            row = first + int(np.argmin(finite))
            refuse(f"{int((~finite).sum())} vectors are not finite, first: {ids[row].as_py()}")
        first += len(chunk)

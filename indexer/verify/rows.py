"""Rows of one table: does it open, are its columns, ids and vectors what they must be? Reads a table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.store.lance_files import Opened, reading
from locatlas.indexer.store.schema import embedding_schema
from locatlas.indexer.store.table_reads import IN_TURN
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.models.spec import Storage

__all__ = ["Ids", "bad_vectors", "ill_formed", "in_order", "look_at_ids", "look_at_schema"]


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """Ids of one version of a table.

    Attributes:
        rows: Columns id and those that were asked for, in the order of the table.
        findings: What is wrong with them.
    """

    rows: pa.Table
    findings: list[Finding]


def look_at_schema(opened: Opened, expected: pa.Schema | None) -> list[Finding]:
    """Whether the columns are those that this locatlas writes.

    Args:
        opened: The table.
        expected: Its columns; None for an embedding table, whose vectors may have any length.
    """
    here = opened.dataset.schema.remove_metadata()
    if expected is None:
        kind = here.field("vector").type if "vector" in here.names else None
        length = kind.list_size if kind is not None and pa.types.is_fixed_size_list(kind) else 1
        storage: Storage = "float16" if kind is not None and pa.types.is_float16(kind.value_type) else "float32"
        expected = embedding_schema(length, storage)
    here = pa.schema([field.remove_metadata() for field in here])
    if here == expected:
        return []
    means = "it has other columns than this locatlas writes: nothing can be written to it"
    return [finding("damage", "other columns", opened.name, means, "restore the table from a backup")]


def look_at_ids(opened: Opened, columns: list[str], *, told: Callable[[str], None] | None = None) -> Ids:
    """Read ids and some columns, and check that ids are there once each and well-formed.

    Args:
        opened: The table.
        columns: Further columns.
        told: Called with the name of the table.

    Raises:
        StoreDamagedError: If they cannot be read.
    """
    if told is not None:
        told(opened.name)
    with reading(opened.dataset.uri):
        rows = opened.dataset.to_table(columns=["id", *columns])
        stated = int(opened.dataset.count_rows())
    findings = []
    ids = rows["id"]
    if stated != len(rows):
        means = f"its manifest says {stated} rows, {len(rows)} can be read"
        findings.append(finding("damage", "rows missing", opened.name, means, "restore the table from a backup"))
    if ids.null_count:
        means = f"{ids.null_count} rows have no id, so that nothing joins them"
        findings.append(finding("damage", "ids missing", opened.name, means, "--repair deletes these rows"))
    held = ids.drop_null()
    if len(pc.unique(held)) < len(held):
        counts = pc.value_counts(held)
        twice = pc.filter(counts.field("values"), pc.greater(counts.field("counts"), 1)).to_pylist()
        means = "rows with the same id: they count and vote twice"
        do = (
            "--repair keeps the one that was written last"
            if in_order(opened)
            else "--repair keeps one of them: rows of this table were merged or deleted since, after which Lance does "
            "not tell any more which was written last"
        )
        findings.append(finding("damage", "duplicate ids", opened.name, means, do, of=twice))
    if bad := pc.filter(held, ill_formed(held)).to_pylist():
        means = "ids that are empty, have control characters or are not NFC: they cannot be looked up"
        do = "--repair deletes these rows; then run `locatlas index` again"
        findings.append(finding("damage", "ill-formed ids", opened.name, means, do, of=[repr(i) for i in bad]))
    return Ids(rows, findings)


def in_order(opened: Opened) -> bool:
    """Whether addresses of rows are in the order in which they were written.

    Fragments are numbered as they come, and a merged one takes the next number in place of those it was made of: while
    none is missing, none was merged.
    """
    numbers = set(opened.fragments.values())
    return numbers == set(range(len(numbers)))


def ill_formed(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each id is empty, has control characters or is not NFC; null where it is null."""
    odd = pc.or_(pc.equal(pc.utf8_length(ids), 0), pc.match_substring_regex(ids, r"\p{Cc}"))
    return pc.or_(odd, pc.not_equal(ids, pc.utf8_normalize(ids, form="NFC")))


def bad_vectors(opened: Opened) -> tuple[list[str], list[str]]:
    """Ids whose vectors have numbers that are not finite, and ids whose vectors are zero.

    Raises:
        StoreDamagedError: If they cannot be read.
    """
    not_finite: list[str] = []
    zero: list[str] = []
    with reading(opened.dataset.uri):
        for batch in opened.dataset.to_batches(columns=["id", "vector"], **IN_TURN):
            column: Any = batch.column("vector")
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
            finite = np.isfinite(values).all(axis=1)
            for ids, odd in ((not_finite, ~finite), (zero, ~values.any(axis=1))):
                if odd.any():
                    ids += batch.column("id").filter(pa.array(odd)).to_pylist()
    return not_finite, zero

"""Metadata filters as expressions: parsed to data, applied by pyarrow, never a string that a database reads. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError, one_line

__all__ = ["Filter", "Op", "apply", "parse"]

Op = Literal["=", "!=", "<", "<=", ">", ">=", "~"]

_ALIASES = {"==": "="}
# the first operator after the column decides, the longer one first; a value may hold any text, operators too
_PATTERN = re.compile(r"\s*(?P<column>[^=!<>~]*?)\s*(?P<op>==|!=|<=|>=|=|<|>|~)\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one column.

    Attributes:
        column: Name of the column.
        op: `=`, `!=`, `<`, `<=`, `>`, `>=`, or `~` (contains this text, whatever the case).
        value: What the column is compared with, as text; a number where the column holds numbers.
    """

    column: str
    op: Op
    value: str

    def __post_init__(self) -> None:
        if self.op not in get_args(Op):
            message = f"filter operator {self.op!r}: one of {' '.join(get_args(Op))} needed"
            raise InputError(message)
        object.__setattr__(self, "value", str(self.value))  # a number given from Python

    def __str__(self) -> str:
        return f"{self.column}{self.op}{self.value}"

    @property
    def shown(self) -> str:
        """As messages show it, on one line."""
        return one_line(str(self))


def parse(text: str) -> Filter:
    """A filter from "column=value" and the like.

    Everything after the operator is the value as it stands, quotes, spaces inside and line breaks included; spaces
    around the column and before the value are dropped.

    Args:
        text: E.g. "dataset=opencell", "pixel_size_um<0.3", "protein~LMN".

    Raises:
        InputError: If there is no operator or no column.
    """
    found = _PATTERN.fullmatch(text)
    if found is None or not found["column"]:
        message = (
            f"filter {one_line(repr(text))}: COLUMN{{{','.join(get_args(Op))}}}VALUE needed, e.g. dataset=opencell"
        )
        raise InputError(message)
    return Filter(found["column"], _ALIASES.get(found["op"], found["op"]), found["value"])  # type: ignore[arg-type]


def apply(table: pa.Table, filters: Sequence[Filter]) -> NDArray[np.bool_]:
    """The rows for which all filters hold.

    A null matches no filter, `!=` included. Numeric columns are compared as numbers, boolean ones as true or false
    (`=` and `!=`), all others as text in code point order. A list column (`localizations`) matches `=` if it contains
    the value, `!=` if it does not, `~` if one of its items contains the text; it has no order.

    Args:
        table: Metadata, one row an item.
        filters: Conditions that must all hold; none holds for all rows.

    Returns:
        bool (n_rows,).

    Raises:
        UnknownNameError: If a column does not exist; lists those that do.
        InputError: If the value or the operator does not fit the column's type.
    """
    kept = np.ones(table.num_rows, dtype=np.bool_)
    for one in filters:
        if one.column not in table.column_names:
            raise UnknownNameError("column", one.column, table.column_names)
        column = table.column(one.column)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        matched = _lists(column, one) if _is_list(column.type) else _values(column, one)
        kept &= pc.fill_null(matched, fill_value=False).to_numpy(zero_copy_only=False).astype(np.bool_)
    return kept


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _lists(column: Any, one: Filter) -> Any:
    """Whether each row's list contains the value; nulls stay null."""
    if one.op not in ("=", "!=", "~"):
        message = f"filter {one.shown}: column {one_line(repr(one.column))} holds lists; =, != and ~ are possible"
        raise InputError(message)
    items = _values(pc.list_flatten(column), Filter(one.column, "=" if one.op == "!=" else one.op, one.value))
    hits = np.zeros(len(column), dtype=np.bool_)
    matched = pc.fill_null(items, fill_value=False).to_numpy(zero_copy_only=False).astype(np.bool_)
    hits[pc.list_parent_indices(column).to_numpy(zero_copy_only=False)[matched]] = True
    return pc.if_else(pc.is_valid(column), pa.array(~hits if one.op == "!=" else hits), pa.scalar(None, pa.bool_()))


def _values(column: Any, one: Filter) -> Any:
    """Whether each value matches; nulls stay null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if one.op == "~":
        return pc.match_substring(_as_text(column, one), one.value, ignore_case=True)
    compare = {
        "=": pc.equal,
        "!=": pc.not_equal,
        "<": pc.less,
        "<=": pc.less_equal,
        ">": pc.greater,
        ">=": pc.greater_equal,
    }[one.op]
    if pa.types.is_boolean(kind):
        truth = {"true": True, "false": False, "1": True, "0": False}.get(one.value.strip().lower())
        if truth is None or one.op not in ("=", "!="):
            named = one_line(one.column)
            message = f"filter {one.shown}: {named} is true or false: write {named}=true or {named}=false"
            raise InputError(message)
        return compare(column, truth)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return compare(pc.cast(column, pa.float64(), safe=False), _number(one))
    return compare(_as_text(column, one), one.value)


def _number(one: Filter) -> float:
    try:
        value = float(one.value)
    except ValueError:
        named, given = one_line(repr(one.column)), one_line(repr(one.value))
        message = f"filter {one.shown}: column {named} holds numbers, {given} is none"
        raise InputError(message) from None
    if np.isnan(value):
        message = f"filter {one.shown}: nothing compares with NaN"
        raise InputError(message)
    return value


def _as_text(column: Any, one: Filter) -> Any:
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        message = f"filter {one.shown}: column {one_line(repr(one.column))} of type {column.type} cannot be compared"
        raise InputError(message) from error

"""Whose localizations a question is about: those a cell inherits, or those it was annotated with. Pure."""

from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.asking.view import View

__all__ = ["LABEL_SOURCES", "LabelSource", "check_label_source", "label_notes", "n_annotated", "with_label_source"]

LabelSource = Literal["inherited", "annotated"]
"""`inherited`: what the protein, the field or the data set says (column `localizations`). `annotated`: what somebody
said of the very cell (column `annotated`). The two are never mixed in one answer."""

LABEL_SOURCES: tuple[LabelSource, ...] = get_args(LabelSource)


def check_label_source(source: str, level: str) -> None:
    """Refuse a source that does not exist, or that images of this level do not have.

    Args:
        source: What was asked for.
        level: Image level, "fov" or "cell".

    Raises:
        UnknownNameError: If there is no such source.
        InputError: If annotations are asked for of anything but cells.
    """
    if source not in LABEL_SOURCES:
        raise UnknownNameError("label source", source, LABEL_SOURCES)
    if source == "annotated" and level != "cell":
        message = f"only cells are annotated: label source 'annotated' does not fit level {level}, ask at level cell"
        raise InputError(message)


def n_annotated(view: View) -> int:
    """Rows that somebody annotated, be it with no localization at all."""
    return len(view) - view.meta["annotated"].null_count if "annotated" in view.meta.column_names else 0


def with_label_source(view: View, source: LabelSource) -> View:
    """The view with the localizations of one source as its `localizations`.

    Args:
        view: Of FOVs or cells.
        source: With `annotated`, a cell that nobody annotated, or that was annotated with nothing, is unlabelled.

    Raises:
        UnknownNameError: If there is no such source.
        InputError: If annotations are asked for of FOVs, or no cell has any.
    """
    check_label_source(source, view.level)
    if source == "inherited":
        return view
    if not n_annotated(view):
        message = (
            f"none of the {len(view)} cells is annotated: `locatlas annotate export` writes a sheet of cells to look "
            "at, `locatlas annotate import` reads it back"
        )
        raise InputError(message)
    own = pc.fill_null(view.meta["annotated"].combine_chunks(), pa.scalar([], pa.list_(pa.string())))
    return view.with_columns({"localizations": own})


def label_notes(view: View, source: LabelSource) -> list[str]:
    """What a reader of an answer over cells must know of their labels; nothing at other levels."""
    if view.level != "cell":
        return []
    own, n = n_annotated(view), len(view)
    if source == "inherited":
        return [f"localizations are inherited from the protein, field or data set; {own} of {n} cells are annotated"]
    return [f"localizations are the cells' own: {own} of {n} are annotated, {n - own} only inherit and do not vote"]

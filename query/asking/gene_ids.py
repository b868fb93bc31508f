"""Proteins that are named by the Ensembl id of their gene. Pure, given the views."""

import re
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import LISTED, InputError, UnknownNameError, one_line
from locatlas.indexer.files.planes import plural
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View

__all__ = ["by_symbol"]

_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?")


def by_symbol(subject: Subject, views: Iterable[View]) -> Subject:
    """The subject with a protein that is named by an Ensembl id named by its gene symbol, as answers name it.

    Args:
        subject: Who asks.
        views: Image levels in which the protein may be, in order; those after the first that has it are not read.

    Returns:
        The subject itself where the name is a symbol, nothing that could be an id, or no protein is named.

    Raises:
        UnknownNameError: If no image has the id.
        InputError: If no image has any, or those with the id are of several proteins, or of none.
    """
    if subject.protein is None:
        return subject
    given = _without_version(subject.protein)
    known: set[str] = set()
    for view in views:
        if view.has("protein", subject.protein):
            return subject
        column = view.meta["ensembl_id"]
        by_id: dict[str, list[str]] = {}
        for text in pc.unique(column.drop_null()).to_pylist():
            by_id.setdefault(_without_version(text), []).append(text)
        if given in by_id:
            rows = view.meta.filter(pc.is_in(column, value_set=pa.array(by_id[given], pa.string())))
            return replace(subject, protein=_one_protein(subject.protein, rows), ensembl_id=given)
        known |= by_id.keys()
    if not _ENSEMBL.fullmatch(given):
        return subject
    if not known:
        message = f"{subject.protein}: no image of this atlas has an Ensembl id; name the protein by its gene symbol"
        raise InputError(message)
    raise UnknownNameError("Ensembl id", subject.protein, known)


def _without_version(text: str) -> str:
    """An id as others write it: capitals, and without the version after the dot."""
    whole = text.strip().upper()
    return whole.partition(".")[0] if _ENSEMBL.fullmatch(whole) else whole


def _one_protein(given: str, rows: pa.Table) -> str:
    proteins: list[str] = sorted(pc.unique(rows["protein"].drop_null()).to_pylist())
    if len(proteins) == 1:
        return proteins[0]
    if not proteins:
        message = (
            f"{given}: {plural(len(rows), 'image')} with this id and none with a gene symbol, so it names no protein; "
            f"name an image, e.g. --id {rows['id'][0].as_py()}"
        )
        raise InputError(message)
    more = f" and {len(proteins) - LISTED} more" if len(proteins) > LISTED else ""
    listed = ", ".join(map(one_line, proteins[:LISTED]))
    message = f"{given}: is the Ensembl id of {len(proteins)} proteins of this atlas, name one of them: {listed}{more}"
    raise InputError(message)

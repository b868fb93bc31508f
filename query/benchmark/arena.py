"""What cells of a grid are measured on: rows of one level by one encoder. Pure, but for `of`, which reads the store."""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from locatlas.indexer.datasets.hpa_tables import LIST
from locatlas.query.answers.notes import mixed_vocabularies
from locatlas.query.asking.leakage import training_overlap
from locatlas.query.asking.scope import Scope, look
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.subjects import Subject

__all__ = ["Arena"]

_HASHED_AT_ONCE = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Arena:
    """Rows with their vectors; one value a row in each sequence, in any order.

    Attributes:
        level: "fov", "cell" or "protein".
        fingerprint: Of the encoder that made the vectors.
        ids: Distinct.
        vectors: (n, d), not normalized.
        labels: Localizations; empty where there are none.
        groups: What is not split, and what intervals draw: the protein, or another column that a grid names; None has
            none.
        fovs: Fields; None for rows of a level without.
        datasets: Names of the data sets.
        proteins: Gene symbols, to find what two data sets share: several where an antibody is of several genes.
        ensembl_ids: The same by ENSG; empty where unknown.
        graded: Graded localizations of each row, grade 3 (very prominent) to 1 (weak); empty where there are none.
        seen: Rows that the encoder, or one that it was trained from, was trained on, bool (n,).
        group: What the groups are.
        notes: What a reader must know of vectors, labels and training.
    """

    level: str
    fingerprint: str
    ids: Sequence[str]
    vectors: NDArray[np.float32]
    labels: Sequence[frozenset[str]]
    groups: Sequence[str | None]
    fovs: Sequence[str | None]
    datasets: Sequence[str]
    proteins: Sequence[frozenset[str]]
    ensembl_ids: Sequence[frozenset[str]]
    graded: Sequence[Mapping[str, int]]
    seen: NDArray[np.bool_]
    group: str = "protein"
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, shelf: Shelf, scope: Scope, *, group: str = "protein") -> Self:
        """The rows of an atlas that a scope means.

        Args:
            shelf: What is loaded.
            scope: Level, encoder, filters, label map.
            group: Column of the groups.

        Raises:
            UnknownNameError: If the column or the encoder is not in the atlas.
            InputError: If nothing passes the filters.
        """
        seen = look(shelf, scope, Subject())
        overlap = training_overlap(shelf.store, seen.loaded.encoder.spec, seen.view, group, images=seen.loaded.view)
        view = seen.view
        if seen.allowed is not None:
            passing = np.flatnonzero(seen.allowed)
            view, overlap = view.take(passing), overlap.take(passing)
        n, columns = len(view), set(view.meta.column_names)
        nothing: list[str | None] = [None] * n

        def names(column: str) -> list[str | None]:
            return view.names(column) if column in columns else nothing

        graded = view.meta["graded"].to_pylist() if "graded" in columns else [[]] * n
        return cls(
            level=view.level,
            fingerprint=seen.loaded.encoder.fingerprint,
            ids=view.ids,
            vectors=view.vectors,
            labels=view.localizations,
            groups=overlap.groups,
            fovs=names("fov"),
            datasets=[str(name) for name in names("dataset")],
            proteins=_all_of(names("protein"), names("gene_names")),
            ensembl_ids=_all_of(names("ensembl_id"), names("ensembl_ids")),
            graded=[{one["localization"]: one["grade"] for one in row or ()} for row in graded],
            seen=overlap.seen,
            group=group,
            notes=tuple(seen.notes(overlap.notes, mixed_vocabularies(view, None))),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits of all that a score depends on but the cell: rows and vectors; not of their order.

        Vectors count by their numbers, not by what they were made from: profiles of proteins and imported vectors have
        no source, or one that stays when they change.
        """
        order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        told = hashlib.blake2b(json.dumps([self.level, self.group, *self.vectors.shape]).encode(), digest_size=16)
        columns: tuple[Sequence[Hashable], ...] = (
            self.ids,
            self.labels,
            self.groups,
            self.fovs,
            self.datasets,
            self.proteins,
            self.ensembl_ids,
            [frozenset(row.items()) for row in self.graded],
            self.seen.tolist(),
        )
        for column in columns:  # its distinct values, and which of them each row has
            ordered = list(map(column.__getitem__, order))
            place = {value: code for code, value in enumerate(dict.fromkeys(ordered))}
            codes = np.fromiter(map(place.__getitem__, ordered), "<i8", count=len(order))
            values = [sorted(value) if isinstance(value, frozenset) else value for value in place]
            told.update(json.dumps(values).encode())
            told.update(codes.data)
        for low in range(0, len(order), _HASHED_AT_ONCE):
            told.update(self.vectors[order[low : low + _HASHED_AT_ONCE]].astype("<f4", order="C", copy=False).data)
        return told.hexdigest()


def _all_of(first: Sequence[str | None], listed: Sequence[str | None]) -> list[frozenset[str]]:
    """Each row's first gene and those of the list that HPA's image table has for an antibody of several."""
    parts = [[one or "", *LIST.split(several or "")] for one, several in zip(first, listed, strict=True)]
    return [frozenset(name.strip() for name in row if name.strip()) for row in parts]

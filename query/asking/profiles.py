"""A protein as one vector, made of its images: their mean, or the most typical of them. Pure, given the view."""

from collections import defaultdict
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import UnknownNameError
from locatlas.query.asking.view import View
from locatlas.query.search.unit import normalize

__all__ = ["PROFILES", "Profile", "by_protein", "medoid", "profile"]

Profile = Literal["mean", "medoid"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

_TIE = 1e-12
"""Mean cosines that differ by less are equal: float64 sums of the same numbers in another order do."""

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("protein", pa.string()),
        ("localizations", pa.list_(pa.string())),
        ("n_images", pa.int64()),
        ("medoid", pa.string()),  # id of the image whose vector it is; null for a mean
    ]
)


def medoid(unit: NDArray[np.float32]) -> int:
    """The row with the highest mean cosine to the others.

    Args:
        unit: Unit vectors, float32 (n, d), n >= 1; a zero vector has no direction, is no medoid and counts for none.

    Returns:
        A row; the first of equal ones (within 1e-12), 0 if all vectors are zero.
    """
    wide = unit.astype(np.float64)
    own = np.einsum("nd,nd->n", wide, wide)
    # the sum over the others is the sum over all less the row itself; the same factor 1 / (n - 1) for all rows
    near = np.where(own > 0, np.einsum("nd,d->n", wide, wide.sum(axis=0)) - own, -np.inf)
    return int(np.argmax(near >= near.max() - _TIE * len(unit)))


def profile(vectors: NDArray[np.float32], how: Profile) -> tuple[NDArray[np.float32], int | None]:
    """One vector for several images.

    Args:
        vectors: (n, d) float32, n >= 1, not normalised, in the order of the images' ids.
        how: `mean` of the unit vectors, or the `medoid`: the image with the highest mean cosine to the others.

    Returns:
        (d,) float32, and the medoid's row, None for a mean.

    Raises:
        UnknownNameError: If `how` is neither.
    """
    if how not in PROFILES:
        raise UnknownNameError("profile", how, PROFILES)
    unit = normalize(vectors)
    if how == "mean":
        return unit.astype(np.float64).mean(axis=0).astype(np.float32), None
    row = medoid(unit)
    return unit[row], row


def by_protein(view: View, how: Profile = "mean") -> View:
    """One row a protein: the profile of its images, their localizations joined, how many they are.

    Images without a protein are left out. A protein of several data sets is one protein.

    Args:
        view: FOVs or cells.
        how: As `profile`.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, protein in enumerate(view.column("protein")):
        if protein is not None:
            rows_of[protein].append(row)
    ids, localizations, datasets = view.ids, view.localizations, view.column("dataset")
    proteins = sorted(rows_of)
    vectors = np.zeros((len(proteins), view.vectors.shape[1]), dtype=np.float32)
    rows: list[dict[str, Any]] = []
    for i, protein in enumerate(proteins):
        mine = rows_of[protein]
        vectors[i], typical = profile(view.vectors[mine], how)
        joined: frozenset[str] = frozenset().union(*(localizations[r] for r in mine))
        rows.append(
            {
                "id": protein,
                "dataset": "+".join(sorted({datasets[r] for r in mine})),
                "protein": protein,
                "localizations": sorted(joined),
                "n_images": len(mine),
                "medoid": None if typical is None else ids[mine[typical]],
            }
        )
    return View("protein", pa.Table.from_pylist(rows, schema=_SCHEMA), vectors)

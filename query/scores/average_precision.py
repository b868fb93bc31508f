"""Do images of a protein find each other before those of other proteins? Mean average precision, by copairs. Pure.

copairs (an optional extra) is the convention of image-based profiling: Kalinin et al. 2025, Nat. Commun. 16, 5181. Its
version is pinned to 0.5: 0.6 draws its p values from another null model.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.search.unit import norms

__all__ = ["DEFINITIONS", "MAX_IMAGES", "N_NULL", "AveragePrecision", "check_copairs", "mean_average_precision"]

MAX_IMAGES = 8000
"""More are refused: copairs holds all pairs in memory, 1.8 GB for 6,000 images."""

N_NULL = 10_000
"""Random rankings of a null distribution."""

DEFINITIONS = {
    "map": "mean over the protein's images of the average precision of the ranking, by cosine, of its images of other "
    "fields among the images of all other proteins; ties count for the protein (copairs 0.5)",
    "map_normalized": "mean over the same images of (AP - e) / (1 - e), e being the expected AP of a random ranking: 0 "
    "for chance, 1 for perfect, whatever the numbers of images",
    "map_p": f"(1 + random rankings with a higher map) / (1 + {N_NULL}), drawn independently for the protein's images. "
    "It says that they resemble each other, not why: images of a protein often share plate and day, too",
    "map_p_fdr": "map_p after Benjamini and Hochberg's correction over the proteins",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """Of one protein; `DEFINITIONS` says what each number is."""

    map: float
    map_normalized: float
    map_p: float
    map_p_fdr: float

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)


def check_copairs() -> None:
    """See that copairs is there.

    Raises:
        InputError: If it is not; the message names the extra.
    """
    if find_spec("copairs") is None:
        message = "mean average precision needs copairs: pip install 'locatlas[copairs]'"
        raise InputError(message)


def mean_average_precision(
    vectors: NDArray[Any],
    proteins: Sequence[str | None],
    fovs: Sequence[str | None],
    *,
    n_null: int = N_NULL,
    seed: int = 0,
) -> dict[str, AveragePrecision]:
    """Mean average precision of each protein, with p.

    Images without a protein or a known field, and zero vectors, take no part.

    Args:
        vectors: One row an image, (n, d), not normalised.
        proteins: Of each image; None is unknown.
        fovs: Field of each image: two images of one field are no pair.
        n_null: Random rankings.
        seed: Of these.

    Returns:
        By protein, those that have images of two fields; empty where none has, or where there is only one protein.

    Raises:
        InputError: If copairs is not installed, or there are more than `MAX_IMAGES` images.
    """
    check_copairs()
    known = [protein is not None and fov is not None for protein, fov in zip(proteins, fovs, strict=True)]
    at = np.flatnonzero(np.array(known, dtype=np.bool_) & (norms(vectors) > 0))
    if len(at) > MAX_IMAGES:
        message = (
            f"mean average precision of {len(at)} images: all pairs are held in memory, at most {MAX_IMAGES}; "
            "--where takes a part of them"
        )
        raise InputError(message)
    pairs = {(proteins[row], fovs[row]) for row in at.tolist()}
    n_proteins = len({protein for protein, _ in pairs})
    if len(pairs) == n_proteins or n_proteins < 2:
        return {}
    own_proteins, own_fovs = ([str(names[row]) for row in at.tolist()] for names in (proteins, fovs))
    return _by_copairs(vectors[at], own_proteins, own_fovs, n_null, seed)


def _by_copairs(
    vectors: NDArray[Any], proteins: list[str], fovs: list[str], n_null: int, seed: int
) -> dict[str, AveragePrecision]:
    import pandas as pd
    from copairs import map as copairs_map

    of = copairs_map.average_precision(
        pd.DataFrame({"protein": proteins, "fov": fovs}),
        np.asarray(vectors, np.float32),
        pos_sameby=["protein"],
        pos_diffby=["fov"],
        neg_sameby=[],
        neg_diffby=["protein"],
        progress_bar=False,
    )
    # by default null distributions are kept in the home folder under names without their seed: p would depend on the
    # runs before
    with tempfile.TemporaryDirectory(prefix="locatlas-copairs-") as cache:
        found = copairs_map.mean_average_precision(
            of, sameby=["protein"], null_size=n_null, threshold=0.05, seed=seed, progress_bar=False, cache_dir=cache
        )
    return {
        str(row.protein): AveragePrecision(
            map=float(row.mean_average_precision),
            map_normalized=float(row.mean_normalized_average_precision),
            map_p=float(row.p_value),
            map_p_fdr=float(row.corrected_p_value),
        )
        for row in found.itertuples()
    }

"""Whether images of one protein resemble each other more than those of other proteins do. Pure; numpy only.

Cosines are made in float64 and rounded to 9 decimals, so that equal pairs tie whatever the order of summation. No more
than a tile of them is held at once, beside the cosines within proteins; above stated numbers of pairs, images are drawn
at random, which the result says.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.scores.similarity import Similarity, Tally
from locatlas.query.search.exclude import encode_names
from locatlas.query.search.unit import Prepared, prepare

__all__ = ["MAX_BETWEEN", "MAX_WITHIN", "Cohesion", "Comparable", "cohesion", "cohesion_among"]

MAX_BETWEEN = 1 << 26
"""Pairs of images of different proteins up to which all are taken: 8,000 images among each other."""

MAX_WITHIN = 1 << 22
"""Pairs of images of one protein, over all proteins, up to which all are taken; they are held in memory (32 MiB)."""

_BLOCK = 512  # rows and
_TILE = 4096  # columns of one tile: 16 MiB of float64
_DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohesion:
    """Similarities of proteins.

    Attributes:
        of: By protein, sorted by name.
        overall: All pairs within against all pairs between. Proteins with many images weigh more.
        n_unknown_fov: Images whose field is unknown: they are in no pair within.
        n_drawn: Images of others that pairs between were taken with, where not all were; drawn at random.
        n_own: Images up to which those of a protein were taken, where some have more; the others were drawn.
        seed: Of what was drawn.
    """

    of: dict[str, Similarity]
    overall: Similarity
    n_unknown_fov: int
    n_drawn: int | None
    n_own: int | None
    seed: int

    def notes(self) -> list[str]:
        """What a reader must know."""
        notes = []
        if self.n_unknown_fov:
            notes.append(f"the field of {self.n_unknown_fov} images is unknown: they are in no pair within")
        if self.n_own is not None:
            notes.append(f"of a protein at most {self.n_own} images are compared, drawn at random (seed {self.seed})")
        if self.n_drawn is not None:
            notes.append(
                f"pairs between are with {self.n_drawn} images of all proteins, drawn at random (seed {self.seed})"
            )
        return notes


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """Images sorted by protein; -1 for an unknown field or plate."""

    searched: Prepared
    rows: NDArray[np.int64]  # of the vectors, which are not copied
    proteins: NDArray[np.int64]
    fovs: NDArray[np.int64]
    plates: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.proteins)

    def take(self, rows: NDArray[np.int64]) -> "_Images":
        return _Images(self.searched, *(getattr(self, name)[rows] for name in ("rows", "proteins", "fovs", "plates")))

    def cosines(self, rows: slice, others: "_Images", columns: slice) -> NDArray[np.float64]:
        """Rounded, (rows, columns)."""
        product = self._unit(rows) @ others._unit(columns).T
        return np.round(product, _DECIMALS, out=product)

    def _unit(self, rows: slice) -> NDArray[np.float64]:
        at = self.rows[rows]
        return self.searched.vectors[at] / self.searched.lengths[at, None]


@dataclass(frozen=True, slots=True, eq=False)
class Comparable:
    """Images whose names are in order once for many comparisons, which takes longer than one of them.

    Attributes:
        images: Those with protein and direction, sorted by protein.
        names: Of the proteins, sorted.
        counts: Images of each.
        with_plates: Whether plates are known.
    """

    images: _Images
    names: list[str]
    counts: list[int]
    with_plates: bool

    @classmethod
    def of(
        cls,
        vectors: NDArray[np.float32] | Prepared,
        proteins: Sequence[str | None],
        fovs: Sequence[str | None],
        plates: Sequence[str | None] | None = None,
    ) -> "Comparable":
        """As `cohesion` takes them.

        Raises:
            InputError: If lengths differ, or vectors are not finite.
        """
        return cls(*_usable(vectors, proteins, fovs, plates), plates is not None)


def cohesion(
    vectors: NDArray[np.float32] | Prepared,
    proteins: Sequence[str | None],
    fovs: Sequence[str | None],
    *,
    plates: Sequence[str | None] | None = None,
    of: Collection[str] | None = None,
    max_between: int = MAX_BETWEEN,
    max_within: int = MAX_WITHIN,
    seed: int = 0,
) -> Cohesion:
    """Compare pairs of images within proteins with pairs between proteins.

    Args:
        vectors: (n, d), not normalised; zero vectors take no part. `unit.prepare` them to ask often.
        proteins: Of each image; those without take no part.
        fovs: Field of each image; None is unknown, and not known to differ from any other.
        plates: Plate of each image, to tell how many pairs share one; None leaves this out.
        of: Proteins to look at; None for all. They are compared with the images of all others.
        max_between: Pairs between up to which all are taken; above, images to compare with are drawn.
        max_within: Pairs within up to which all are taken; above, at most so many images of each protein are drawn
            that they are as many.
        seed: Of the draws.

    Raises:
        InputError: If lengths differ, or vectors are not finite.
    """
    among = Comparable.of(vectors, proteins, fovs, plates)
    return cohesion_among(among, of=of, max_between=max_between, max_within=max_within, seed=seed)


def cohesion_among(
    among: Comparable,
    *,
    of: Collection[str] | None = None,
    max_between: int = MAX_BETWEEN,
    max_within: int = MAX_WITHIN,
    seed: int = 0,
) -> Cohesion:
    """What `cohesion` gives, of images that were put in order before."""
    images, names, counts = among.images, among.names, among.counts
    rng = np.random.default_rng(seed)
    codes = [code for code, name in enumerate(names) if of is None or name in of]
    own = images if of is None else images.take(np.flatnonzero(np.isin(images.proteins, codes)))
    own, n_own = _draw_own(own, max_within, rng)
    others, n_drawn = images, None
    if len(own) and len(own) * len(images) > max_between:
        n_drawn = max(1, max_between // len(own))
        others = images.take(np.sort(rng.choice(len(images), n_drawn, replace=False)))
    starts = np.searchsorted(own.proteins, np.arange(len(names) + 1)).tolist()
    tallies = {
        code: Tally(*_within(own, slice(starts[code], starts[code + 1])), n_images=counts[code]) for code in codes
    }
    overall = Tally.over(tallies.values())
    _between(own, others, tallies, overall)
    return Cohesion(
        of={names[code]: tally.similarity(with_plates=among.with_plates) for code, tally in tallies.items()},
        overall=overall.similarity(with_plates=among.with_plates),
        n_unknown_fov=int((own.fovs < 0).sum()),
        n_drawn=n_drawn,
        n_own=n_own,
        seed=seed,
    )


def _usable(
    vectors: NDArray[np.float32] | Prepared,
    proteins: Sequence[str | None],
    fovs: Sequence[str | None],
    plates: Sequence[str | None] | None,
) -> tuple[_Images, list[str], list[int]]:
    """Images with protein and direction sorted by protein, the proteins' names, and how many images each has."""
    array = prepare(vectors)
    plates = [None] * len(array) if plates is None else plates
    for what, values in (("proteins", proteins), ("fovs", fovs), ("plates", plates)):
        if len(values) != len(array):
            message = f"{len(values)} {what} for {len(array)} vectors: one a vector needed"
            raise InputError(message)
    names = sorted({name for name in proteins if name})
    codes = encode_names([*names, *proteins])[0][len(names) :]
    rows = np.flatnonzero((codes >= 0) & (array.lengths > 0))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    all_of = _Images(array, rows, codes[rows], encode_names(fovs)[0][rows], encode_names(plates)[0][rows])
    return all_of, names, np.bincount(codes[rows], minlength=len(names)).tolist()


def _draw_own(own: _Images, max_within: int, rng: np.random.Generator) -> tuple[_Images, int | None]:
    """At most so many images of each protein that the pairs within are at most `max_within`, and this number."""
    _, start, sizes = np.unique(own.proteins, return_index=True, return_counts=True)
    pairs = sizes * (sizes - 1) // 2
    if int(pairs.sum()) <= max_within:
        return own, None
    most = max(2, int(np.sqrt(2 * max_within / len(sizes))))
    kept = [
        first + (np.sort(rng.choice(size, most, replace=False)) if size > most else np.arange(size))
        for first, size in zip(start.tolist(), sizes.tolist(), strict=True)
    ]
    return own.take(np.concatenate(kept)), most


def _within(own: _Images, rows: slice) -> tuple[NDArray[np.float64], int]:
    """Sorted cosines over pairs of different fields, and how many of the pairs are of one plate."""
    parts, n_same = [np.empty(0)], 0
    for low in range(rows.start, rows.stop, _BLOCK):
        block = slice(low, min(low + _BLOCK, rows.stop))
        fovs, plates = own.fovs[block, None], own.plates[block, None]
        later = np.arange(low, rows.stop)[None, :] > np.arange(block.start, block.stop)[:, None]
        columns = slice(low, rows.stop)
        pairs = later & (fovs >= 0) & (own.fovs[columns] >= 0) & (fovs != own.fovs[columns])
        n_same += int((pairs & (plates >= 0) & (plates == own.plates[columns])).sum())
        if pairs.any():
            parts.append(own.cosines(block, own, columns)[pairs])
    return np.sort(np.concatenate(parts)), n_same


def _between(own: _Images, others: _Images, tallies: dict[int, Tally], overall: Tally) -> None:
    """Add all pairs of own images with images of other proteins to the tallies."""
    for low in range(0, len(own), _BLOCK):
        block = slice(low, min(low + _BLOCK, len(own)))
        here, first = np.unique(own.proteins[block], return_index=True)
        edges = [*first.tolist(), block.stop - low]
        for left in range(0, len(others), _TILE):
            columns = slice(left, min(left + _TILE, len(others)))
            tile = own.cosines(block, others, columns)
            theirs = others.proteins[columns]
            plates = own.plates[block, None]
            same = (plates >= 0) & (plates == others.plates[columns]) & (own.proteins[block, None] != theirs)
            for code, start, stop in zip(here.tolist(), edges[:-1], edges[1:], strict=True):
                mine = slice(*np.searchsorted(theirs, [code, code + 1]).tolist())
                part = tile[start:stop]
                values = np.concatenate([part[:, : mine.start].ravel(), part[:, mine.stop :].ravel()])
                values.sort()
                for tally in (tallies[code], overall):
                    tally.add(values, int(same[start:stop].sum()))

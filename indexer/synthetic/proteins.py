"""Made-up proteins: names, labels with grades, and how each one's pattern looks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from locatlas.indexer.synthetic.classes import CLASSES, PatternClass, class_by_label
from locatlas.indexer.synthetic.traits import Traits

__all__ = ["Component", "Protein", "make_proteins"]


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a protein's light.

    Attributes:
        label: Pattern that it is drawn with.
        share: Part of the light; the shares of a protein sum to 1.
        grade: OpenCell's grade: 3 very prominent, 2 unambiguous but less prominent, 1 weak; 0 where not annotated.
        traits: How the pattern looks in this protein.
    """

    label: str
    share: float
    grade: int
    traits: Traits


@dataclass(frozen=True, slots=True)
class Protein:
    """One made-up protein.

    Attributes:
        number: 100 for each class of the table plus the place in the class; unique.
        gene: Symbol that no real gene has.
        ensembl_id: Id outside the ranges in use.
        cell_line_id: OpenCell's CID, e.g. "CID990101".
        antibody: Number of the made-up HPA antibody.
        hpa_locations: HPA's names, main location first.
        brightness: Mean photons per pixel in cells.
        cell_sd: SD of the log brightness between cells.
        dim_cells: Share of cells with little of it.
        components: What is drawn, the main class first.
    """

    number: int
    gene: str
    ensembl_id: str
    cell_line_id: str
    antibody: int
    hpa_locations: tuple[str, ...]
    brightness: float
    cell_sd: float
    dim_cells: float
    components: tuple[Component, ...]

    def graded(self, grade: int) -> tuple[str, ...]:
        """Labels of one grade, in the order drawn."""
        return tuple(part.label for part in self.components if part.grade == grade)


def make_proteins(classes: Sequence[PatternClass], per_class: int, seed: int) -> list[Protein]:
    """Make proteins, class by class; each depends only on the seed, its class and its place within the class.

    The first of a class has one localization. The second has a further one of grade 2 or 1. The third has two of
    grade 3 in every third class. Then the same again.

    Args:
        classes: Entries of `CLASSES`.
        per_class: At most 99, as names have two digits for it.
        seed: Of everything random.
    """
    proteins = []
    for main in classes:
        class_number = CLASSES.index(main)
        for place in range(per_class):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, class_number, place)))
            proteins.append(_make_one(main, class_number, place, rng))
    return proteins


def _make_one(main: PatternClass, class_number: int, place: int, rng: np.random.Generator) -> Protein:
    traits = _traits(rng, kind=_kind(main, place, rng))
    share = rng.uniform(*main.share)
    companion = class_by_label(main.companions[int(rng.integers(len(main.companions)))])
    extra = 0.0
    grade = 0
    if place % 3 == 2 and class_number % 3 == 1:
        extra, grade = rng.uniform(0.4, 0.5), 3
    elif place % 3 == 1:
        grade = int(rng.integers(1, 3))
        extra = rng.uniform(0.18, 0.28) if grade == 2 else rng.uniform(0.06, 0.12)
    parts = [Component(main.label, share * (1 - extra), 3, traits)]
    if grade:
        own = rng.uniform(*companion.share)
        parts.append(Component(companion.label, own * extra, grade, _traits(rng, kind=float(rng.random()))))
        rest = (1 - share) * (1 - extra) + (1 - own) * extra
    else:
        rest = 1 - share
    nuclear, cytoplasmic = (rest * weight for weight in main.diffuse)
    parts.append(Component("nucleoplasm", nuclear, 0, _traits(rng, kind=0.5)))
    parts.append(Component("cytoplasmic", cytoplasmic, 0, _traits(rng, kind=float(rng.uniform(0.2, 0.8)))))
    locations = (main.hpa[place % len(main.hpa)], *((companion.hpa[0],) if grade >= 2 else ()))
    number = 100 * (class_number + 1) + place + 1
    return Protein(
        number=number,
        gene=f"SYNX-{number:04d}",
        ensembl_id=f"ENSG99{number:09d}",
        cell_line_id=f"CID99{number:04d}",
        antibody=900_000 + number,
        hpa_locations=locations,
        brightness=float(np.exp(rng.normal(np.log(70), 0.8))),
        cell_sd=float(rng.uniform(0.15, 0.42)),
        dim_cells=float(rng.choice([0.02, 0.08, 0.25], p=[0.5, 0.35, 0.15])),
        components=tuple(parts),
    )


def _traits(rng: np.random.Generator, *, kind: float) -> Traits:
    size, count, contrast = (float(value) for value in rng.random(3))
    return Traits(size=size, count=count, contrast=contrast, kind=kind)


def _kind(main: PatternClass, place: int, rng: np.random.Generator) -> float:
    """Varieties with an HPA name of their own follow the name: thirds of [0, 1] for three names."""
    varieties = len(main.hpa)
    return float((place % varieties + rng.random()) / varieties)

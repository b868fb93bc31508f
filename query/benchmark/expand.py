"""A grid as encoders to be had and cells to be measured; what makes no sense is left out and counted. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from locatlas.models.channels import slot_permutation
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.grid import EncoderEntry, Grid

__all__ = ["Meant", "Variant", "cells_of", "variants_of"]


@dataclass(frozen=True, slots=True)
class Meant:
    """What the name of an entry means at one level of an atlas.

    Attributes:
        name: As results have it.
        imported: Whether its vectors were made elsewhere, so that they have no channel plan.
        slots: Inputs of its network; () where they are not known.
    """

    name: str
    imported: bool = False
    slots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One encoder with one plan at one level.

    Attributes:
        name: As the grid has it; for `current`, the name of the atlas' own.
        mapping: Channel plan; None for vectors that were imported.
        mapping_seed: Of `random`.
        passes: `joint` or `separate`; None for vectors that were imported.
        stains: Channels that are used; () for all.
        level: "fov", "cell" or "protein".
    """

    name: str
    mapping: str | None
    mapping_seed: int | None
    passes: str | None
    stains: tuple[str, ...]
    level: str

    def __str__(self) -> str:
        if self.mapping is None:
            return f"{self.name}, imported, level {self.level}"
        seed = "" if self.mapping_seed is None else f" {self.mapping_seed}"
        of = f", {'+'.join(self.stains)} only" if self.stains else ""
        return f"{self.name}, {self.mapping}{seed}, {self.passes}{of}, level {self.level}"


def variants_of(grid: Grid, meant: Mapping[tuple[str, str], Meant] | None = None) -> tuple[list[Variant], Counter[str]]:
    """All encoders with all their plans at all levels, and why how many are left out.

    Args:
        grid: What is asked for.
        meant: What names mean, by name and level; one that is not there means an encoder of that name.
    """
    found: list[Variant] = []
    left_out: Counter[str] = Counter()
    for entry, level in itertools.product(grid.encoders, grid.levels):
        known = (meant or {}).get((entry.name, level), Meant(entry.name))
        if known.imported:
            found.append(Variant(name=known.name, mapping=None, mapping_seed=None, passes=None, stains=(), level=level))
            if more := len(entry.mappings) * len(entry.passes) - 1:
                left_out["imported vectors have no channel plan: they are measured once"] += more
            continue
        for mapping, passes in itertools.product(entry.mappings, entry.passes):
            if mapping == "replicate" and passes == "joint":
                left_out["mapping replicate has no joint pass: each channel takes all slots"] += 1
                continue
            plan = {"mapping": mapping, "passes": passes, "stains": entry.stains, "level": level}
            seeds, repeated = _seeds(entry, mapping, known.slots)
            if repeated:
                left_out["the order of a random plan is that of another seed"] += repeated
            found += [Variant(name=known.name, mapping_seed=seed, **plan) for seed in seeds]  # type: ignore[arg-type]
    return list(dict.fromkeys(found)), left_out


def _seeds(entry: EncoderEntry, mapping: str, slots: Sequence[str]) -> tuple[tuple[int | None, ...], int]:
    """Seeds whose orders of the slots differ, the first of each, and how many there are besides."""
    if mapping != "random":
        return (None,), 0
    if not slots:
        return entry.mapping_seeds, 0
    first = {slot_permutation(slots, seed): seed for seed in reversed(entry.mapping_seeds)}
    kept = tuple(seed for seed in entry.mapping_seeds if seed in first.values())
    return kept, len(entry.mapping_seeds) - len(kept)


def cells_of(grid: Grid, variant: Variant) -> tuple[list[Cell], Counter[str]]:
    """The cells of one variant, and why how many combinations are left out."""
    found: list[Cell] = []
    left_out: Counter[str] = Counter()
    axes = (grid.labels, grid.protocols, grid.objectives, grid.classifiers, grid.fractions, grid.seeds)
    for labels, protocol, objective, classifier, fraction, seed in itertools.product(*axes):
        why = _nonsense(variant, protocol, objective, classifier, fraction)
        if why is not None:
            left_out[why] += 1
            continue
        nothing_random = classifier == "knn" and protocol in ("protein-out", "transfer")
        for k, votes in _of_neighbors(grid, classifier):
            found.append(
                Cell(
                    encoder=variant.name,
                    mapping=variant.mapping,
                    mapping_seed=variant.mapping_seed,
                    passes=variant.passes,
                    stains=variant.stains,
                    level=variant.level,
                    labels=labels,  # type: ignore[arg-type]
                    protocol=protocol,  # type: ignore[arg-type]
                    objective=objective,  # type: ignore[arg-type]
                    classifier=classifier,  # type: ignore[arg-type]
                    k=k,
                    votes=votes,
                    fraction=fraction,
                    seed=0 if nothing_random else seed,
                    settings=_settings(grid),
                )
            )
    return list(dict.fromkeys(found)), left_out


def _of_neighbors(grid: Grid, classifier: str) -> Iterator[tuple[int | None, str | None]]:
    if classifier == "knn":
        yield from itertools.product(grid.ks, grid.votes)
    else:
        yield None, None


def _nonsense(variant: Variant, protocol: str, objective: str, classifier: str, fraction: float) -> str | None:
    """Why a combination is not measured, None if it is."""
    if objective != "frozen" and variant.mapping is None:
        return "imported vectors have no encoder that could be fine-tuned"
    if objective != "frozen" and protocol != "protein-holdout":
        return f"{objective} encoders are judged on proteins that they never saw: protocol protein-holdout only"
    if protocol == "protein-out" and classifier != "knn":
        return "heads would be trained once a protein with protein-out: k-NN only"
    if fraction != 1 and (protocol == "transfer" or (classifier == "knn" and protocol != "protein-holdout")):
        return f"{classifier} has no fraction of references with {protocol}"
    return None


def _settings(grid: Grid) -> tuple[tuple[str, object], ...]:
    """As `Cell.settings`, with those of fine-tuning under `finetune.`."""
    said: dict[str, object] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in grid.settings.items()
    }
    if set(grid.objectives) != {"frozen"}:
        said |= {f"finetune.{name}": value for name, value in grid.finetune.items()}
    return tuple(sorted(said.items()))

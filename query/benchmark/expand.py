"""A grid as encoders to be had and cells to be measured; what makes no sense is left out and counted. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.grid import EncoderEntry, Grid

__all__ = ["Variant", "cells_of", "variants_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One encoder with one plan at one level.

    Attributes:
        name: As the grid has it.
        mapping: Channel plan.
        mapping_seed: Of `random`.
        passes: `joint` or `separate`.
        stains: Channels that are used; () for all.
        level: "fov", "cell" or "protein".
    """

    name: str
    mapping: str
    mapping_seed: int | None
    passes: str
    stains: tuple[str, ...]
    level: str

    def __str__(self) -> str:
        seed = "" if self.mapping_seed is None else f" {self.mapping_seed}"
        of = f", {'+'.join(self.stains)} only" if self.stains else ""
        return f"{self.name}, {self.mapping}{seed}, {self.passes}{of}, level {self.level}"


def variants_of(grid: Grid) -> tuple[list[Variant], Counter[str]]:
    """All encoders with all their plans at all levels, and why how many are left out."""
    found: list[Variant] = []
    left_out: Counter[str] = Counter()
    for entry, level in itertools.product(grid.encoders, grid.levels):
        for mapping, passes in itertools.product(entry.mappings, entry.passes):
            if mapping == "replicate" and passes == "joint":
                left_out["mapping replicate has no joint pass: each channel takes all slots"] += 1
                continue
            plan = {"mapping": mapping, "passes": passes, "stains": entry.stains, "level": level}
            found += [Variant(name=entry.name, mapping_seed=seed, **plan) for seed in _seeds(entry, mapping)]  # type: ignore[arg-type]
    return list(dict.fromkeys(found)), left_out


def _seeds(entry: EncoderEntry, mapping: str) -> tuple[int | None, ...]:
    return entry.mapping_seeds if mapping == "random" else (None,)


def cells_of(grid: Grid, variant: Variant) -> tuple[list[Cell], Counter[str]]:
    """The cells of one variant, and why how many combinations are left out."""
    found: list[Cell] = []
    left_out: Counter[str] = Counter()
    axes = (grid.labels, grid.protocols, grid.objectives, grid.classifiers, grid.fractions, grid.seeds)
    for labels, protocol, objective, classifier, fraction, seed in itertools.product(*axes):
        why = _nonsense(protocol, objective, classifier, fraction)
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


def _nonsense(protocol: str, objective: str, classifier: str, fraction: float) -> str | None:
    """Why a combination is not measured, None if it is."""
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
        name: ",".join(value) if isinstance(value, list) else value for name, value in grid.settings.items()
    }
    if set(grid.objectives) != {"frozen"}:
        said |= {f"finetune.{name}": value for name, value in grid.finetune.items()}
    return tuple(sorted(said.items()))

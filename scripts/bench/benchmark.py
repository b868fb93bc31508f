"""What do the cells of a grid cost beside the searches that they share? It has to be less than the searches themselves.

    python scripts/bench/benchmark.py                    # 200 cells over 20,000 x 384: a minute or two
    python scripts/bench/benchmark.py --n 4000 --d 64    # seconds
    python scripts/bench/benchmark.py --profile          # where the time goes, instead

Made vectors as in `sweep.py`. The cells are nearest neighbors at ten k with two rules of voting: leave one protein out,
and folds by protein and by field, some seeds each. The rival does only the distinct searches, at the largest k, on rows
that were chosen before. Both take turns, round by round, so that a busy machine slows both; the ratio is that of the
medians. Macro F1 of the cells that one sweep has too must be the sweep's, or the script fails.

A second grid asks the most of what is not a search: as many cells of a single search.
"""

import argparse
import cProfile
import itertools
import json
import os
import platform
import pstats
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sweep import clustered

from locatlas.query.benchmark.arena import Arena
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.score import score_cells
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.splits import Split, make_split
from locatlas.query.search.within import search_within
from locatlas.query.sweep.every_k import sweep

KS = (1, 2, 3, 5, 10, 15, 20, 30, 50, 100)
VOTES = ("uniform", "softmax")


def made_arena(n: int, d: int, n_proteins: int, seed: int) -> Arena:
    """Rows of made proteins, about four a field."""
    vectors, protein, localization = clustered(n, d, n_proteins, seed)
    proteins = [f"P{p:05}" for p in protein]
    turn = np.random.default_rng(seed).integers(0, max(n // n_proteins // 4, 2), n)
    return Arena(
        level="cell",
        fingerprint="0" * 64,
        ids=[f"row{i:06}" for i in range(n)],
        vectors=vectors,
        labels=[frozenset({f"class{c:02}"}) for c in localization],
        groups=proteins,
        fovs=[f"{name}.{t}" for name, t in zip(proteins, turn.tolist(), strict=True)],
        datasets=["made"] * n,
        proteins=proteins,
        ensembl_ids=[None] * n,
        graded=[{}] * n,
        seen=np.zeros(n, dtype=np.bool_),
    )


def cells_of(splits: Sequence[tuple[str, int]], ks: Sequence[int], votes: Sequence[str]) -> list[Cell]:
    """All k and rules of voting under each (protocol, seed)."""
    common: dict[str, Any] = {
        "encoder": "made", "mapping": None, "mapping_seed": None, "passes": None, "level": "cell",
    }  # fmt: skip
    return [
        Cell(**common, protocol=protocol, seed=seed, k=k, votes=rule)  # type: ignore[arg-type]
        for (protocol, seed), k, rule in itertools.product(splits, ks, votes)
    ]


def grids(n_seeds: int) -> dict[str, list[Cell]]:
    """By name: the grid of many searches, and as many cells of one."""
    splits = [("protein-out", 0), *(("protein-kfold", s) for s in range(n_seeds))]
    splits += [("fov-kfold", s) for s in range(n_seeds + 1)]
    many = cells_of(splits, KS, VOTES)
    one = cells_of([("protein-kfold", 0)], range(1, len(many) // len(VOTES) + 1), VOTES)
    return {"many searches": many, "one search": one}


def searched(splits: Sequence[Split], k: int) -> None:
    """The searches alone."""
    for split in splits:
        search_within(split.rows.prepared, k=k, exclude=[split.blocks])


def distinct(arena: Arena, cells: Sequence[Cell]) -> list[Split]:
    """The splits that differ."""
    first = {(cell.protocol, cell.seed): cell for cell in reversed(cells)}
    return [make_split(arena, cell) for cell in first.values()]


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the clock, of all cores together, and what was made."""
    clock, cores = time.perf_counter(), time.process_time()
    made = work()
    return time.perf_counter() - clock, time.process_time() - cores, made


def agrees(arena: Arena, found: Sequence[Scored]) -> bool:
    """Whether cells of the first seed's folds by protein are those of a sweep."""
    mine = {
        one.cell.k: one.macro_f1
        for one in found
        if (one.cell.protocol, one.cell.seed, one.cell.votes) == ("protein-kfold", 0, "uniform")
    }
    ks = sorted(k for k in mine if k is not None)
    told = sweep(
        arena.vectors, arena.labels, arena.groups, arena.ids, ks=ks, protocol="kfold", folds=5, seed=0, n_bootstrap=0
    )
    return all(mine[one.k] == one.macro_f1 for one in told.results)


def measured(arena: Arena, cells: Sequence[Cell], rounds: int) -> dict[str, Any]:
    """Both in turns; seconds of each and the ratio of the medians."""
    splits, k = distinct(arena, cells), max(int(cell.k or 0) for cell in cells)
    spent: dict[str, list[tuple[float, float]]] = {"cells": [], "searches": []}
    found: list[Any] = []
    for number in range(rounds):
        for name in ("searches", "cells") if number % 2 == 0 else ("cells", "searches"):
            clock, cores, made = timed(
                (lambda: list(score_cells(arena, cells))) if name == "cells" else (lambda: searched(splits, k))
            )
            spent[name].append((clock, cores))
            found = made or found
            print(f"round {number + 1}: {name}: {clock:.2f} s, {cores:.2f} core s", file=sys.stderr)
    middle = {name: [statistics.median(part) for part in zip(*all_, strict=True)] for name, all_ in spent.items()}
    return {
        "cells": len(cells),
        "scored": len(found),
        "searches": len(splits),
        "seconds": spent,
        "median_s": {name: both[0] for name, both in middle.items()},
        "ratio": middle["cells"][0] / middle["searches"][0],
        "core_ratio": middle["cells"][1] / middle["searches"][1],
        "agrees_with_sweep": agrees(arena, found),
    }


def profiled(arena: Arena, cells: Sequence[Cell]) -> None:
    """Print where the time of a grid goes."""
    with cProfile.Profile() as profile:
        list(score_cells(arena, cells))
    pstats.Stats(profile).sort_stats("cumulative").print_stats(30)


def main() -> int:
    """Measure and print; 1 if a grid takes twice its searches, or disagrees with the sweep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--proteins", type=int, default=1300)
    parser.add_argument("--seeds", type=int, default=4, help="of folds by protein; one more of those by field")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="tell where the time goes instead")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asked = parser.parse_args()
    arena = made_arena(asked.n, asked.d, min(asked.proteins, asked.n // 8), 0)
    table: dict[str, Any] = {}
    for name, cells in grids(asked.seeds).items():
        if asked.profile:
            print(name)
            profiled(arena, cells)
            continue
        one = table[name] = measured(arena, cells, asked.rounds)
        print(
            f"{name}: {one['scored']} of {one['cells']} cells, {one['searches']} searches: "
            f"{one['median_s']['cells']:.2f} s beside {one['median_s']['searches']:.2f} s for the searches alone, "
            f"x {one['ratio']:.2f} ({one['core_ratio']:.2f} in core seconds), "
            f"{'as' if one['agrees_with_sweep'] else 'NOT as'} the sweep"
        )
    if asked.json and table:
        document = {
            "benchmark": "benchmark",
            "settings": {name: value for name, value in vars(asked).items() if name not in ("json", "profile")},
            "machine": {
                "cores": os.cpu_count(),
                "processor": platform.processor(),
                "python": platform.python_version(),
            },
            "numpy": np.__version__,
            "grids": table,
        }
        asked.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(one["core_ratio"] >= 2 or not one["agrees_with_sweep"] for one in table.values()))


if __name__ == "__main__":
    sys.exit(main())

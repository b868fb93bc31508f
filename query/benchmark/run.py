"""Measure the cells of a grid on an atlas, those that were not measured yet, and gather all of them. I/O."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, LocatlasError, UnknownNameError
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.published.writing import writes
from locatlas.indexer.store.benchmarks import put_results, results
from locatlas.indexer.store.ledger import versions
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.shelf import Shelf
from locatlas.query.benchmark.arena import Arena
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.entries import meant_by
from locatlas.query.benchmark.expand import Meant, Variant, cells_of, variants_of
from locatlas.query.benchmark.grid import Grid, load_grid
from locatlas.query.benchmark.grid_checks import check_grid
from locatlas.query.benchmark.result import BenchmarkResult
from locatlas.query.benchmark.rows import from_row, to_row
from locatlas.query.benchmark.score import Skipped, score_cells
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.vectors import ensure_finetuned, ensure_vectors

__all__ = ["benchmark", "planned"]

COMMIT_CELLS = 50
"""Results a commit: what a killed run loses at most."""

Tell = Callable[[str], None]


def planned(
    grid: Grid, meant: Mapping[tuple[str, str], Meant] | None = None
) -> tuple[dict[Variant, list[Cell]], Counter[str]]:
    """What a grid measures, by encoder, and why how many combinations are left out.

    Args:
        grid: What is asked for.
        meant: What its names mean in an atlas, as `entries.meant_by`; without, imported vectors are not known as such.
    """
    variants, left_out = variants_of(grid, meant)
    found: dict[Variant, list[Cell]] = {}
    for variant in variants:
        found[variant], more = cells_of(grid, variant)
        left_out += more
    return found, left_out


@writes("benchmark")
def benchmark(
    *,
    atlas: str | Path,
    grid: str | Path | Grid,
    encoders: Sequence[str] = (),
    device: str = "cpu",
    n_bootstrap: int = 1000,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> BenchmarkResult:
    """Measure a grid on an atlas. What was measured before on the same images by the same encoder is not again.

    Vectors that are missing are made first, beside the current encoder, which stays current; results are written to the
    atlas as they come, so that a run that was killed goes on where it stood.

    Args:
        atlas: Atlas folder.
        grid: Name of one that comes with locatlas (`list_grids`), path of a TOML file, or a `Grid`.
        encoders: Names to measure in place of the grid's encoders, each with all of the grid's plans; `current` for the
            one that the atlas uses.
        device: Where searches and heads run; the searches' results are the same.
        n_bootstrap: Replicates of the intervals, drawn over groups.
        progress: Told of embedding and training.
        tell: Told in words what is done.

    Returns:
        All cells of the grid, with summaries over seeds and paired comparisons.

    Raises:
        UnknownNameError: If grid, encoder or column is unknown.
        InputError: If the grid or a setting makes no sense, or an encoder is not to be had.
        LeakageError: If an encoder was trained on what would be scored, and the grid does not allow it.
    """
    chosen = (grid if isinstance(grid, Grid) else load_grid(grid)).with_encoders(encoders)
    store = Store.open(Path(atlas))
    check_grid(chosen, f"grid {chosen.name}")
    meant = meant_by(store, chosen)
    work, left_out = planned(chosen, meant)
    run = _Run(store, chosen, device, progress, tell or (lambda _: None))
    for place, (variant, cells) in enumerate(work.items(), start=1):
        run.tell(f"encoder {place} of {len(work)}: {variant}, {len(cells)} cells")
        fingerprint = ensure_vectors(store, variant, progress=progress)
        frozen = [cell for cell in cells if cell.objective == "frozen"]
        arena = run.arena(variant.level, fingerprint)
        run.measure(arena, frozen, fingerprint)
        run.tuned(arena, [cell for cell in cells if cell.objective != "frozen"], fingerprint)
    left_out += run.skipped
    if not run.found:
        reasons = "; ".join(f"{n} cells: {why}" for why, n in left_out.items()) or "no combination makes sense"
        message = f"grid {chosen.name}: nothing could be measured: {reasons}"
        raise InputError(message)
    return BenchmarkResult.of(_named(chosen, meant), run.found, run.measured, left_out, n_bootstrap=n_bootstrap)


def _named(grid: Grid, meant: Mapping[tuple[str, str], Meant]) -> Grid:
    """The grid with its encoders under the names that its cells have."""
    both = itertools.product(grid.encoders, grid.levels)
    named = [replace(e, name=meant[e.name, level].name) if (e.name, level) in meant else e for e, level in both]
    return replace(grid, encoders=tuple(dict.fromkeys(named)))


@dataclass(eq=False)
class _Run:
    store: Store
    grid: Grid
    device: str
    progress: Progress | None
    tell: Tell
    found: list[Scored] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    measured: int = 0

    def __post_init__(self) -> None:
        self._shelf = Shelf(self.store)
        self._versions = versions()

    def arena(self, level: str, fingerprint: str) -> Arena:
        """The rows by one encoder. Vectors of encoders before are let go."""
        settings = self.grid.settings
        scope = Scope(
            level=level,
            encoder=fingerprint,
            where=tuple(settings.get("where", ())),
            map_labels=settings.get("map_labels"),
            label_source=settings.get("label_source", "inherited"),
        )
        self._shelf = Shelf(self.store)
        return Arena.of(self._shelf, scope, group=str(settings.get("group", "protein")))

    def measure(self, arena: Arena, cells: Sequence[Cell], key_fingerprint: str) -> None:
        """Score what is not known yet of some cells, and keep it."""
        keys = {cell: cell.id(key_fingerprint, arena.digest) for cell in cells}
        known = {row["id"]: row for row in results(self.store, list(keys.values())).to_pylist()}
        self.found += [from_row(known[key]) for key in keys.values() if key in known]
        todo = [cell for cell, key in keys.items() if key not in known]
        if not todo:
            return
        self.tell(f"{len(todo)} of {len(cells)} cells to measure")
        waiting: list[Scored] = []
        try:
            for one in score_cells(arena, todo, device=self.device, tell=self.tell):
                if isinstance(one, Skipped):
                    self.skipped[one.reason] += 1
                    continue
                waiting.append(one)
                if len(waiting) == COMMIT_CELLS:
                    self._commit(waiting, keys)
                    waiting = []
        except KeyboardInterrupt:
            self._commit(waiting, keys)  # some cells take minutes
            raise
        self._commit(waiting, keys)

    def _commit(self, waiting: Sequence[Scored], keys: dict[Cell, str]) -> None:
        if not waiting:
            return
        rows = [to_row(one, key=keys[one.cell], grid=self.grid.name, versions=self._versions) for one in waiting]
        with self.store.folder.writer("benchmark", brief=True, patient=True):
            put_results(self.store, rows)
        self.found += waiting
        self.measured += len(waiting)

    def tuned(self, arena: Arena, cells: Sequence[Cell], parent: str) -> None:
        """Cells of encoders that are trained for them: one training for all classifiers of a fraction and seed."""
        alike: defaultdict[tuple[Any, ...], list[Cell]] = defaultdict(list)
        for cell in cells:
            alike[cell.without("classifier", "k", "votes")].append(cell)
        for group in alike.values():
            keys = {cell.id(parent, arena.digest): cell for cell in group}
            known = {row["id"]: row for row in results(self.store, list(keys)).to_pylist()}
            self.found += [from_row(row) for row in known.values()]
            if len(known) == len(keys):
                continue
            one = group[0]
            self.tell(f"fine-tune: {one.objective}, fraction {one.fraction:g}, seed {one.seed}")
            try:
                fingerprint = ensure_finetuned(self.store, parent, one, progress=self.progress, tell=self.tell)
            except LocatlasError as error:
                message = f"{one.objective} fine-tuning at fraction {one.fraction:g}, seed {one.seed}: {error}"
                kind = InputError if isinstance(error, UnknownNameError) else type(error)  # which is not made of words
                raise kind(message) from error
            own = self.arena(one.level, fingerprint)
            # the key is that of the encoder it began from and of the rows as that one saw them
            todo = [cell for key, cell in keys.items() if key not in known]
            waiting = []
            for scored in score_cells(own, todo, device=self.device, tell=self.tell):
                if isinstance(scored, Skipped):
                    self.skipped[scored.reason] += 1
                else:
                    waiting.append(scored)
            self._commit(waiting, {cell: key for key, cell in keys.items()})

"""Make a whole collection: plan it, draw its fields in worker processes, write images and tables."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.synthetic.classes import CLASSES, PatternClass
from locatlas.indexer.synthetic.plan import FovJob, plan_fovs
from locatlas.indexer.synthetic.proteins import Protein, make_proteins

if TYPE_CHECKING:
    from locatlas.indexer.synthetic.files import CellBox

__all__ = ["CollectionSummary", "make_collection"]

_MOST = 99  # names have two digits for it
_SMALLEST_PX = 64  # below, a field may hold no whole cell


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """What was made.

    Attributes:
        opencell: Folder to index as data set `opencell`.
        hpa: Folder to index as data set `hpa`.
        proteins: All proteins, class by class.
        n_opencell_fovs: Fields with two channels.
        n_hpa_fovs: Fields with four.
        n_cells: Cells in all masks.
    """

    opencell: Path
    hpa: Path
    proteins: tuple[Protein, ...]
    n_opencell_fovs: int
    n_hpa_fovs: int
    n_cells: int


def make_collection(
    folder: Path,
    *,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    proteins_per_class: int = 4,
    fovs_per_protein: int = 2,
    hpa_proteins_per_class: int = 4,
    hpa_fovs_per_protein: int = 1,
    opencell_px: int = 600,
    hpa_px: int = 512,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CollectionSummary:
    """Write made images in the layouts of OpenCell and HPA, with tables, cell masks and a notice that they are made.

    The same arguments give the same bytes, whatever the number of workers, on the same versions of numpy, scipy,
    tifffile and pillow. A field depends only on the seed, its protein, its number and its size.

    The first `hpa_proteins_per_class` proteins of each class are in both sources.

    Args:
        folder: Where to write; made if missing. Files of the same names are replaced.
        seed: Of everything random.
        classes: OpenCell labels to draw; all by default.
        proteins_per_class: Proteins whose main localization is the class.
        fovs_per_protein: OpenCell fields of each.
        hpa_proteins_per_class: How many of them are stained in HPA too.
        hpa_fovs_per_protein: HPA fields of each of those.
        opencell_px: Edge of an OpenCell field in pixels of 0.2 um.
        hpa_px: Edge of an HPA field in pixels of 0.32 um.
        workers: Processes; by default as many as the machine offers, at most 8. 1 draws in this process. Workers are
            spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.
        progress: Called with (fields written, fields in all) after each.

    Raises:
        InputError: If the seed or a count is negative, a count is above 99, nothing would be made, or a field is
            smaller than 64 px.
        UnknownNameError: If a class does not exist.
    """
    counts = (proteins_per_class, fovs_per_protein, hpa_proteins_per_class, hpa_fovs_per_protein)
    if min(counts) < 0 or proteins_per_class == 0:
        message = f"counts of proteins and fields must not be negative, and there must be a protein per class: {counts}"
        raise InputError(message)
    if max(counts) > _MOST:
        message = f"at most {_MOST} proteins per class and fields per protein have names: {counts}"
        raise InputError(message)
    if seed < 0:
        message = f"the seed must not be negative: {seed}"
        raise InputError(message)
    if min(opencell_px, hpa_px) < _SMALLEST_PX:
        message = f"fields of {opencell_px} and {hpa_px} px: at least {_SMALLEST_PX} px are needed"
        raise InputError(message)
    proteins = make_proteins(_chosen(classes), proteins_per_class, seed)
    stained = frozenset(
        protein.gene for place, protein in enumerate(proteins) if place % proteins_per_class < hpa_proteins_per_class
    )
    jobs = plan_fovs(
        proteins,
        opencell_fovs=fovs_per_protein,
        opencell_px=opencell_px,
        hpa_proteins=stained,
        hpa_fovs=hpa_fovs_per_protein,
        hpa_px=hpa_px,
    )
    if not jobs:
        message = "no field of view to make: no class, or all counts of fields are 0"
        raise InputError(message)
    folder.mkdir(parents=True, exist_ok=True)
    cells: dict[FovJob, list[CellBox]] = {}
    for job, boxes in zip(jobs, _draw_all(folder, jobs, seed, workers), strict=True):
        cells[job] = boxes
        if progress is not None:
            progress(len(cells), len(jobs))

    from locatlas.indexer.synthetic.tables import write_tables  # needs scipy through the drawing modules

    write_tables(folder, jobs, cells, seed)
    return CollectionSummary(
        opencell=folder / "opencell",
        hpa=folder / "hpa",
        proteins=tuple(proteins),
        n_opencell_fovs=sum(job.source == "opencell" for job in jobs),
        n_hpa_fovs=sum(job.source == "hpa" for job in jobs),
        n_cells=sum(len(boxes) for boxes in cells.values()),
    )


def _chosen(labels: Sequence[str] | None) -> list[PatternClass]:
    """Classes in the order of the table, whatever the order of `labels`."""
    known = [entry.label for entry in CLASSES]
    for label in labels or ():
        if label not in known:
            raise UnknownNameError("localization class", label, known)
    return [entry for entry in CLASSES if labels is None or entry.label in labels]


def _draw_all(folder: Path, jobs: Sequence[FovJob], seed: int, workers: int | None) -> "Iterator[list[CellBox]]":
    """Write all fields, in the order of `jobs`."""
    from locatlas.indexer.synthetic.files import write_fov

    n_workers = min(workers or _usable_cores(), len(jobs))
    if n_workers <= 1:
        for job in jobs:
            yield write_fov(folder, job, seed)
        return
    # spawn: a forked child of a process that has loaded torch or lancedb may hang
    context = multiprocessing.get_context("spawn")
    # Ctrl-C goes to all processes of a terminal: the parent's alone is told
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=signal.signal, initargs=ignore) as pool:
        yield from pool.map(partial(_write_one, folder, seed), jobs, chunksize=4)


def _write_one(folder: Path, seed: int, job: FovJob) -> "list[CellBox]":
    from locatlas.indexer.synthetic.files import write_fov

    return write_fov(folder, job, seed)


def _usable_cores() -> int:
    """Cores this process may use, at most 8: past that, writing files is the limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 8)

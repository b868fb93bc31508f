"""Find the cells of fields of view: read and segment in threads, commit fields and cells in chunks. I/O."""

import os
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import ImageRejectedError
from locatlas.indexer import allocator
from locatlas.indexer.cells.given import GivenCells
from locatlas.indexer.cells.plan import GIVEN, CellPlan, CellRequest, FieldWork
from locatlas.indexer.cells.provenance import cells_digest
from locatlas.indexer.cells.regions import Region, regions_of
from locatlas.indexer.cells.rows import INHERITED, cell_row
from locatlas.indexer.cells.segmenters import SegmenterSpec, segment
from locatlas.indexer.cells.thumbnails import cell_thumbnails
from locatlas.indexer.files.decoding import read_image
from locatlas.indexer.files.read_ahead import read_ahead
from locatlas.indexer.job import Job
from locatlas.indexer.pipeline import COMMIT_S
from locatlas.indexer.reading import pixel_columns
from locatlas.indexer.source_annotations import check_annotators, keep_annotations
from locatlas.indexer.store import encoders
from locatlas.indexer.store.quarantine import Rejection, rejection_id
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import CELLS, SEGMENTERS
from locatlas.indexer.store.sources import row_source
from locatlas.indexer.store.tidy import tidy
from locatlas.indexer.store.tidy_limits import FRAGMENTS_BEFORE_COMPACTION
from locatlas.interrupts import unbroken
from locatlas.types import ChannelImage

__all__ = ["COMMIT_FIELDS", "find_cells"]

COMMIT_FIELDS = 64
"""Fields a commit, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    work: FieldWork
    fov: dict[str, Any]
    cells: list[dict[str, Any]]
    annotated: list[tuple[str, str, tuple[str, ...], str]]
    """Cell id, annotators, localizations and digest of the cells of which the source says what they show."""


def find_cells(job: Job, plan: CellPlan, request: CellRequest) -> None:
    """Find the cells of what is planned, and write them: cells first, then the field that says they are all there.

    A field that was searched in a run that was killed is searched again, with the same result.

    Args:
        job: The run; its summary's `segmented` is filled in.
        plan: From `plan_cells`.
        request: The one that was planned.
    """
    _describe_anew(job, plan.described_anew)
    job.summary.segmented.unchanged += plan.unchanged + len(plan.described_anew)
    job.summary.segmented.uncovered += plan.uncovered
    # else the next run at level fov would take their vectors for those of the pixels as the rows say they are
    job.invalidate("fov", plan.redeclared, plan.rescaled)
    if not plan.work:
        return
    _declare(job, {work.segmenter.id: work.segmenter for work in plan.work})
    before, own = _cells_before(job, plan.work)
    chunk: list[_Found] = []
    committed_at = time.monotonic()
    with read_ahead("locatlas-cells") as pool:
        fields = _in_order(plan.work, request.given, pool)
        for done in range(1, len(plan.work) + 1):
            with job.run.timed("find cells"):
                found = _apart(next(fields), own)
            if isinstance(found, Rejection):
                job.quarantine.put(found)
                job.run.counts["quarantined"] += 1
            else:
                chunk.append(found)
            if len(chunk) >= COMMIT_FIELDS or time.monotonic() - committed_at > COMMIT_S:
                _commit(job, chunk, before)
                chunk, committed_at = [], time.monotonic()
                job.run.commits += 1
                if job.run.commits % FRAGMENTS_BEFORE_COMPACTION == 0:
                    tidy(job.store, ("cells", "fovs"), job.run)  # each commit looks at all fragments
                if job.run.commits % allocator.COMMITS_BETWEEN == 0:
                    allocator.give_back()
            if job.progress:
                job.progress("finding cells", done, len(plan.work))
    _commit(job, chunk, before)


def _in_order(work: Iterable[FieldWork], given: GivenCells, pool: ThreadPoolExecutor) -> Iterator[_Found | Rejection]:
    waiting: deque[Future[_Found | Rejection]] = deque()
    todo = iter(work)
    for one in islice(todo, 2 * (os.cpu_count() or 1)):
        waiting.append(pool.submit(_find, one, given))
    while waiting:
        done = waiting.popleft().result()
        for one in islice(todo, 1):
            waiting.append(pool.submit(_find, one, given))
        yield done


def _find(work: FieldWork, given: GivenCells) -> _Found | Rejection:
    record = work.record
    try:
        image, digest = read_image(record)
        fov = {**work.row, **pixel_columns(image, digest, work.stat)}
        regions = _regions(work, image, given)
        for names in {region.annotated_by for region in regions} - {None}:
            check_annotators(str(names))
    except ImageRejectedError as error:
        path = str(record.sources[0].path)
        return work.rejected(str(error) if path in str(error) else f"{path}: {error}")
    pictures = cell_thumbnails(image, [region.place for region in regions])
    cells = [
        cell_row(fov, record, image, region, work.segmenter.id, picture)
        for region, picture in zip(regions, pictures, strict=True)
    ]
    fov["segmenter"], fov["n_cells"] = work.segmenter.id, len(cells)
    fov["cells_digest"] = cells_digest(fov, work.segmenter.id, work.given_digest)
    annotated = [
        (row["id"], region.annotated_by, region.localizations or (), row["source_digest"])
        for row, region in zip(cells, regions, strict=True)
        if region.annotated_by is not None
    ]
    return _Found(work, fov, cells, annotated)


def _regions(work: FieldWork, image: ChannelImage, given: GivenCells) -> list[Region]:
    if work.segmenter.id == GIVEN:
        height, width = image.pixels.shape[1:]
        return given.regions(work.record, height=height, width=width)
    found = segment(image, work.segmenter)
    return regions_of(found.cells, found.nuclei)


def _declare(job: Job, specs: Mapping[str, SegmenterSpec]) -> None:
    known = set(job.store.read("segmenters", ["id"])["id"].to_pylist())
    rows = [{"id": i, "name": s.name, "spec": s.to_json()} for i, s in sorted(specs.items()) if i not in known]
    if rows:
        job.run.touched()
        job.store.upsert("segmenters", pa.Table.from_pylist(rows, schema=SEGMENTERS))


def _cells_before(job: Job, work: Iterable[FieldWork]) -> tuple[dict[str, set[str]], set[str]]:
    """Ids of the cells that were cut out of these fields before, by field; and of images of single cells called so."""
    fields = {one.row["id"] for one in work}
    rows = job.store.read("cells", ["id", "fov_id", "box"])
    is_own = pc.is_null(rows["box"])
    out: dict[str, set[str]] = defaultdict(set)
    cut = rows.filter(pc.and_not(pc.is_in(rows["fov_id"], pa.array(sorted(fields), pa.string())), is_own))
    for i, fov in zip(cut["id"].to_pylist(), cut["fov_id"].to_pylist(), strict=True):
        out[fov].add(i)
    return out, {i for i in rows.filter(is_own)["id"].to_pylist() if i.rpartition("/")[0] in fields}


def _apart(found: _Found | Rejection, own: Collection[str]) -> _Found | Rejection:
    """A field whose cells would take the place of images of single cells is rejected."""
    if isinstance(found, Rejection) or not own:
        return found
    both = next((row["id"] for row in found.cells if row["id"] in own), None)
    if both is None:
        return found
    path = found.work.record.sources[0].path
    reason = f"{path}: its cell {both} has the id of another image, which is of a single cell; give that another id"
    return replace(found.work.rejected(reason), tried=None)  # nothing of this field tells when that was done


def _commit(job: Job, chunk: Sequence[_Found], before: Mapping[str, set[str]]) -> None:
    if chunk:
        job.run.touched()
        with job.run.timed("commit cells"), unbroken():
            cells = [row for found in chunk for row in found.cells]
            now = {row["id"] for row in cells}
            gone = sorted({i for found in chunk for i in before.get(found.fov["id"], ())} - now)
            if cells:
                job.store.upsert("cells", image_rows(cells, "cell"))
                keep_annotations(job, (said for found in chunk for said in found.annotated))
            if gone:
                for encoder in encoders.stored_encoders(job.store, "cell"):
                    job.store.delete(encoder.table, gone)
                job.store.delete("cells", gone)
            job.store.upsert("fovs", image_rows([found.fov for found in chunk], "fov"))
        job.run.wrote([*now, *(found.fov["id"] for found in chunk)])
        summary = job.summary.segmented
        for found in chunk:
            job.quarantine.release(found.work.cells_key)
            for i in before.get(found.fov["id"], set()) - now:
                source = row_source({**found.fov, "box": (), "cell": i.rpartition("/")[2]})
                job.quarantine.release(rejection_id(found.fov["dataset"], found.fov["root"], source))
            summary.fields += 1
            summary.cells += len(found.cells)
            summary.empty += not found.cells
            summary.segmenters[found.work.segmenter.id] = summary.segmenters.get(found.work.segmenter.id, 0) + 1
            job.run.counts.update(f"cell qc {flag}" for row in found.cells for flag in row["qc"])
        summary.replaced += len(gone)
        job.run.counts["cells found"] += len(cells)
    job.quarantine.commit(job.run)


def _describe_anew(job: Job, fovs: Sequence[Mapping[str, Any]]) -> None:
    """Give cells what their fields say now, where neither pixels nor cells changed."""
    for start in range(0, len(fovs), COMMIT_FIELDS):
        chunk = {row["id"]: dict(row) for row in fovs[start : start + COMMIT_FIELDS]}
        job.run.touched()
        cells = [
            {**row, **{column: chunk[row["fov_id"]][column] for column in INHERITED}}
            for row in job.store.read_rows("cells", list(chunk), CELLS.names, key="fov_id").to_pylist()
            if row["box"] is not None
        ]
        if cells:
            job.store.upsert("cells", image_rows(cells, "cell"))
        for row in job.store.read_rows("fovs", list(chunk), ["id", "thumbnail"]).to_pylist():
            chunk[row["id"]]["thumbnail"] = row["thumbnail"]
        job.store.upsert("fovs", image_rows(list(chunk.values()), "fov"))
        job.run.wrote([*chunk, *(row["id"] for row in cells)])
        job.summary.updated += len(chunk)

"""Which fields of view are to be searched for cells, and by what: new, changed, described anew, or done. I/O."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.cells.given import GivenCells
from locatlas.indexer.cells.provenance import cells_digest
from locatlas.indexer.cells.segmenters import SegmenterSpec, get_segmenter
from locatlas.indexer.job import Job
from locatlas.indexer.packed import Packed
from locatlas.indexer.plan import NOT_PLANNED, SeenImage, look_up_image
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.quarantine import Rejection, rejection_id
from locatlas.indexer.store.schema import FOVS
from locatlas.indexer.store.sources import root_of, row_source, source_name

__all__ = ["CellPlan", "CellRequest", "FieldWork", "plan_cells"]

GIVEN = "given"

OF_CELLS = " (cells)"
"""Ends the name of a source in quarantine of which the image may be fine, and its cells are not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellRequest:
    """How cells are to be found.

    Attributes:
        segmenter: What computes them. None for masks that the records name, and for other fields what the atlas used
            before, else the built-in one.
        given: Masks and tables beside those that the records name. Where some are given, they come before a segmenter,
            and without a segmenter nothing is computed for the fields that they do not cover.
        replace: Whether cells that another segmenter found may be replaced.
    """

    segmenter: SegmenterSpec | None = None
    given: GivenCells
    replace: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FieldWork:
    """A field whose cells are to be found.

    Attributes:
        record: What to read, with its masks and with the pixel size of the row, which may be from an earlier run.
        row: Its row as far as it is known without pixels.
        stat: Size and time of its sources.
        segmenter: What finds its cells.
        given_digest: Of the masks or table rows, "" where its cells are computed.
        tried: Digest of all that decides whether they can be found.
    """

    record: ImageRecord
    row: Mapping[str, Any]
    stat: str
    segmenter: SegmenterSpec
    given_digest: str
    tried: str

    @property
    def cells_key(self) -> str:
        """Place in quarantine of what is wrong with its cells, not with its image."""
        return _cells_key(self.row)

    @property
    def source(self) -> str:
        """What is in quarantine where its cells cannot be found."""
        return f"{row_source(self.row)}{OF_CELLS}"

    def rejected(self, reason: str) -> Rejection:
        """Its entry in quarantine."""
        return Rejection(
            dataset=self.row["dataset"], root=self.row["root"], source=self.source, reason=reason, tried=self.tried
        )


@dataclass(slots=True)
class CellPlan:
    """What is to be done.

    Attributes:
        work: Fields to search, by id.
        described_anew: Rows of fields whose cells stay and inherit other metadata.
        unchanged: Fields with nothing to do.
        uncovered: Ids of fields that the masks or tables say nothing of.
        redeclared: Ids of fields whose channels, or whose row of a stacked file, are others than before.
        rescaled: Ids of fields whose pixel size is another.
        erased: Ids of fields that have localizations now and would have none.
    """

    work: Packed[FieldWork] = field(default_factory=Packed)
    described_anew: list[dict[str, Any]] = field(default_factory=list)
    unchanged: int = 0
    uncovered: list[str] = field(default_factory=list)
    redeclared: set[str] = field(default_factory=set)
    rescaled: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)


def plan_cells(job: Job, records: Iterable[ImageRecord], request: CellRequest, *, replaces: bool) -> CellPlan:
    """Compare fields with what the atlas knows of their cells. What cannot be used goes to the job's quarantine.

    Args:
        job: The run.
        records: Of fields, sorted by id.
        request: How cells are to be found.
        replaces: As in `indexer.plan.make_plan`.

    Raises:
        InputError: If another segmenter was used before for fields of these, and may not be replaced.
    """
    plan = CellPlan()
    columns = [name for name in FOVS.names if name not in NOT_PLANNED]
    stored = {row["id"]: row for row in job.store.read("fovs", columns).to_pylist()}
    usual = _usual_segmenter(job, stored, {record.dataset for record in records})
    covers = request.given.folder is not None or request.given.table is not None
    conflicts: Counter[tuple[str, str]] = Counter()
    taken: set[str] = set()
    for record in records:
        root = root_of(record.sources[0].path, job.roots) or next(iter(job.roots))
        source = source_name(record, job.roots)
        if rejection_id(record.dataset, root, source) in job.quarantine.seen:
            continue  # it cannot be used as an image either, as this run has found
        try:
            seen = look_up_image(job, record, stored, taken, replaces=replaces)
            attached = request.given.attach(replace(record, pixel_size_um=seen.said["pixel_size_um"]))
            is_given = request.given.has(attached) and (request.segmenter is None or covers)
            given_digest = request.given.digest(attached) if is_given else ""
        except ImageRejectedError as error:
            # not under the image's own name: that entry is about its own vector, and goes when it has one
            job.quarantine.put(
                Rejection(dataset=record.dataset, root=root, source=f"{source}{OF_CELLS}", reason=str(error))
            )
            continue
        stat, here = seen.stat, seen.here
        plan.erased |= {seen.said["id"]} if seen.loses_labels else set()
        row = {**(here or dict.fromkeys(columns)), **seen.said}
        if not is_given and request.segmenter is None:
            if covers:
                plan.uncovered.append(seen.said["id"])
                job.quarantine.release(_cells_key(row))
                continue
            if here is not None and not request.replace and _is_kept(plan, row, stat, here):
                job.quarantine.release(_cells_key(row))
                continue
        spec = get_segmenter(GIVEN, {}) if is_given else (request.segmenter or usual)
        if here is not None and here["segmenter"] not in (None, spec.id) and not request.replace:
            conflicts[here["segmenter"], spec.id] += 1
        tried = _tried(job, row, stat, spec, given_digest)
        _plan_one(job, plan, FieldWork(attached, row, stat, spec, given_digest, tried), seen)
    if conflicts:
        (before, now), n = conflicts.most_common(1)[0]
        message = (
            f"{job.store.folder.path}: the cells of {n} fields were found by {before}, not by {now}; "
            f"{'name their masks again with --masks or --cells, or ' if before == GIVEN else ''}"
            f"with --resegment they are replaced (their ids change; annotations stay with the old ids)"
        )
        raise InputError(message)
    return plan


def _is_kept(plan: CellPlan, row: dict[str, Any], stat: str, here: Mapping[str, Any]) -> bool:
    """Whether a field is as it was and has cells of masks that are not named this time: they stay."""
    if here["segmenter"] != GIVEN or here["source_stat"] != stat:
        return False
    field, finder, _ = here["cells_digest"].split(":")
    now = cells_digest(row, GIVEN, "").split(":")
    if now[0] != field:
        return False
    if (kept := f"{field}:{finder}:{now[2]}") == here["cells_digest"]:
        plan.unchanged += 1
    else:
        plan.described_anew.append({**row, "cells_digest": kept})
    return True


def _cells_key(row: Mapping[str, Any]) -> str:
    return rejection_id(row["dataset"], row["root"], f"{row_source(row)}{OF_CELLS}")


def _usual_segmenter(job: Job, stored: Mapping[str, Mapping[str, Any]], datasets: Collection[str]) -> SegmenterSpec:
    """What computed most cells of these data sets so far, else of the atlas, else the built-in one."""
    computed = [row for row in stored.values() if row["segmenter"] not in (None, GIVEN)]
    used = Counter(row["segmenter"] for row in computed if row["dataset"] in datasets)
    used = used or Counter(row["segmenter"] for row in computed)
    if not used:
        return get_segmenter("builtin", {})
    known = {row["id"]: row["spec"] for row in job.store.read("segmenters").to_pylist()}
    return SegmenterSpec.from_json(known[used.most_common(1)[0][0]])


def _tried(job: Job, row: Mapping[str, Any], stat: str, spec: SegmenterSpec, given_digest: str) -> str:
    planes = [(source["path"], source["channels"]) for source in row["sources"]]
    decides = [stat, planes, row["row"], row["pixel_size_um"], spec.id, given_digest, job.program]
    return hashlib.blake2b(json.dumps(decides).encode(), digest_size=16).hexdigest()


def _plan_one(job: Job, plan: CellPlan, work: FieldWork, seen: SeenImage) -> None:
    here = seen.here
    if here is not None and here["cells_digest"] is not None and here["source_stat"] == work.stat:
        now, before = cells_digest(work.row, work.segmenter.id, work.given_digest), here["cells_digest"]
        if now.rpartition(":")[0] == before.rpartition(":")[0]:
            job.quarantine.release(work.cells_key)
            if now == before:
                plan.unchanged += 1
            else:
                plan.described_anew.append({**work.row, "cells_digest": now})
            return
    if not job.quarantine.still(work.cells_key, work.tried):
        plan.work.append(work)
        plan.redeclared |= {seen.said["id"]} if seen.redeclared else set()
        plan.rescaled |= {seen.said["id"]} if seen.rescaled else set()

"""Bring a data set into an atlas: plan what is new or changed, embed it, keep the rest as it is. I/O."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.indexer import encoder_choice
from locatlas.indexer.annotation.cell_labels import usual_labels
from locatlas.indexer.annotation.table import apply_annotations
from locatlas.indexer.cells.given import GivenCells
from locatlas.indexer.cells.plan import CellPlan, CellRequest, plan_cells
from locatlas.indexer.cells.segmenters import get_segmenter
from locatlas.indexer.cells.stage import find_cells
from locatlas.indexer.datasets.scan import roots_to_declare
from locatlas.indexer.embed import check_scale, embed_stored, stored_channels
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.engines import Engine, require_local
from locatlas.indexer.gone import look_for_gone
from locatlas.indexer.job import Job
from locatlas.indexer.packed import Packed
from locatlas.indexer.pipeline import COMMIT_ROWS, Progress
from locatlas.indexer.plan import Plan, make_plan
from locatlas.indexer.profile import Profile
from locatlas.indexer.published.writing import writes
from locatlas.indexer.read_source import check_name, read_source
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.source_annotations import keep_of_records
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine, Rejection
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.indexer.summary import IndexSummary
from locatlas.indexer.switching import complete
from locatlas.models.running import USUAL, Running

__all__ = ["index"]

logger = logging.getLogger(__name__)


@writes("index")
def index(
    source: str | Path,
    *,
    atlas: str | Path,
    dataset: str,
    request: EncoderRequest | None = None,
    name: str | None = None,
    level: str | None = None,
    options: Mapping[str, Any] | None = None,
    roots: Sequence[Path] = (),
    pixel_size_um: float | None = None,
    segmenter: str | None = None,
    segmenter_options: Mapping[str, str] | None = None,
    masks: str | Path | None = None,
    cells: str | Path | None = None,
    resegment: bool = False,
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
    prune: bool = False,
    profile: bool = False,
    running: Running = USUAL,
    engine: Engine | None = None,
) -> IndexSummary:
    """Bring a data set into an atlas: rows, vectors, quarantine. A second run does nothing; a killed one continues.

    Args:
        source: Folder, or the file of a manifest.
        atlas: Atlas folder; made if absent.
        dataset: Reader to use, e.g. "opencell".
        request: Encoder and plan; None for the atlas' own, or the default in a new atlas.
        name: Name of the data set in the atlas, first part of its ids; None for the reader's name.
        level: "fov" takes the reader's fields, "cell" its single cells and cuts cells out of its fields, "both" both.
            None takes images as they are, fields as FOVs and single cells as cells, and cuts cells where the atlas
            already has some that were cut out of fields of this data set.
        options: For the reader, e.g. {"annotations": Path(...)}.
        roots: Further folders in which sources may lie.
        pixel_size_um: Edge of a pixel in micrometres, for images whose own is not known.
        segmenter: What finds cells, e.g. "builtin", where `masks` or `cells` do not tell, or everywhere if neither is
            given. None for masks that the source names, else what the atlas used, else the built-in one.
        segmenter_options: Its parameters.
        masks: Folder of label images, by the names of the fields.
        cells: Table of boxes, centres or run-length encoded masks. Fields that neither it nor `masks` covers stay
            without cells unless a segmenter is named.
        resegment: Replace cells that were found by another segmenter.
        progress: Told of what goes on.
        commit_rows: Images a commit.
        prune: Remove images of the data set whose files are gone; otherwise they are told and stay.
        profile: Tell in the summary where the seconds of embedding went.
        running: How the encoder's network is run; the vectors are those of the same encoder.
        engine: Embeds elsewhere (`locatlas.indexer.cluster`); None for here. Cells are found here in any case.

    Raises:
        InputError: If the source, the data set or the name cannot be used at all, or cells were found by another
            segmenter before.
        UnknownNameError: If no image has a stain that is asked for.
        EncoderMismatchError: If another encoder than the atlas' own is asked for.
        AtlasLockedError: If another process writes.
    """
    require_local(engine, profile=profile, running=running)
    source, atlas = Path(source).expanduser().resolve(), Path(atlas)
    if not source.exists():
        message = f"{source}: no such file or folder"
        raise InputError(message)
    if name is not None:
        check_name(name)
    root = source if source.is_dir() else source.parent
    named = [root, *(Path(p).expanduser().resolve() for p in roots)]
    # a folder that was declared once stays declared
    known = [p for p in _declared(atlas) if p not in named]
    reader_options = {**(options or {}), "roots": [*named[1:], *known]}
    records, rejected = read_source(
        dataset, source, reader_options, name=name, level=level, pixel_size_um=pixel_size_um
    )
    if not records and not rejected:
        message = (
            f"{source}: holds nothing that the data set {dataset!r} reads; `locatlas datasets show {dataset}` tells"
        )
        raise InputError(message)
    request = request or EncoderRequest()
    label = dataset if name is None else name
    fields = Packed(r for r in records if r.level == "fov")
    single = Packed(r for r in records if r.level == "cell")
    cuts = bool(fields) and (level in ("cell", "both") or (level is None and _has_cut_cells(atlas, label)))
    if not cuts and (request.crop or segmenter or masks or cells or resegment):
        message = (
            "crops, segmenters, masks and tables of cells are for cells that are cut out of fields; "
            "name --level cell or both, and a source that has fields"
        )
        raise InputError(message)
    finding = _finding(segmenter, segmenter_options, masks, cells, replace_cells=resegment)
    if request.stains and records:
        _check_stains(request.stains, records, atlas)
    if records and not (atlas / "atlas.json").exists():
        # an encoder that cannot be had, or that cannot cut these fields, must not leave an empty atlas behind
        available = encoder_choice.usual_channels(r.channels for r in records)
        spec = encoder_choice.settle(request, available=available, like=None, cuts=cuts)
        check_scale([{"id": r.id, "pixel_size_um": r.pixel_size_um} for r in records if r.level == "fov"], spec)
    store = Store.create(atlas)
    with store.folder.writer(f"index {source}"), Run.record(store, "index", dataset=label) as run:
        declared = {store.folder.root_name(p, prefer=label): p.resolve() for p in [*named, *known]}
        job = Job(store, run, Quarantine(store), declared, progress, commit_rows, engine=engine)
        job.profile, job.running = Profile() if profile else None, running
        if hint := roots_to_declare(bad.reason for bad in rejected):
            logger.warning("%s", hint)
        for bad in rejected:
            job.quarantine.put(
                Rejection(dataset=label, root=next(iter(declared)), source=_below(bad.source, root), reason=bad.reason)
            )
        if fields and level != "cell":
            _index_level(job, "fov", fields, request, replaces=source.is_dir(), cuts=False)
        if single:
            _index_level(job, "cell", single, request, replaces=source.is_dir(), cuts=cuts)
            keep_of_records(job, single)
        if cuts:
            for note in finding.given.label_notes(usual_labels(store, dataset, fields)):
                logger.warning("%s", note)
            _index_cells(job, fields, request, finding, label, replaces=source.is_dir())
        if store.has("annotations"):
            apply_annotations(store, run=run)
        for one_level in ("fov", "cell"):
            if level in (None, "both", one_level) or (one_level == "fov" and cuts):
                look_for_gone(job, one_level, label, prune=prune)
        if level in (None, "both"):
            # other tables in the same folder have sources of their own
            begins = "" if source.is_dir() else f"{source.name} "
            for root_name in list(declared)[: len(named)]:
                job.quarantine.forget(label, root_name, begins=begins)
        job.summary.labelled = sum(bool(r.localizations) for r in records)
        return job.finish()


def _finding(
    segmenter: str | None,
    options: Mapping[str, str] | None,
    masks: str | Path | None,
    table: str | Path | None,
    *,
    replace_cells: bool,
) -> CellRequest:
    """How cells are to be found.

    Raises:
        InputError: If parameters are given without a segmenter.
    """
    if options and segmenter is None:
        message = "parameters of a segmenter need its name, e.g. --segmenter builtin"
        raise InputError(message)
    spec = None if segmenter is None else get_segmenter(segmenter, dict(options or {}))
    given = GivenCells.find(masks=Path(masks) if masks else None, table=Path(table) if table else None)
    return CellRequest(segmenter=spec, given=given, replace=replace_cells)


def _has_cut_cells(atlas: Path, dataset: str) -> bool:
    if not (atlas / "atlas.json").exists():
        return False
    rows = Store.open(atlas).read("fovs", ["id", "dataset", "segmenter"])
    pairs = zip(rows["dataset"].to_pylist(), rows["segmenter"].to_pylist(), strict=True)
    return any(name == dataset and found_by is not None for name, found_by in pairs)


def _check_stains(stains: Iterable[str], records: Iterable[ImageRecord], atlas: Path) -> None:
    """Refuse stains that no image has, neither what is brought in nor what the atlas holds."""
    stored: Iterable[Sequence[str]] = ()
    if (atlas / "atlas.json").exists():
        store = Store.open(atlas)
        stored = chain.from_iterable(stored_channels(store, level) for level in ("fov", "cell"))
    encoder_choice.require_stains(stains, chain((record.channels for record in records), stored), "image")


def _declared(atlas: Path) -> list[Path]:
    """Folders that the atlas has as roots and that are there now; none for a new atlas."""
    if not (atlas / "atlas.json").exists():
        return []
    return [p for p in map(Path, AtlasFolder.open(atlas).info()["roots"].values()) if p.is_dir()]


def _below(source: str, root: Path) -> str:
    path = Path(source)
    return path.relative_to(root).as_posix() if path.is_absolute() and path.is_relative_to(root) else source


def _check_labels(plan: Plan | CellPlan, records: Iterable[ImageRecord]) -> None:
    """Refuse a run that would take away every label: surely its table or option was left out.

    Raises:
        InputError: If images have labels now and no record has any.
    """
    erased = len(plan.erased)
    if erased and not any(record.localizations for record in records):
        message = (
            f"nothing is labelled in this reading, which would take away the localizations of {erased} images; was a "
            f"table or an --option left out? `locatlas datasets show` names them"
        )
        raise InputError(message)


def _index_level(
    job: Job, level: str, records: Packed[ImageRecord], request: EncoderRequest, *, replaces: bool, cuts: bool
) -> None:
    available = encoder_choice.usual_channels(r.channels for r in records)
    encoder = encoder_choice.choose(job.store, level, request, available=available, adding=False, cuts=cuts)
    plan = make_plan(job, encoder, records, replaces=replaces)
    _check_labels(plan, records)
    job.invalidate(level, plan.redeclared, plan.rescaled)
    job.embed(encoder, plan.work)
    if plan.described_anew:
        job.run.touched()
        job.store.upsert(image_table(level), image_rows(plan.described_anew, level))
        job.run.wrote([row["id"] for row in plan.described_anew])
        job.summary.updated += len(plan.described_anew)
    job.summary.skipped += plan.unchanged
    complete(job, encoder)


def _index_cells(
    job: Job,
    records: Packed[ImageRecord],
    request: EncoderRequest,
    finding: CellRequest,
    dataset: str,
    *,
    replaces: bool,
) -> None:
    """Find the cells of fields and embed them."""
    available = encoder_choice.usual_channels(r.channels for r in records)
    # chosen before anything is searched, so that what cannot be embedded is told at once
    encoder = encoder_choice.choose(job.store, "cell", request, available=available, adding=False, cuts=True)
    plan = plan_cells(job, records, finding, replaces=replaces)
    _check_labels(plan, records)
    check_scale([work.row for work in plan.work], encoder.spec)
    find_cells(job, plan, finding)
    if job.store.has("annotations"):
        # cells that were written anew have theirs again before the network takes its hours
        apply_annotations(job.store, run=job.run)
    for note in finding.given.notes():
        logger.warning("%s", note)
    embed_stored(job, "cell", request, dataset=dataset)

"""Bring a data set into an atlas: plan what is new or changed, embed it, keep the rest as it is. I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer import encoders
from locatlas.indexer.datasets import read_records
from locatlas.indexer.encoders import EncoderRequest, StoredEncoder
from locatlas.indexer.job import IndexSummary, Job, image_table
from locatlas.indexer.ledger import Run
from locatlas.indexer.pipeline import COMMIT_ROWS, Pending, Progress, source_name
from locatlas.indexer.quarantine import Quarantine, Rejection
from locatlas.indexer.records import ImageRecord, RejectedSource
from locatlas.indexer.rows import METADATA_COLUMNS, described, image_rows, source_stat
from locatlas.indexer.store import Store

__all__ = ["index"]


def index(
    source: Path,
    *,
    atlas: Path,
    dataset: str,
    request: EncoderRequest | None = None,
    name: str | None = None,
    level: str = "both",
    options: Mapping[str, Any] | None = None,
    roots: Sequence[Path] = (),
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> IndexSummary:
    """Bring a data set into an atlas: rows, vectors, quarantine. A second run does nothing; a killed one continues.

    Args:
        source: Folder, or the file of a manifest.
        atlas: Atlas folder; made if absent.
        dataset: Reader to use, e.g. "opencell".
        request: Encoder and plan; None for the atlas' own, or the default in a new atlas.
        name: Name of the data set in the atlas, first part of its ids; None for the reader's name.
        level: "fov", "cell" or "both": which of the reader's images to take.
        options: For the reader, e.g. {"annotations": Path(...)}.
        roots: Further folders in which sources may lie.
        progress: Told of what goes on.
        commit_rows: Images a commit.

    Raises:
        InputError: If the source or the data set cannot be used at all.
        EncoderMismatchError: If another encoder than the atlas' own is asked for.
        AtlasLockedError: If another process writes.
    """
    source = source.expanduser().resolve()
    if not source.exists():
        message = f"{source}: no such file or folder"
        raise InputError(message)
    root = source if source.is_dir() else source.parent
    reader_options = {**(options or {}), **({"roots": list(roots)} if roots else {})}
    records, rejected = _read(dataset, source, reader_options, name=name, level=level)
    if not records and not rejected:
        message = (
            f"{source}: holds nothing that the data set {dataset!r} reads; `locatlas datasets show {dataset}` tells"
        )
        raise InputError(message)
    if records and not (atlas / "atlas.json").exists():
        # an encoder that cannot be had must not leave an empty atlas behind
        encoders.settle(request or EncoderRequest(), available=records[0].channels, like=None)
    store = Store.create(atlas)
    label = name or dataset
    with store.folder.writer(f"index {source}"), Run.record(store, "index", dataset=label) as run:
        declared = {store.folder.root_name(p, prefer=label): p.resolve() for p in [root, *roots]}
        job = Job(store, run, Quarantine(store), declared, progress, commit_rows)
        for bad in rejected:
            job.quarantine.put(Rejection(label, _below(bad.source, root), bad.reason))
        for one_level in ("fov", "cell"):
            mine = [r for r in records if r.level == one_level]
            if mine:
                _index_level(job, one_level, mine, request or EncoderRequest())
        return job.finish()


def _read(
    dataset: str, source: Path, options: Mapping[str, Any], *, name: str | None, level: str
) -> tuple[list[ImageRecord], list[RejectedSource]]:
    records: list[ImageRecord] = []
    rejected: list[RejectedSource] = []
    for item in read_records(dataset, source, options=dict(options)):
        if isinstance(item, RejectedSource):
            rejected.append(item)
        elif level in ("both", item.level):
            if name is not None and name != item.dataset:
                item = _renamed(item, name)
            records.append(item)
    return sorted(records, key=lambda r: r.id), rejected


def _renamed(record: ImageRecord, name: str) -> ImageRecord:
    """The record as one of the data set `name`; its id and its FOV's begin with it."""

    def again(i: str) -> str:
        return f"{name}/{i.removeprefix(f'{record.dataset}/')}"

    fov_id = again(record.fov_id) if record.fov_id else None
    return replace(record, dataset=name, id=again(record.id), fov_id=fov_id)


def _below(source: str, root: Path) -> str:
    path = Path(source)
    return path.relative_to(root).as_posix() if path.is_absolute() and path.is_relative_to(root) else source


def _index_level(job: Job, level: str, records: Sequence[ImageRecord], request: EncoderRequest) -> None:
    encoder = encoders.choose(job.store, level, request, available=records[0].channels, adding=False)
    work, changed = _plan(job, encoder, records)
    job.embed(encoder, work)
    if changed:
        job.store.upsert(image_table(level), image_rows(changed, level))
        job.run.wrote([row["id"] for row in changed])
        job.summary.updated += len(changed)
    job.complete(encoder)


def _plan(
    job: Job, encoder: StoredEncoder, records: Sequence[ImageRecord]
) -> tuple[list[Pending], list[dict[str, Any]]]:
    """What has to be embedded, and rows whose metadata alone changed."""
    table = image_table(encoder.level)
    stored = {row["id"]: row for row in job.store.read(table).drop_columns(["thumbnail"]).to_pylist()}
    embedded = job.digests(encoder)
    work: list[Pending] = []
    stale: dict[str, dict[str, Any]] = {}
    for position, record in enumerate(records):
        name = source_name(record, job.roots)
        try:
            stat = source_stat(record.sources)
            said = described(record, roots=job.roots)
        except ImageRejectedError as error:
            job.quarantine.put(Rejection(record.dataset, name, str(error)))
            continue
        here = stored.get(said["id"])
        if here is None:
            if job.quarantine.still(record.dataset, name, stat) is None:
                work.append(Pending(position, record))
        elif (clash := _clash(here, said, job.store)) is not None:
            job.quarantine.put(Rejection(record.dataset, name, clash, stat))
        elif here["source_stat"] != stat or embedded.get(said["id"]) != here["source_digest"]:
            if job.quarantine.still(record.dataset, name, stat) is None:
                work.append(Pending(position, record))
        elif any(here[c] != said[c] for c in METADATA_COLUMNS) or here.get("fov_id") != said.get("fov_id"):
            stale[said["id"]] = {**here, **said}
        else:
            job.summary.skipped += 1
    if stale:
        for row in job.store.read_rows(table, list(stale), ["id", "thumbnail"]).to_pylist():
            stale[row["id"]]["thumbnail"] = row["thumbnail"]
    return work, list(stale.values())


def _clash(here: Mapping[str, Any], said: Mapping[str, Any], store: Store) -> str | None:
    """Why a record must not replace the row of its id: another image that still exists has it."""
    if (here["root"], here["row"], here["sources"]) == (said["root"], said["row"], said["sources"]) or not here[
        "sources"
    ]:
        return None
    before = store.folder.root_path(here["root"]) / here["sources"][0]["path"]
    if not before.exists():
        return None  # the data moved
    return (
        f"id {said['id']} already belongs to {before}; give the data set another name with --name, or the image an id"
    )

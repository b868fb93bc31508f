"""Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete. I/O."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer import encoders
from locatlas.indexer.encoders import EncoderRequest, StoredEncoder
from locatlas.indexer.job import PLACE_COLUMNS, Job, image_table, is_dropped, usual_channels
from locatlas.indexer.ledger import Run
from locatlas.indexer.pipeline import COMMIT_ROWS, Pending, Progress
from locatlas.indexer.quarantine import Quarantine, Rejection
from locatlas.indexer.rows import is_cut, record_from_row, row_source, rows_of, source_stat
from locatlas.indexer.schema import image_schema
from locatlas.indexer.store import Store
from locatlas.indexer.summary import IndexSummary
from locatlas.models.spec import EncoderSpec

__all__ = ["check_scale", "embed", "embed_stored"]

SLAB_ROWS = 16 * COMMIT_ROWS
"""Rows that are held whole at once; a multiple of a commit, so that chunks are cut as if there were no slabs."""


def embed(
    *,
    atlas: str | Path,
    request: EncoderRequest,
    levels: Iterable[str] = ("fov", "cell"),
    progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> IndexSummary:
    """Give every image of an atlas its vector by an encoder, beside those it has, and switch when complete.

    Queries use the encoder before until the last vector is committed.

    Args:
        atlas: Atlas folder.
        request: Encoder and plan; empty for the current one, to complete what is missing.
        levels: Image levels to embed; those without images are passed over.
        progress: Told of what goes on.
        commit_rows: Images a commit.

    Raises:
        InputError: If the atlas holds no images, their folder is not there, or the encoder in use was imported.
        AtlasLockedError: If another process writes.
    """
    store = Store.open(Path(atlas))
    with store.folder.writer("embed"), Run.record(store, "embed") as run:
        roots = {name: Path(path) for name, path in store.folder.info()["roots"].items()}
        job = Job(store, run, Quarantine(store), roots, progress, commit_rows)
        levels = tuple(levels)
        for level in levels:
            embed_stored(job, level, request, adding=True)
        if not job.summary.encoders:
            message = f"{atlas}: holds no images at level {' or '.join(levels)} that could be embedded"
            raise InputError(message)
        return job.finish()


def embed_stored(
    job: Job, level: str, request: EncoderRequest, *, adding: bool, dataset: str | None = None, cut_only: bool = False
) -> None:
    """Embed what the tables hold and the encoder has no vector of, and make the encoder current if nothing is left.

    Args:
        job: The run.
        level: "fov" or "cell".
        request: What the user asked for.
        adding: Whether another encoder than the current one may be meant.
        dataset: Only the images of this data set.
        cut_only: Only cells that are cut out of their fields.

    Raises:
        InputError: If their folder is not there, or the encoder cannot cut them.
    """
    table = image_table(level)
    columns = ["id", "dataset", "root", "sources", "source_digest", "channels"]
    images = job.store.read(table, [*columns, *(PLACE_COLUMNS if level == "cell" else ())])
    planes = rows_of(images.select(["sources", "channels"]))
    available = usual_channels(row["channels"] for row in planes if row["sources"])
    if not available:
        return
    # a crop that is asked for is for cells to come, where none is cut out yet
    cuts = level == "cell" and (request.crop is not None or images["box"].null_count < len(images))
    encoder = encoders.choose(job.store, level, request, available=available, adding=adding, cuts=cuts)
    embedded = job.digests(encoder)
    todo: list[tuple[int, str]] = []
    roots: set[str] = set()
    unscaled: list[Mapping[str, Any]] = []
    outdated: list[str] = []
    for position, row in enumerate(row for row in rows_of(images) if row["sources"]):
        if (dataset is not None and row["dataset"] != dataset) or (cut_only and not is_cut(row)):
            continue
        if embedded.get(row["id"]) == row["source_digest"]:
            job.summary.skipped += 1
        elif is_dropped(row, encoder.spec.crop):
            job.summary.dropped += 1
            outdated += [row["id"]] if row["id"] in embedded else []
        else:
            todo.append((position, row["id"]))
            roots.add(row["root"])
            unscaled += [row] if is_cut(row) and row["pixel_size_um"] is None else []
    _check_roots(job, roots)
    check_scale(unscaled, encoder.spec)
    del images, embedded, unscaled
    if outdated:
        job.run.touched()
        job.store.delete(encoder.table, outdated)
    names = [name for name in image_schema("fov" if level == "fov" else "cell").names if name != "thumbnail"]
    for start in range(0, len(todo), SLAB_ROWS):
        slab = {i: position for position, i in todo[start : start + SLAB_ROWS]}
        full = job.store.read_rows(table, list(slab), names).to_pylist()
        _check_masks(full, encoder)
        job.embed(encoder, _pending(job, encoder, [(slab[row["id"]], row) for row in full]))
    job.complete(encoder)


def _pending(job: Job, encoder: StoredEncoder, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Pending]:
    work = []
    for position, row in rows:
        try:
            record = record_from_row(row, level=encoder.level, roots=job.roots)
            pending = job.pending(position, record, row, source_stat(record.sources), encoder)
        except ImageRejectedError as error:
            rejection = Rejection(dataset=row["dataset"], root=row["root"], source=row_source(row), reason=str(error))
            job.quarantine.put(rejection)
            continue
        if not job.quarantine.still(pending.key, pending.tried):
            work.append(pending)
    return work


def _check_masks(rows: Sequence[Mapping[str, Any]], encoder: StoredEncoder) -> None:
    """Refuse at once what would put every cell in quarantine for the same reason."""
    crop = encoder.spec.crop
    bare = [row for row in rows if is_cut(row) and row["region"] is None]
    if crop is not None and crop.blank and bare:
        message = (
            f"{bare[0]['id']}: only its box or centre is known, so neighbors cannot be blanked; name a crop that "
            f"leaves them, e.g. --crop {crop.size.replace(' ', '')} --no-blank"
        )
        raise InputError(message)


def check_scale(rows: Sequence[Mapping[str, Any]], spec: EncoderSpec) -> None:
    """Refuse a crop in micrometres where a pixel size is not known.

    Args:
        rows: Of fields, or of cells that are cut out.
        spec: Of the encoder that is to embed the cells.

    Raises:
        InputError: Naming an image and what to do.
    """
    crop = spec.crop
    unknown = [row["id"] for row in rows if row["pixel_size_um"] is None]
    if crop is not None and crop.size_um is not None and unknown:
        message = (
            f"{unknown[0]}: a crop of {crop.size_um:g} um needs the pixel size, which is not known of {len(unknown)} "
            f"images; state it with `index --pixel-size UM` (`locatlas datasets show` tells the usual), or the crop "
            f"in pixels, e.g. --crop 100px"
        )
        raise InputError(message)


def _check_roots(job: Job, names: Collection[str]) -> None:
    """A folder that is not mounted must not put its images in quarantine and an encoder in use without them."""
    for name in sorted(names):
        if name in job.roots and not job.roots[name].is_dir():
            message = f"{job.roots[name]}: not there, though images of this atlas lie in it (root {name!r}); mount it"
            raise InputError(message)

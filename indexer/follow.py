"""Embed what is missing until nothing is, though others write meanwhile. I/O."""

import logging
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.commits import Done
from locatlas.indexer.job import Job
from locatlas.indexer.missing import Missing, list_missing
from locatlas.indexer.pipeline import CHUNK_ROWS, Pending
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import Rejection
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.sources import is_cut, row_source, source_stat
from locatlas.indexer.switching import switch_to

__all__ = ["drop_outdated", "embed_missing", "follow", "follow_aside"]

_log = logging.getLogger(__name__)

SLAB_ROWS = 16 * CHUNK_ROWS
"""Rows that are held whole at once; a multiple of a chunk, so that chunks are cut as if there were no slabs."""


def follow(
    job: Job,
    encoder: StoredEncoder,
    *,
    searched_too: bool,
    switch: bool = True,
    whatever_lacks: bool = False,
    needed: Collection[str] | None = None,
) -> None:
    """Embed what is missing until nothing is, though others write, and make the encoder current if it was not.

    Args:
        job: The run, beside others.
        encoder: As the atlas knew it when it was chosen: one that was current then and is not any more stays so.
        searched_too: Whether to embed fields that were only searched for cells, too.
        switch: Whether it is to be current.
        whatever_lacks: As in `switching.switch_to`.
        needed: Of fields that were only searched for cells those to embed; None for those that the encoder in use has.
    """

    def look() -> Missing:
        job.roots = job.store.folder.root_paths()
        before = None if searched_too or needed is not None else encoders.current(job.store, encoder.level)
        held = None if searched_too else {} if before is None else job.digests(before)
        return list_missing(job, encoder, needed=held if needed is None else needed, tried=job.quarantine.seen)

    job.summary.encoders[encoder.level] = encoder
    missing = look()
    job.summary.skipped += missing.fresh
    job.summary.dropped += missing.dropped
    while True:
        while missing.todo:
            embed_missing(job, encoder, missing)
            missing = look() if encoder.state == "current" else Missing()
        if encoder.state == "current" and not missing.outdated:
            return
        with job.writing():
            missing = look()
            if not missing.todo:
                drop_outdated(job, encoder, missing)
                if switch and encoder.state != "current" and job.store.has(encoder.table):
                    switch_to(job, encoder, whatever_lacks=whatever_lacks)
                return


def follow_aside(job: Job, encoder: StoredEncoder) -> None:
    """Embed what is missing and leave the encoder that is current so.

    One that is new stands beside the current one from its first vector on, so that no `reembed` takes it for one to be
    current once a kill left it incomplete, and `maintain --drop-superseded` leaves it. Any other that is known keeps
    its state: what was current once stays superseded, which is told. Where nothing is current there is nothing to
    leave, and no question would be answered: the encoder becomes current, which is told, too.

    Args:
        job: The run, beside others.
        encoder: As the atlas knew it when it was chosen.
    """
    store, level, made = job.store, encoder.level, job.run.counts["embedded"]
    name = f"{encoder.spec.name} ({encoder.fingerprint[:12]})"
    alone = encoders.current(store, level) is None
    if not alone and not job.knows(encoder):
        encoder = replace(encoder, state="beside")
    follow(job, encoder, searched_too=True, switch=False)
    if alone and store.has(encoder.table):
        with job.writing():
            now = encoders.current(store, level)
            if now is None:
                switch_to(job, encoder)
                _log.warning("nothing was current at level %s, so that %s is now: there was none to leave", level, name)
            elif now.fingerprint != encoder.fingerprint:  # others made it so meanwhile
                job.run.touched()
                job.summary.encoders[level] = encoder = replace(encoder, state="beside")
                encoders.put(store, encoder)
    if encoder.state == "superseded" and job.run.counts["embedded"] > made:
        _log.warning(
            "%s was current once at level %s and stays superseded: `locatlas maintain --atlas %s --drop-superseded` "
            "deletes these vectors, too",
            *(name, level, shlex.quote(str(store.folder.path))),
        )


def drop_outdated(job: Job, encoder: StoredEncoder, missing: Missing) -> None:
    """Delete vectors of cells that are not to have any; the writer lock is held."""
    if missing.outdated:
        job.run.touched()
        job.store.delete(encoder.table, missing.outdated)


def embed_missing(job: Job, encoder: StoredEncoder, missing: Missing) -> None:
    """Embed what is listed, some rows at a time."""
    table = image_table(encoder.level)
    names = [name for name in image_schema("fov" if encoder.level == "fov" else "cell").names if name != "thumbnail"]
    rows = SLAB_ROWS if job.engine is None else job.engine.slab_rows
    for start in range(0, len(missing.todo), rows):
        slab = {i: position for position, i in missing.todo[start : start + rows]}
        full = job.store.read_rows(table, list(slab), names).to_pylist()
        _check_masks(full, encoder)
        job.embed(encoder, _pending(job, encoder, [(slab[row["id"]], row) for row in full]))


def _pending(job: Job, encoder: StoredEncoder, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Pending]:
    work, refused = [], Done()
    for position, row in rows:
        try:
            record = record_from_row(row, level=encoder.level, roots=job.roots)
            pending = job.pending(position, record, row, source_stat(record.sources), encoder)
        except ImageRejectedError as error:
            rejection = Rejection(dataset=row["dataset"], root=row["root"], source=row_source(row), reason=str(error))
            refused.bad.append((row, rejection))
            continue
        if not job.quarantine.still(pending.key, pending.tried):
            work.append(pending)
    if refused.bad:
        job.commits(encoder).put(refused)
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

"""The switch: when an encoder is complete, whether it may take the place of the current one, and that it does. I/O."""

import logging
import shlex
from collections.abc import Collection
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.dropped import PLACE_COLUMNS, is_dropped
from locatlas.indexer.job import Job
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import rejection_id
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.sources import row_source
from locatlas.indexer.store.tables import Store

__all__ = ["LACKING_SHARE", "complete", "lacks_too_many", "switch_to"]

_log = logging.getLogger(__name__)

LACKING_SHARE = 0.01
"""Of the images that have a vector by the current encoder those that may lack one by the encoder switched to."""


def complete(job: Job, encoder: StoredEncoder) -> None:
    """Make an encoder current once every image of its level has its vector, quarantined and lost ones excepted.

    Fields that were only searched for cells need none: no encoder of fields was asked to take them.
    """
    job.summary.encoders[encoder.level] = encoder
    if encoder.state == "current" or not job.store.has(encoder.table):
        return
    columns = ["id", "dataset", "root", "sources", "row", "source_digest"]
    if encoder.level == "cell":
        columns += ["cell", *PLACE_COLUMNS]
    else:
        columns += ["segmenter"]
    embedded = job.digests(encoder)
    before = encoders.current(job.store, encoder.level)
    needed = {} if before is None else job.digests(before)
    for row in rows_of(job.store.read(image_table(encoder.level), columns)):
        # a row without a source was imported with the vector of another encoder: this one cannot have it
        if embedded.get(row["id"]) == row["source_digest"] or not row["sources"]:
            continue
        if is_dropped(row, encoder.spec.crop):
            continue
        if row.get("segmenter") is not None and row["id"] not in needed:
            continue
        if job.quarantine.holds(rejection_id(row["dataset"], row["root"], row_source(row))):
            continue
        if (job.store.folder.root_path(row["root"]) / row["sources"][0]["path"]).exists():
            return
    switch_to(job, encoder)


def switch_to(job: Job, encoder: StoredEncoder, *, whatever_lacks: bool = False) -> None:
    """Make an encoder current, in one commit; images that stop answering with that are told.

    Where too many would (`lacks_too_many`), the one before stays current, and the other is left beside it,
    in the state that says so.

    Args:
        job: The run.
        encoder: To be current.
        whatever_lacks: Whether it is to be current however many images lack a vector by it.
    """
    before = encoders.current(job.store, encoder.level)
    held = set() if before is None else set(job.digests(before))
    lost = held - job.digests(encoder).keys()
    if before is not None and lost:
        level, new = encoder.level, f"{encoder.spec.name} ({encoder.fingerprint[:12]})"
        old = f"{before.spec.name} ({before.fingerprint[:12]})"
        if not whatever_lacks and lacks_too_many(job.store, before, encoder, lost, len(held)):
            _log.warning(
                "%d of %d images that have a vector by %s have none by %s, so the first stays current; `locatlas "
                "reembed --atlas %s --level %s --encoder %s` switches in spite of it",
                *(len(lost), len(held), old, new),
                *(shlex.quote(str(job.store.folder.path)), level, encoder.fingerprint[:12]),
            )
            if encoder.state == "building":
                job.run.touched()
                encoder = replace(encoder, state="beside")
                encoders.put(job.store, encoder)
            job.summary.encoders[level] = encoder
            return
        _log.warning(
            "%d images that have a vector by %s have none by %s, and do not answer while it is current",
            *(len(lost), old, new),
        )
    job.run.touched()
    encoders.switch_to(job.store, encoder)
    job.summary.encoders[encoder.level] = replace(encoder, state="current")
    if before is not None and before.fingerprint != encoder.fingerprint:
        job.summary.superseded[encoder.level] = replace(before, state="superseded")


def lacks_too_many(store: Store, before: StoredEncoder, encoder: StoredEncoder, lost: Collection[str], n: int) -> bool:
    """Whether more than `LACKING_SHARE` of the images that answer would stop, against what was asked for.

    Cells that the encoder's crop plan leaves out were asked to be. Imported vectors, which no encoder can make, hold
    no switch back.

    Args:
        store: The atlas.
        before: The current encoder.
        encoder: To be current.
        lost: Ids of images that have a vector by the first and none by the second.
        n: Images that have one by the first.
    """
    if before.is_imported or len(lost) <= LACKING_SHARE * n:
        return False
    crop, asked = encoder.spec.crop, 0
    if crop is not None and crop.border == "drop":
        cells = store.read("cells", ["id", "root", "sources", "row", "cell", *PLACE_COLUMNS])
        cells = cells.filter(pc.is_in(cells["id"], value_set=pa.array(sorted(lost), pa.string())))
        asked = sum(is_dropped(row, crop) for row in rows_of(cells))
    return len(lost) - asked > LACKING_SHARE * n

"""What a data set means for an atlas: which images are new, changed, described anew, unchanged or not usable. I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.decoding import source_digest
from locatlas.indexer.job import Job
from locatlas.indexer.packed import Packed
from locatlas.indexer.pipeline import FROM_PIXELS, Pending
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import Rejection
from locatlas.indexer.store.rows import METADATA_COLUMNS, described, with_stated_scale
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.sources import is_cut, own_place, root_of, source_name, source_stat

__all__ = ["NOT_PLANNED", "Plan", "SeenImage", "look_up_image", "make_plan"]

NOT_PLANNED = ("thumbnail", "region")
"""Columns of the image tables that decide nothing and are most of their bytes."""


@dataclass(slots=True)
class Plan:
    """What is to be done for the records of one level.

    Attributes:
        work: Images to embed, by position.
        described_anew: Rows whose metadata changed while the pixels did not.
        unchanged: Images with nothing to do.
        redeclared: Ids whose channels, or whose row of a stacked file, are others than before.
        rescaled: Ids whose pixel size is another.
        erased: Ids that have localizations now and would have none.
    """

    work: Packed[Pending] = field(default_factory=Packed)
    described_anew: list[dict[str, Any]] = field(default_factory=list)
    unchanged: int = 0
    redeclared: set[str] = field(default_factory=set)
    rescaled: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class SeenImage:
    """What a reader says of an image, beside what the atlas holds of it.

    Attributes:
        stat: Size and time of its sources.
        said: Its metadata columns as its row is to have them.
        here: Its row, None for a new image.
    """

    stat: str
    said: dict[str, Any]
    here: Mapping[str, Any] | None

    @property
    def loses_labels(self) -> bool:
        """Whether it has localizations now and would have none."""
        here = self.here
        return here is not None and bool(here["sources"] and here["localizations"]) and not self.said["localizations"]

    @property
    def redeclared(self) -> bool:
        """Whether its channels, or its row of a stacked file, are others than before."""
        here, said = self.here, self.said
        return here is not None and (_planes(here) != _planes(said) or here["row"] != said["row"])

    @property
    def rescaled(self) -> bool:
        """Whether its pixel size is another."""
        return self.here is not None and self.here["pixel_size_um"] != self.said["pixel_size_um"]


def look_up_image(
    job: Job, record: ImageRecord, stored: Mapping[str, Mapping[str, Any]], taken: set[str], *, replaces: bool
) -> SeenImage:
    """Look at a record's files and at the row of its id.

    Args:
        job: The run.
        record: What the reader yielded.
        stored: Rows by id.
        taken: Ids of this reading so far; the record's is added.
        replaces: As in `make_plan`.

    Raises:
        ImageRejectedError: If its files are missing or outside of the roots, or its id is that of another image.
    """
    stat = source_stat(record.sources)
    said = described(record, roots=job.roots)
    if said["id"] in taken:
        message = f"{record.sources[0].path}: id {said['id']!r} is already that of another image"
        raise ImageRejectedError(message)
    taken.add(said["id"])
    here = stored.get(said["id"])
    if here is not None and is_cut(here):
        message = (
            f"{record.sources[0].path}: id {said['id']} is that of a cell that is cut out of {here['fov_id']}; "
            "give the image another one"
        )
        raise ImageRejectedError(message)
    said = with_stated_scale(said, here)
    if here is not None and here["sources"]:
        said |= _settled_source(job, here, said, record, replaces=replaces)
    return SeenImage(stat, said, here)


def make_plan(job: Job, encoder: StoredEncoder, records: Iterable[ImageRecord], *, replaces: bool) -> Plan:
    """Compare records with what the atlas holds. What cannot be used goes to the job's quarantine.

    Args:
        job: The run.
        encoder: Whose vectors the images are to have.
        records: Of one level, sorted by id.
        replaces: Whether an id may go over to another file below the same root: a folder's reader has seen both and
            chose, while two manifests of a folder know nothing of each other.
    """
    plan = Plan()
    table, fields = image_table(encoder.level), image_schema("fov" if encoder.level == "fov" else "cell").names
    stored = {row["id"]: row for row in job.store.read(table, [f for f in fields if f not in NOT_PLANNED]).to_pylist()}
    embedded = job.digests(encoder)
    taken: set[str] = set()
    for position, record in enumerate(records):
        root = root_of(record.sources[0].path, job.roots) or next(iter(job.roots))
        try:
            seen = look_up_image(job, record, stored, taken, replaces=replaces)
            plan.erased |= {seen.said["id"]} if seen.loses_labels else set()
            _plan_one(job, encoder, plan, position, record, seen, embedded)
        except ImageRejectedError as error:
            job.quarantine.put(
                Rejection(dataset=record.dataset, root=root, source=source_name(record, job.roots), reason=str(error))
            )
    _add_pictures(job, table, plan)
    return plan


def _plan_one(
    job: Job,
    encoder: StoredEncoder,
    plan: Plan,
    position: int,
    record: ImageRecord,
    seen: SeenImage,
    embedded: Mapping[str, str],
) -> None:
    stat, said, here = seen.stat, seen.said, seen.here
    image_id = said["id"]
    row = {k: v for k, v in (here or {}).items() if k not in FROM_PIXELS} | said
    pending = job.pending(position, record, row, stat, encoder)
    if here is None or not here["sources"]:
        if not job.quarantine.still(pending.key, pending.tried):
            plan.work.append(pending)
        return
    redeclared, rescaled = seen.redeclared, seen.rescaled
    again = (
        redeclared
        or (rescaled and encoder.spec.pixel_size_um is not None)
        or embedded.get(image_id) != here["source_digest"]
    )
    if not again and (here["source_stat"], _paths(here)) != (stat, _paths(said)):
        if job.quarantine.still(pending.key, pending.tried):
            return
        # touched, copied or moved: only other bytes are another image
        again = source_digest(record) != here["source_digest"]
    if again:
        if not job.quarantine.still(pending.key, pending.tried):
            plan.work.append(pending)
            plan.redeclared |= {image_id} if redeclared else set()
            plan.rescaled |= {image_id} if rescaled else set()
    elif here["source_stat"] != stat or any(
        here[c] != said.get(c, here[c]) for c in (*METADATA_COLUMNS, "fov_id") if c in here
    ):
        plan.described_anew.append({**here, **said, "source_stat": stat})
        plan.rescaled |= {image_id} if rescaled else set()
    else:
        plan.unchanged += 1


def _planes(row: Mapping[str, Any]) -> list[list[str]]:
    return [source["channels"] for source in row["sources"]]


def _paths(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    return row["root"], [source["path"] for source in row["sources"]]


def _settled_source(
    job: Job, here: Mapping[str, Any], said: Mapping[str, Any], record: ImageRecord, *, replaces: bool
) -> dict[str, Any]:
    """Root and sources as the row is to have them; {} where they are as the reader said.

    Args:
        job: The run.
        here: The stored row of the id.
        said: What the reader said (`described`).
        record: What the reader yielded.
        replaces: As in `make_plan`.

    Raises:
        ImageRejectedError: If the id is that of another image, which is still there.
    """
    if _paths(here) == _paths(said):
        return {}
    before, now = _absolute(job, here), _absolute(job, said)
    if before == now:
        pairs = zip(_own_places(job, here), _own_places(job, said), strict=True)
        if any(its != mine and not its.is_symlink() for its, mine in pairs):
            return {}  # links to what the row has, as an earlier version stored them: without them, it would be gone
        # the same files below another root, e.g. a folder within the one that was indexed: the row keeps its own
        kept = [{**mine, "path": its["path"]} for mine, its in zip(said["sources"], here["sources"], strict=True)]
        return {"root": here["root"], "sources": kept, "mask": _mask_below(job, here, said)}
    if replaces and here["root"] == said["root"]:
        return {}  # replaced by the reader's own choice
    gone = not before[0].exists()
    if gone and source_digest(record) == here["source_digest"]:
        return {}  # moved
    where = f"{before[0]}{' (not there now)' if gone else ''}"
    message = (
        f"{now[0]}: id {said['id']} already belongs to {where}; give the data set another name with --name, "
        "or the image an id"
    )
    raise ImageRejectedError(message)


def _own_places(job: Job, row: Mapping[str, Any]) -> list[Path]:
    root = job.store.folder.root_path(row["root"])
    return [own_place(root / source["path"]) for source in row["sources"]]


def _absolute(job: Job, row: Mapping[str, Any]) -> list[Path]:
    return [place.resolve() for place in _own_places(job, row)]


def _mask_below(job: Job, here: Mapping[str, Any], said: Mapping[str, Any]) -> str | None:
    """The mask's path below the row's own root."""
    if said["mask"] is None:
        return None
    mask = (job.store.folder.root_path(said["root"]) / said["mask"]).resolve()
    root = job.store.folder.root_path(here["root"]).resolve()
    if not mask.is_relative_to(root):
        message = f"{mask}: lies outside {root}, where the image of the atlas lies"
        raise ImageRejectedError(message)
    return mask.relative_to(root).as_posix()


def _add_pictures(job: Job, table: str, plan: Plan) -> None:
    """Thumbnails of the rows that are written anew: they were not read with the rest."""
    if not plan.described_anew:
        return
    rows = {row["id"]: row for row in plan.described_anew}
    for row in job.store.read_rows(table, list(rows), ["id", "thumbnail"]).to_pylist():
        rows[row["id"]]["thumbnail"] = row["thumbnail"]

"""Which images of a level have no vector of an encoder, or one of pixels that are not there now. Reads the store."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import InputError
from locatlas.indexer.dropped import PLACE_COLUMNS, is_dropped
from locatlas.indexer.job import Job
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import rejection_id
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.sources import is_cut, row_source
from locatlas.models.spec import EncoderSpec

__all__ = ["Missing", "check_scale", "list_missing"]


@dataclass(slots=True)
class Missing:
    """What an encoder has not embedded.

    Attributes:
        todo: Position and id of images to be embedded; the position is that among all images of the level that have a
            source, sorted by id.
        fresh: Images that have their vector.
        dropped: Cells that the encoder's crop plan makes no vector of.
        outdated: Ids of such cells that have a vector of other pixels.
    """

    todo: list[tuple[int, str]] = field(default_factory=list)
    fresh: int = 0
    dropped: int = 0
    outdated: list[str] = field(default_factory=list)


def list_missing(
    job: Job,
    encoder: StoredEncoder,
    *,
    dataset: str | None = None,
    cut_only: bool = False,
    needed: Collection[str] | None = None,
    tried: Collection[str] = (),
) -> Missing:
    """Compare the images of a level with the vectors of an encoder.

    Args:
        job: The run.
        encoder: Whose vectors.
        dataset: Only the images of this data set.
        cut_only: Only cells that are cut out of their fields.
        needed: Of fields that were searched for cells only those with these ids; None for all.
        tried: Keys of sources in quarantine to leave out.

    Raises:
        InputError: If a folder in which images lie is not there, or the encoder cannot cut them.
    """
    images, digests = _with_source(job, encoder.level), job.digests(encoder)
    found, wide = Missing(), []
    rows = zip(*(images[c].to_pylist() for c in ("id", "source_digest", "dataset")), _is_cut(images), strict=True)
    for position, (i, digest, name, cut) in enumerate(rows):
        if (dataset is not None and name != dataset) or (cut_only and not cut):
            continue
        if digests.get(i) == digest:
            found.fresh += 1
        else:
            wide.append(position)
    roots: set[str] = set()
    unscaled: list[Mapping[str, Any]] = []
    for position, row in zip(wide, rows_of(images.take(pa.array(wide, pa.int64()))), strict=True):
        if needed is not None and row.get("segmenter") is not None and not is_cut(row) and row["id"] not in needed:
            continue
        if is_dropped(row, encoder.spec.crop):
            found.dropped += 1
            found.outdated += [row["id"]] if row["id"] in digests else []
        elif rejection_id(row["dataset"], row["root"], row_source(row)) not in tried:
            if is_cut(row) and encoder.spec.crop is None:
                message = (
                    f"{row['id']}: encoder {encoder.spec.name} ({encoder.fingerprint[:12]}) embeds whole images and "
                    "cannot cut cells; add one that does with `locatlas embed --level cell --crop 41um`"
                )
                raise InputError(message)
            found.todo.append((position, row["id"]))
            roots.add(row["root"])
            unscaled += [row] if is_cut(row) and row["pixel_size_um"] is None else []
    _check_roots(job, roots)
    check_scale(unscaled, encoder.spec)
    return found


def _with_source(job: Job, level: str) -> pa.Table:
    """The images of a level that can be read, sorted by id; imported vectors have none."""
    columns = ["id", "dataset", "root", "sources", "row", "source_digest"]
    columns += ("cell", *PLACE_COLUMNS) if level == "cell" else ("segmenter",)
    images = job.store.read(image_table(level), columns)
    return images.filter(pc.greater(pc.list_value_length(images["sources"]), 0))


def _is_cut(images: pa.Table) -> list[bool]:
    if "box" not in images.column_names:
        return [False] * len(images)
    return list(images["box"].is_valid().to_pylist())


def check_scale(rows: Collection[Mapping[str, Any]], spec: EncoderSpec) -> None:
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

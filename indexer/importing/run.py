"""Bring vectors that were made elsewhere into an atlas, with their metadata, under an encoder of their own. I/O."""

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import EncoderMismatchError, InputError
from locatlas.indexer import allocator
from locatlas.indexer.importing.again import digests_of, same_under_another_name
from locatlas.indexer.importing.blocks import VectorRows
from locatlas.indexer.importing.files import read_vector_file
from locatlas.indexer.importing.ids import Met, ids_of, met
from locatlas.indexer.importing.rows import described_anew, imported_rows
from locatlas.indexer.indices.disk import require_length
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.maintain import drop_vectors
from locatlas.indexer.published.writing import writes
from locatlas.indexer.store import encoders
from locatlas.indexer.store.aligned import one_array, rows_in
from locatlas.indexer.store.disk import bytes_of_images, require_space
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.storing import as_stored
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import tidy
from locatlas.indexer.units import positive_number
from locatlas.models.spec import EncoderSpec, Storage

__all__ = ["import_embeddings"]

logger = logging.getLogger(__name__)

_COMMIT_ROWS, _COMMIT_BYTES = 32_768, 64 << 20


@writes("import-embeddings")
def import_embeddings(
    file: str | Path,
    *,
    atlas: str | Path,
    name: str,
    dataset: str = "imported",
    level: Literal["fov", "cell"] | str = "fov",
    label_names: Sequence[str] = (),
    storage: Storage = "float32",
    faiss: str = "none",
) -> dict[str, Any]:
    """Import a file of vectors; a second import of the same file does nothing.

    Ids that the atlas already has at this level (as they stand, or as "<dataset>/<id>") get one more vector, by this
    encoder, and keep their metadata. Others get a row with the file's metadata and no image; importing the file again
    with other metadata brings that row up to date.

    Args:
        file: Parquet, npz or DINO4Cells .pth, see `read_vector_file`.
        atlas: Atlas folder; made if absent.
        name: Names the vectors' encoder; files of the same name and length belong together.
        dataset: First part of the ids of new rows.
        level: "fov" or "cell".
        label_names: Names of a .pth's label columns.
        storage: Numbers of the vectors' table: "float32", or rounded to "float16", which takes half of the disk.
        faiss: Index that is to be built afterwards (`indices.refresh.refresh`): where the vectors are current then and
            it is not for them, it is refused before anything is stored.

    Returns:
        imported, of these replaced (in place of another vector of the same image) and repeated (new images whose vector
        is here as that of another image by the encoder), updated, skipped, with_image and without_image (how many of
        the file's ids are images of the atlas), nearly_met (ids that are images but for their first parts,
        `importing.ids.NearlyMet`), resumed (whether some of these had been
        stored by an import of the name that was stopped), dim, degenerate, same_as (another imported encoder by which
        the same images have the same vectors: {name, fingerprint}, or None; looked for at the first import of a name),
        encoder {name, fingerprint, state}.

    Raises:
        InputError: If the file cannot be used, or no index of that type can be built.
        EncoderMismatchError: If the vectors of that name here have another length or storage, or were embedded here.
        AtlasLockedError: If another process writes.
    """
    _check_arguments(name, dataset, level)
    file, atlas = Path(file), Path(atlas)
    found = read_vector_file(file, label_names=label_names)
    dim = found.dim
    spec = _imported_spec(name, dim, storage)
    if faiss == DISK:
        here = encoders.current(Store.open(atlas), level) if (atlas / "atlas.json").exists() else None
        if here is None or here.fingerprint == spec.fingerprint:  # else no index is theirs
            require_length(dim)
    store = Store.create(atlas)
    with (
        store.folder.writer(f"import-embeddings {file}"),
        Run.record(store, "import-embeddings", dataset=dataset) as run,
    ):
        known = encoders.stored_encoders(store, level)
        for other in known:
            if other.spec.name == name and other.fingerprint != spec.fingerprint:
                raise EncoderMismatchError(_taken(file, atlas, other, spec))
        _drop_begun(store, known, name, level, dim, spec, run)
        encoder = next((e for e in known if e.fingerprint == spec.fingerprint), StoredEncoder(level, spec, "building"))
        require_space(store.folder.path, bytes_of_images(len(found), dim))
        # the encoder is made known last, so that vectors of one that is not are those of an import that was stopped
        resumed = encoder.state == "building" and store.has(encoder.table)
        done = _write(store, encoder, found, file, dataset, run)
        same = None
        if encoder.state == "building":
            same = same_under_another_name(store, encoder, known)
            # beside images that were embedded here it stands ready by name; alone it is what queries use
            others = any(e.state == "current" for e in known)
            encoder = StoredEncoder(level, spec, "beside" if others else "current")
            run.touched()
            encoders.put(store, encoder)
        tidy(store, (encoder.table, image_table(level)), run)
    return {
        "imported": done.imported,
        "replaced": done.replaced,
        "repeated": done.repeated,
        "updated": done.updated,
        "skipped": len(found) - done.imported - done.updated,
        **done.met.to_dict(),
        "resumed": resumed,
        "dim": dim,
        "degenerate": done.degenerate,
        "same_as": None if same is None else {"name": same.spec.name, "fingerprint": same.fingerprint},
        "encoder": {"name": name, "fingerprint": spec.fingerprint, "state": encoder.state},
    }


def _drop_begun(
    store: Store, known: Sequence[StoredEncoder], name: str, level: str, dim: int, spec: EncoderSpec, run: Run
) -> None:
    """Delete what an import of the name that was stopped had begun to store in other numbers: no encoder has it."""
    for storage in get_args(Storage):
        begun = StoredEncoder(level, _imported_spec(name, dim, storage), "building")
        no_encoders = begun.fingerprint not in {spec.fingerprint, *(e.fingerprint for e in known)}
        if no_encoders and store.has(begun.table):
            logger.warning(
                "%d vectors of %s, which an import that was stopped had begun to store as %s, are deleted",
                *(store.count(begun.table), name, storage),
            )
            run.touched()
            drop_vectors(store, begun)


def _taken(file: Path, atlas: Path, other: StoredEncoder, spec: EncoderSpec) -> str:
    if not other.is_imported:
        return f"{file}: {other.spec.name!r} is an encoder of {atlas} that embeds images itself; choose another --name"
    if other.spec.dim == spec.dim:
        return (
            f"{file}: asked to store {spec.storage}; {other.spec.name!r} in {atlas} is stored as {other.spec.storage}. "
            f"Say --storage {other.spec.storage}, or choose another --name"
        )
    return (
        f"{file}: vectors of {spec.dim} numbers; {other.spec.name!r} in {atlas} has {other.spec.dim}. "
        "Choose another --name"
    )


def _check_arguments(name: str, dataset: str, level: str) -> None:
    if level not in ("fov", "cell"):
        message = f"level {level!r}: vectors are imported at level fov or cell"
        raise InputError(message)
    for what, value in (("encoder name", name), ("data set name", dataset)):
        if not value or not value.isprintable() or value != unicodedata.normalize("NFC", value):
            message = f"{what} {value!r}: must not be empty, and have no control characters, NFC only"
            raise InputError(message)
    if "/" in dataset:
        message = f"data set name {dataset!r}: must have no '/', which ends it in the ids"
        raise InputError(message)


def _imported_spec(name: str, dim: int, storage: Storage) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        architecture=encoders.IMPORTED,
        slots=("unknown",),
        input_px=0,
        embedding_dim=dim,
        weights_sha256=f"imported:{name}",
        source="imported",
        storage=storage,
        notes="vectors made elsewhere: locatlas cannot embed further images with it",
    )


@dataclass(frozen=True, slots=True)
class _Done:
    """What an import did, as `import_embeddings` tells it."""

    imported: int
    replaced: int
    repeated: int
    updated: int
    degenerate: int
    met: Met


def _write(store: Store, encoder: StoredEncoder, found: VectorRows, file: Path, dataset: str, run: Run) -> _Done:
    """Compare what the file says with what is there, and write what differs, block by block."""
    table = image_table(encoder.level)
    images = store.read(table, [name for name in _schema(encoder.level).names if name != "thumbnail"])
    ids = ids_of(found.names, images["id"], file, dataset)
    _check_sizes(ids, found, file)
    _check_storage(ids, found, encoder)
    place, stored = rows_in(ids, images["id"]), _stored(store, encoder.table)
    before, vectors_there = digests_of(ids, stored), one_array(stored["source_digest"])
    run.level, run.fingerprint = encoder.level, encoder.fingerprint
    start = n_imported = n_replaced = n_repeated = n_updated = n_zero = 0
    for vectors in found.blocks(_rows_at_once(found.dim)):
        part = slice(start, start + len(vectors))
        start = part.stop
        names, digests = ids[part], pa.array([blake2b(v, digest_size=16).hexdigest() for v in vectors], pa.string())
        said = {name: column[part] for name, column in found.columns.items()}
        rows = imported_rows(names, digests, said, dataset=dataset, level=encoder.level)
        described = _described(rows, images, place[part], encoder.level)
        # rows first: a vector never stands without its image row
        if len(described):
            run.touched()
            store.upsert(table, described)
        other = pc.fill_null(pc.not_equal(before[part], digests), fill_value=True)
        if n_other := pc.sum(other).as_py():
            run.touched()
            chosen = vectors if n_other == len(vectors) else vectors[other.to_numpy(zero_copy_only=False)]
            written, of = names.filter(other).to_pylist(), digests.filter(other).to_pylist()
            store.put_embeddings(encoder.level, encoder.fingerprint, written, of, chosen, encoder.spec.storage)
        anew = pc.is_in(names, value_set=one_array(described["id"]))
        run.wrote(names.filter(pc.or_(anew, other)).to_pylist())
        n_imported += n_other
        new = pc.is_null(before[part])
        n_replaced += n_other - pc.sum(new).as_py()
        n_repeated += pc.sum(pc.is_in(digests.filter(new), value_set=vectors_there)).as_py() or 0
        n_updated += pc.sum(pc.and_(anew, pc.invert(other))).as_py()
        n_zero += int(np.count_nonzero(~vectors.any(axis=1)))
        allocator.give_back()
    run.counts["imported"], run.counts["updated"] = n_imported, n_updated
    return _Done(n_imported, n_replaced, n_repeated, n_updated, n_zero, met(found.names, ids, images))


def _rows_at_once(dim: int) -> int:
    """Of one commit: each looks at all ids that are there, so that many small ones take long."""
    return max(1, min(_COMMIT_ROWS, _COMMIT_BYTES // (4 * dim)))


def _schema(level: str) -> pa.Schema:
    return image_schema("fov" if level == "fov" else "cell")


def _stored(store: Store, table: str) -> pa.Table:
    """Ids and digests of the vectors that are there."""
    if not store.has(table):
        return pa.table({name: pa.array([], pa.string()) for name in ("id", "source_digest")})
    return store.read(table, ["id", "source_digest"])


def _described(rows: pa.Table, images: pa.Table, place: NDArray[np.int64], level: str) -> pa.Table:
    """Rows that are new, and those that stand at `place` and that the file tells more or other things of."""
    there = place >= 0
    new = rows.filter(pa.array(~there))
    if not there.any():
        return new
    here = images.take(pa.array(place[there])).to_pylist()
    pairs = zip(here, rows.filter(pa.array(there)).to_pylist(), strict=True)
    return pa.concat_tables([new, image_rows([anew for h, row in pairs if (anew := described_anew(h, row))], level)])


def _check_storage(ids: pa.Array, found: VectorRows, encoder: StoredEncoder) -> None:
    """Refuse vectors that the table's numbers do not hold before anything is written: the file is read once more."""
    start, rows = 0, _rows_at_once(found.dim)
    for vectors in found.blocks(rows) if encoder.spec.storage != "float32" else ():
        as_stored(vectors, encoder.spec.storage, ids[start : start + len(vectors)].to_pylist(), encoder.table)
        start += len(vectors)


def _check_sizes(ids: pa.Array, found: VectorRows, file: Path) -> None:
    """Refuse a pixel size that is none before anything is written."""
    sizes = found.columns.get("pixel_size_um", pa.array([], pa.string()))
    for size in pc.unique(sizes).to_pylist():
        if size not in (None, "") and positive_number(size) is None:
            wrong = ids[pc.index(sizes, pa.scalar(size)).as_py()].as_py()
            message = f"{file}: pixel_size_um of {wrong!r} must be a positive number of micrometres, got {size!r}"
            raise InputError(message)

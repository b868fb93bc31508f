"""Bring vectors that were made elsewhere into an atlas, with their metadata, under an encoder of their own. I/O."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from locatlas.errors import EncoderMismatchError, InputError
from locatlas.indexer import encoders
from locatlas.indexer.disk import bytes_of_images, require_space
from locatlas.indexer.encoders import StoredEncoder
from locatlas.indexer.ledger import Run
from locatlas.indexer.rows import image_rows, pairs
from locatlas.indexer.schema import image_schema, image_table
from locatlas.indexer.store import Store
from locatlas.indexer.tidy import tidy
from locatlas.indexer.units import positive_number
from locatlas.indexer.vector_files import VectorFile, read_vector_file
from locatlas.models.spec import EncoderSpec

__all__ = ["import_embeddings"]

_TEXT_COLUMNS = ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well")
_METADATA = (*_TEXT_COLUMNS, "channels", "pixel_size_um", "localizations", "groups", "metadata", "fov_id")
_COMMIT_ROWS = 8192


def import_embeddings(
    file: str | Path,
    *,
    atlas: str | Path,
    name: str,
    dataset: str = "imported",
    level: Literal["fov", "cell"] | str = "fov",
    label_names: Sequence[str] = (),
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

    Returns:
        imported, updated, skipped, dim, encoder {name, fingerprint, state}.

    Raises:
        InputError: If the file cannot be used.
        EncoderMismatchError: If the vectors of that name here have another length, or were embedded here.
        AtlasLockedError: If another process writes.
    """
    _check_arguments(name, dataset, level)
    file, atlas = Path(file), Path(atlas)
    found = read_vector_file(file, label_names=label_names)
    dim = found.vectors.shape[1]
    spec = _imported_spec(name, dim)
    store = Store.create(atlas)
    with (
        store.folder.writer(f"import-embeddings {file}"),
        Run.record(store, "import-embeddings", dataset=dataset) as run,
    ):
        known = encoders.stored_encoders(store, level)
        for other in known:
            if other.spec.name == name and other.fingerprint != spec.fingerprint:
                raise EncoderMismatchError(_taken(file, atlas, other, dim))
        encoder = next((e for e in known if e.fingerprint == spec.fingerprint), StoredEncoder(level, spec, "building"))
        require_space(store.folder.path, bytes_of_images(len(found.ids), dim))
        imported, updated = _write(store, encoder, found, file, dataset, run)
        if encoder.state == "building":
            # beside images that were embedded here it stands ready by name; alone it is what queries use
            others = any(e.state == "current" for e in known)
            encoder = StoredEncoder(level, spec, "superseded" if others else "current")
            run.touched()
            encoders.put(store, encoder)
        tidy(store, (encoder.table, image_table(level)), run)
    return {
        "imported": imported,
        "updated": updated,
        "skipped": len(found.ids) - imported - updated,
        "dim": dim,
        "degenerate": int((~found.vectors.any(axis=1)).sum()),
        "encoder": {"name": name, "fingerprint": spec.fingerprint, "state": encoder.state},
    }


def _taken(file: Path, atlas: Path, other: StoredEncoder, dim: int) -> str:
    if not other.is_imported:
        return f"{file}: {other.spec.name!r} is an encoder of {atlas} that embeds images itself; choose another --name"
    return (
        f"{file}: vectors of {dim} numbers; {other.spec.name!r} in {atlas} has {other.spec.dim}. Choose another --name"
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


def _imported_spec(name: str, dim: int) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        architecture=encoders.IMPORTED,
        slots=("unknown",),
        input_px=0,
        embedding_dim=dim,
        weights_sha256=f"imported:{name}",
        source="imported",
        notes="vectors made elsewhere: locatlas cannot embed further images with it",
    )


def _write(
    store: Store, encoder: StoredEncoder, found: VectorFile, file: Path, dataset: str, run: Run
) -> tuple[int, int]:
    """How many vectors were written, and how many rows of unchanged vectors got new metadata."""
    table = image_table(encoder.level)
    images = _images(store, table)
    ids = [i if i in images or i.startswith(f"{dataset}/") else f"{dataset}/{i}" for i in found.ids]
    if twice := next((i for i, n in Counter(ids).items() if n > 1), None):
        message = f"{file}: ids meet once the data set's name stands before them: {twice!r}"
        raise InputError(message)
    digests = [hashlib.blake2b(v.tobytes(), digest_size=16).hexdigest() for v in found.vectors]
    _check_sizes(ids, found, file)
    have: dict[str, str] = {}
    if store.has(encoder.table):
        stored = store.read(encoder.table, ["id", "source_digest"])
        have = dict(zip(stored["id"].to_pylist(), stored["source_digest"].to_pylist(), strict=True))
    n_imported = n_updated = 0
    run.level, run.fingerprint = encoder.level, encoder.fingerprint
    for start in range(0, len(ids), _COMMIT_ROWS):
        part = range(start, min(start + _COMMIT_ROWS, len(ids)))
        # a row as Python has it takes kilobytes: never those of all
        rows = {n: _image_row(ids[n], n, found, dataset, digests[n]) for n in part}
        described = {n: anew for n, row in rows.items() if (anew := _described_anew(images.get(ids[n]), row))}
        # rows first: a vector never stands without its image row
        if described:
            run.touched()
            store.upsert(table, image_rows(list(described.values()), encoder.level))
        if chosen := [n for n in part if have.get(ids[n]) != digests[n]]:
            run.touched()
            store.put_embeddings(
                encoder.level,
                encoder.fingerprint,
                [ids[n] for n in chosen],
                [digests[n] for n in chosen],
                found.vectors[chosen],
            )
        run.wrote([ids[n] for n in sorted({*described, *chosen})])
        n_imported, n_updated = n_imported + len(chosen), n_updated + len(described.keys() - set(chosen))
    run.counts["imported"], run.counts["updated"] = n_imported, n_updated
    return n_imported, n_updated


def _check_sizes(ids: Sequence[str], found: VectorFile, file: Path) -> None:
    """Refuse a pixel size that is none before anything is written."""
    for i, size in zip(ids, found.columns.get("pixel_size_um", ()), strict=False):
        if size not in (None, "") and positive_number(size) is None:
            message = f"{file}: pixel_size_um of {i!r} must be a positive number of micrometres, got {size!r}"
            raise InputError(message)


def _images(store: Store, table: str) -> dict[str, dict[str, Any]]:
    """The rows of an image table by id, without pictures."""
    fields = image_schema("fov" if table == "fovs" else "cell").names
    return {row["id"]: row for row in store.read(table, [f for f in fields if f != "thumbnail"]).to_pylist()}


def _described_anew(here: Mapping[str, Any] | None, row: dict[str, Any]) -> dict[str, Any] | None:
    """The row as it is to be written; None where it may stay.

    Images keep what their data set says of them. Of a row without an image, what this file says replaces what stands
    there, and what it does not say stays.
    """
    if here is None:
        return row
    if here["sources"]:
        return None
    told = {name: row[name] for name in _METADATA if row.get(name) not in (None, [])}
    for name in ("groups", "metadata"):
        before, said = ({p["name"]: p["value"] for p in r[name]} for r in (here, row))
        told[name] = pairs(before | said)
    return {**here, **told} if any(here.get(name) != value for name, value in told.items()) else None


def _image_row(image_id: str, row: int, found: VectorFile, dataset: str, digest: str) -> dict[str, Any]:
    """A row without an image, from the manifest's metadata columns."""
    given = {name: values[row] for name, values in found.columns.items() if values[row] not in (None, "")}
    own = {*_TEXT_COLUMNS, "localizations", "pixel_size_um", "fov_id", "path", "channels", "level", "dataset"}
    localizations = sorted({part.strip() for part in (given.get("localizations") or "").split(";") if part.strip()})
    return {
        "id": image_id,
        "dataset": dataset,
        **{name: given.get(name) for name in _TEXT_COLUMNS},
        "channels": [c for c in (given.get("channels") or "").split(";") if c],
        "pixel_size_um": positive_number(given.get("pixel_size_um")),
        "localizations": localizations,
        "graded": [],
        "groups": pairs({n.removeprefix("group_"): v for n, v in given.items() if n.startswith("group_") and v}),
        "metadata": pairs({n: v for n, v in given.items() if n not in own and not n.startswith("group_") and v}),
        "sources": [],
        "source_digest": digest,
        "qc": [],
        "fov_id": given.get("fov_id"),
    }

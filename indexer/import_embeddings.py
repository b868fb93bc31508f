"""Bring vectors that were made elsewhere into an atlas, with their metadata, under an encoder of their own. I/O."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from locatlas.errors import EncoderMismatchError, InputError
from locatlas.indexer import encoders
from locatlas.indexer.encoders import StoredEncoder
from locatlas.indexer.job import image_table
from locatlas.indexer.ledger import Run
from locatlas.indexer.rows import image_rows, pairs
from locatlas.indexer.store import Store
from locatlas.indexer.vector_files import VectorFile, read_vector_file
from locatlas.models.spec import EncoderSpec

__all__ = ["import_embeddings"]

_TEXT_COLUMNS = ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well")
_COMMIT_ROWS = 8192


def import_embeddings(
    file: Path,
    *,
    atlas: Path,
    name: str,
    dataset: str = "imported",
    level: Literal["fov", "cell"] | str = "fov",
    label_names: Sequence[str] = (),
) -> dict[str, Any]:
    """Import a file of vectors; a second import of the same file does nothing.

    Ids that the atlas already has at this level (as they stand, or as "<dataset>/<id>") get one more vector, by this
    encoder, and keep their metadata. Others get a row with the file's metadata and no image.

    Args:
        file: Parquet, npz or DINO4Cells .pth, see `read_vector_file`.
        atlas: Atlas folder; made if absent.
        name: Names the vectors' encoder; files of the same name and length belong together.
        dataset: First part of the ids of new rows.
        level: "fov" or "cell".
        label_names: Names of a .pth's label columns.

    Returns:
        imported, skipped, dim, encoder {name, fingerprint, state}.

    Raises:
        InputError: If the file cannot be used.
        EncoderMismatchError: If the vectors of that name here have another length.
    """
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
                message = (
                    f"{file}: vectors of {dim} numbers; {name!r} in {atlas} has {other.spec.dim}. Choose another --name"
                )
                raise EncoderMismatchError(message)
        encoder = next((e for e in known if e.fingerprint == spec.fingerprint), StoredEncoder(level, spec, "building"))
        imported = _write(store, encoder, found, dataset, run)
        if encoder.state == "building":
            # beside images that were embedded here it stands ready by name; alone it is what queries use
            others = any(e.state == "current" for e in known)
            encoder = StoredEncoder(level, spec, "superseded" if others else "current")
            run.touched()
            encoders.put(store, encoder)
    return {
        "imported": imported,
        "skipped": len(found.ids) - imported,
        "dim": dim,
        "encoder": {"name": name, "fingerprint": spec.fingerprint, "state": encoder.state},
    }


def _imported_spec(name: str, dim: int) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        architecture="imported",
        slots=("unknown",),
        input_px=0,
        embedding_dim=dim,
        weights_sha256=f"imported:{name}",
        source="imported",
        notes="vectors made elsewhere: locatlas cannot embed further images with it",
    )


def _write(store: Store, encoder: StoredEncoder, found: VectorFile, dataset: str, run: Run) -> int:
    table = image_table(encoder.level)
    images = set(store.read(table, ["id"])["id"].to_pylist())
    ids = [i if i in images or i.startswith(f"{dataset}/") else f"{dataset}/{i}" for i in found.ids]
    if len(set(ids)) != len(ids):
        message = (
            f"ids meet once the data set's name stands before them, e.g. {next(i for i in ids if ids.count(i) > 1)!r}"
        )
        raise InputError(message)
    digests = [hashlib.blake2b(v.tobytes(), digest_size=16).hexdigest() for v in found.vectors]
    have: dict[str, str] = {}
    if store.has(encoder.table):
        rows = store.read(encoder.table, ["id", "source_digest"])
        have = dict(zip(rows["id"].to_pylist(), rows["source_digest"].to_pylist(), strict=True))
    todo = [row for row, i in enumerate(ids) if have.get(i) != digests[row] or i not in images]
    for start in range(0, len(todo), _COMMIT_ROWS):
        part = todo[start : start + _COMMIT_ROWS]
        new = [_image_row(ids[row], row, found, dataset, digests[row]) for row in part if ids[row] not in images]
        if new:
            store.upsert(table, image_rows(new, encoder.level))
        chosen = [ids[row] for row in part]
        store.put_embeddings(
            encoder.level, encoder.fingerprint, chosen, [digests[row] for row in part], found.vectors[part]
        )
        run.wrote(chosen)
    run.counts["imported"] = len(todo)
    run.level, run.fingerprint = encoder.level, encoder.fingerprint
    return len(todo)


def _image_row(image_id: str, row: int, found: VectorFile, dataset: str, digest: str) -> Mapping[str, Any]:
    """A row without an image, from the manifest's metadata columns."""
    given = {name: values[row] for name, values in found.columns.items() if values[row] not in (None, "")}
    own = {*_TEXT_COLUMNS, "localizations", "pixel_size_um", "fov_id", "path", "channels", "level", "dataset"}
    localizations = sorted({part.strip() for part in (given.get("localizations") or "").split(";") if part.strip()})
    size = given.get("pixel_size_um")
    return {
        "id": image_id,
        "dataset": dataset,
        **{name: given.get(name) for name in _TEXT_COLUMNS},
        "channels": [c for c in (given.get("channels") or "").split(";") if c],
        "pixel_size_um": float(size) if size else None,
        "localizations": localizations,
        "graded": [],
        "groups": pairs({n.removeprefix("group_"): v for n, v in given.items() if n.startswith("group_") and v}),
        "metadata": pairs({n: v for n, v in given.items() if n not in own and not n.startswith("group_") and v}),
        "sources": [],
        "source_digest": digest,
        "qc": [],
        "fov_id": given.get("fov_id"),
    }

"""Build the index of an embedding table, measure what it finds, and write it so that no half of one is used. I/O."""

import secrets
import shutil
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.indexer.indices.disk import IDS, DiskCodes, disk_params, write_codes
from locatlas.indexer.indices.faiss_index import new_index, train_and_add
from locatlas.indexer.indices.files import digests_below, disk_folders, index_paths
from locatlas.indexer.indices.kinds import DISK, FaissKind, Kind
from locatlas.indexer.indices.recall import measure_recall, truth_of, tuned
from locatlas.indexer.indices.sidecar import SIDECAR_VERSION, Sidecar, blake2b, id_lines, rows_digest
from locatlas.indexer.store.aligned import one_array, rows_in
from locatlas.indexer.store.atomic import write_atomically
from locatlas.indexer.store.disk import require_space
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.file_digest import sync_folder
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.table_reads import TableVectors
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import mapped_vectors

__all__ = ["build"]


def build(store: Store, encoder: StoredEncoder, kind: Kind, *, seed: int = 0) -> Sidecar:
    """Build the index of an encoder's table and write its files and its sidecar, under temporary names first.

    The sidecar is written last, so that a kill leaves an index without a valid sidecar, which is not used; or, of an
    index on disk, the one that was there.

    Args:
        store: The atlas.
        encoder: Whose vectors.
        kind: Index type.
        seed: Of the sample on which recall is measured, and search made as thorough as it must be.

    Raises:
        InputError: If the kind is unknown or not for vectors of this length, the table is empty or the disk has no room
            for the files.
    """
    if kind not in get_args(Kind):
        message = f"unknown index {kind!r}; known: {', '.join(get_args(Kind))}"
        raise InputError(message)
    held = mapped_vectors(store, encoder.table).held
    if len(held) == 0:
        message = f"{store.folder.path}: table {encoder.table} has no vectors to index"
        raise InputError(message)
    store.folder.indices.mkdir(exist_ok=True)
    if kind == DISK:
        return _build_on_disk(store, encoder, held, seed=seed)
    return _build_faiss(store, encoder, held, kind, seed=seed)


def _build_faiss(store: Store, encoder: StoredEncoder, held: TableVectors, kind: FaissKind, *, seed: int) -> Sidecar:
    import faiss

    index, params = new_index(kind, *held.vectors.shape)
    train_and_add(index, held.vectors, kind)
    measured = _measured(store, encoder, held, index, kind, params, seed=seed)
    faiss_path, json_path, ids_path = index_paths(store.folder, encoder.table)
    data, lines = faiss.serialize_index(index).data, id_lines(held.ids)
    sidecar = Sidecar(
        **measured,
        file_digest=blake2b(data),
        faiss=faiss.__version__,
        ids_digest=blake2b(lines),
    )
    require_space(store.folder.indices, len(data) + len(lines))
    json_path.unlink(missing_ok=True)
    write_atomically(faiss_path, data)
    write_atomically(ids_path, lines)
    write_atomically(json_path, sidecar.to_json().encode())
    _remove_older(store, encoder.table, None)
    return sidecar


def _build_on_disk(store: Store, encoder: StoredEncoder, held: TableVectors, *, seed: int) -> Sidecar:
    import lance

    n, d = held.vectors.shape
    params = disk_params(n, d)
    # codes with two numbers and the address of each row, both again in files beside them, its id and the digest of its
    # source, the centres of lists
    texts = held.names.nbytes + held.sources.nbytes
    require_space(store.folder.indices, n * (d // 8 + 16 + 16) + texts + 4 * d * params["n_list"])
    name = f"{encoder.table}.{secrets.token_hex(8)}.disk"
    begun = store.folder.indices / f".{name}.tmp"
    begun.mkdir()
    try:
        write_codes(store.folder.db / f"{encoder.table}.lance", held, params, begun)
        codes = DiskCodes(begun, n_list=params["n_list"])
        measured = _measured(store, encoder, held, codes, DISK, params, seed=seed)
        files = digests_below(begun, to_disk=True)
        begun.rename(store.folder.indices / name)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    sync_folder(store.folder.indices)
    digests = {part: digest for part, (_, digest) in files.items()}
    sidecar = Sidecar(
        **measured,
        file_digest=blake2b("".join(digests.values()).encode()),
        lance=lance.__version__,
        ids_digest=digests[IDS],
        folder=name,
        bytes={part: size for part, (size, _) in files.items()},
        digests=digests,
    )
    faiss_path, json_path, ids_path = index_paths(store.folder, encoder.table)
    write_atomically(json_path, sidecar.to_json().encode())
    for path in (faiss_path, ids_path):
        path.unlink(missing_ok=True)
    _remove_older(store, encoder.table, name)
    return sidecar


def _measured(
    store: Store,
    encoder: StoredEncoder,
    held: TableVectors,
    index: Any,
    kind: Kind,
    params: dict[str, int],
    *,
    seed: int,
) -> dict[str, Any]:
    """What a sidecar says of an index whatever its files: of which vectors, how it searches and what it finds."""
    proteins = _proteins(store, encoder.level, held)
    params = tuned(index, kind, params, held.vectors, truth_of(held.vectors, proteins, seed=seed))
    recall = measure_recall(index, kind, params, held.vectors, truth_of(held.vectors, proteins, seed=seed + 1))
    n, d = held.vectors.shape
    return {
        "sidecar_version": SIDECAR_VERSION,
        "table": encoder.table,
        "version": held.version,
        "fingerprint": encoder.fingerprint,
        "metric": "cosine",
        "kind": kind,
        "params": params,
        "count": n,
        "dim": d,
        "vectors_digest": rows_digest(held.ids, held.vectors),
        "recall_at_10": recall,
        "recall_among": "other proteins",
        "manifest": manifest_digest(store.folder, encoder.table, held.version) or "",
    }


def _remove_older(store: Store, table: str, in_use: str | None) -> None:
    """Folders of a table's indices on disk but the last two: whoever has the one before open goes on with it.

    The one in use is never among them, whatever the clock said when it was written.
    """
    others = [folder for folder in disk_folders(store.folder, table) if folder.name != in_use]
    for folder in others[: -1 if in_use else -2]:
        shutil.rmtree(folder)


def _proteins(store: Store, level: str, held: TableVectors) -> NDArray[np.int64]:
    """Code of each vector's protein, which a question leaves out; -1 where it is not known."""
    images = store.read(image_table(level), ["id", "protein"])
    place = rows_in(held.names, images["id"])
    names = one_array(images["protein"]).take(pa.array(place, mask=place < 0))
    codes: Any = pc.fill_null(names.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(codes, dtype=np.int64)

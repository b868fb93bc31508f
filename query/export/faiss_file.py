"""A FAISS index with its ids and what it is made of, for programs of one's own. Writes a folder."""

import json
from pathlib import Path

import numpy as np

from locatlas.indexer.store.file_digest import file_digest
from locatlas.query.export.chosen import Chosen
from locatlas.query.export.target import whole_folder
from locatlas.query.search.unit import unit_rows

__all__ = ["FILES", "write_faiss"]

FILES = ("index.faiss", "ids.txt", "index.json")


def write_faiss(chosen: Chosen, path: Path, *, overwrite: bool) -> list[str]:
    """Write `index.faiss` (flat, inner product of unit vectors), `ids.txt` (a line a row) and `index.json`.

    A query must be brought to length 1; what comes out is its cosine similarity. The index is exact; it is no index of
    the atlas, which makes its own.

    Args:
        chosen: What is exported; vectors without a direction are left out.
        path: The folder.
        overwrite: Replace a folder of these three files.

    Returns:
        What a reader must know.
    """
    import faiss

    with whole_folder(path, FILES, overwrite=overwrite) as temporary:
        lengths = chosen.view.prepared.lengths
        rows = np.flatnonzero(lengths > 0)
        unit = unit_rows(chosen.view.vectors, lengths, rows)
        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(unit)
        # through Python's file, since FAISS tells of a full disk as of any other fault
        (temporary / "index.faiss").write_bytes(faiss.serialize_index(index).tobytes())
        ids = [chosen.view.ids[i] for i in rows.tolist()]
        (temporary / "ids.txt").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
        digests = {name: file_digest(temporary / name)[1] for name in FILES[:2]}
        said = {
            **chosen.origin(),
            "rows": len(rows),
            "faiss_metric": "inner product of unit vectors, which is the cosine similarity",
            "index": "IndexFlatIP, exact",
            "faiss": faiss.__version__,
            "blake2b_128": digests,
        }
        (temporary / "index.json").write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    left_out = len(lengths) - len(rows)
    return [f"{left_out} vectors have no direction and are left out"] if left_out else []

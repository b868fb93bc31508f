"""A made atlas with what a page could stumble over: names that are markup, flags, quarantine, pictures."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from locatlas.indexer.files.thumbnails import thumbnail
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import FOVS, QUARANTINE
from locatlas.indexer.store.tables import Store
from locatlas.types import ChannelImage
from tests.query.made_atlas import encoder, made_rows, made_vectors

HOSTILE = '<script>alert("1")</script>&amp;'
SCHEME = "https://example.org/x.png"


def make_atlas(folder: Path, *, labelled: bool = True, several: bool = False) -> Path:
    """18 fields of 6 proteins and 3 localizations; P5 has a name that is markup, and its second field no picture.

    Args:
        folder: Where to.
        labelled: Whether fields have localizations.
        several: Whether those of P0 and P1 have two.
    """
    rows = made_rows()[0]
    vectors = made_vectors(rows, seed=4)
    for i, row in enumerate(rows):
        spots = np.random.default_rng(i).random((2, 40, 40)).astype(np.float32)
        row["thumbnail"] = None if row["id"] == "d/51" else thumbnail(ChannelImage(spots, ("nucleus", "protein")))
        row["qc"] = ["saturated:protein"] if i % 6 == 0 else []
        row["metadata"] = [{"name": "split", "value": "train" if i % 3 else "test"}]
        if several and row["protein"] in ("P0", "P1"):
            row["localizations"] = ["er", "golgi"]
        if not labelled:
            row["localizations"] = []
        if row["protein"] == "P5":
            row["protein"] = HOSTILE
            row["dataset"] = SCHEME
    store = Store.create(folder)
    with store.folder.writer("a test"):
        known = [{k: v for k, v in row.items() if k in FOVS.names} for row in rows]
        store.upsert("fovs", image_rows(known, "fov"))
        stored = StoredEncoder("fov", encoder(), "current")
        ids = [row["id"] for row in rows]
        store.put_embeddings("fov", stored.fingerprint, ids, ["x"] * len(ids), vectors)
        encoders.put(store, stored)
        rejected = {
            "a/1.tif": "/r/a/1.tif: truncated",
            "a/2.tif": "/r/a/2.tif: truncated",
            "<i>.tif": "no <b>channel</b>",
        }
        same = {"dataset": "d", "root": "r", "run_id": "none"}
        held = [{"id": f"d:r:{source}", "source": source, "reason": said, **same} for source, said in rejected.items()]
        store.upsert("quarantine", pa.Table.from_pylist(held, schema=QUARANTINE))
    return folder

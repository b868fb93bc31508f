"""Atlases as locatlas of schema versions 1 and 2 wrote them."""

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa

from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.schema import embedding_schema

__all__ = ["CELLS_1", "FOVS_1", "SCHEMAS_1", "SCHEMAS_2", "make_old", "row"]

# The columns as the last version that wrote schema version 1 had them.
TEXTS = pa.list_(pa.string())
PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
FOVS_1 = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("protein", pa.string()),
        pa.field("ensembl_id", pa.string()),
        pa.field("antibody", pa.string()),
        pa.field("cell_line", pa.string()),
        pa.field("plate", pa.string()),
        pa.field("well", pa.string()),
        pa.field("channels", TEXTS, nullable=False),
        pa.field("pixel_size_um", pa.float64()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("localizations", TEXTS, nullable=False),
        pa.field("graded", pa.list_(pa.struct([("localization", pa.string()), ("grade", pa.int8())])), nullable=False),
        pa.field("groups", PAIRS, nullable=False),
        pa.field("metadata", PAIRS, nullable=False),
        pa.field("root", pa.string()),
        pa.field("sources", pa.list_(pa.struct([("path", pa.string()), ("channels", TEXTS)])), nullable=False),
        pa.field("row", pa.int32()),
        pa.field("mask", pa.string()),
        pa.field("source_digest", pa.string(), nullable=False),
        pa.field("source_stat", pa.string()),
        pa.field("qc", TEXTS, nullable=False),
        pa.field("thumbnail", pa.binary()),
    ]
)
CELLS_1 = pa.schema(
    [
        *FOVS_1,
        pa.field("fov_id", pa.string()),
        pa.field("box", pa.list_(pa.int32())),
        pa.field("centroid", pa.list_(pa.float32())),
        pa.field("area_px", pa.int64()),
        pa.field("touches_border", pa.bool_()),
        pa.field("annotated_by", pa.string()),
    ]
)
SCHEMAS_1 = {"fovs": FOVS_1, "cells": CELLS_1}
# What version 2 put at their ends.
ADDED_2 = {
    "fovs": [
        pa.field("nucleus_mask", pa.string()),
        pa.field("segmenter", pa.string()),
        pa.field("n_cells", pa.int32()),
        pa.field("cells_digest", pa.string()),
    ],
    "cells": [
        pa.field("annotated", TEXTS),
        pa.field("cell", pa.string()),
        pa.field("nucleus_centroid", pa.list_(pa.float32())),
        pa.field("region", pa.binary()),
        pa.field("focus", pa.float32()),
        pa.field("segmenter", pa.string()),
    ],
}
SCHEMAS_2 = {name: pa.schema([*SCHEMAS_1[name], *added]) for name, added in ADDED_2.items()}
SCHEMAS = {1: SCHEMAS_1, 2: SCHEMAS_2}


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"d/{name}",
        "dataset": "d",
        "protein": "LMNB1",
        "channels": ["nucleus", "protein"],
        "pixel_size_um": 0.2,
        "height": 40,
        "localizations": ["nucleoplasm"],
        "graded": [{"localization": "nucleoplasm", "grade": 3}],
        "groups": [{"name": "composite", "value": "a"}],
        "metadata": [],
        "sources": [{"path": f"{name}.tif", "channels": ["nucleus", "protein"]}],
        "source_digest": "0f" * 16,
        "qc": ["tiny"],
        "thumbnail": b"\x00\xff",
        **changes,
    }


ROWS = {
    "fovs": [row("a"), row("é", protein=None, localizations=[])],
    "cells": [row("a/1", fov_id="d/a", area_px=7, box=[0, 0, 3, 3], touches_border=True), row("a/2")],
}


def upsert(folder: AtlasFolder, table: str, rows: list[dict[str, Any]], *, version: int) -> None:
    """As versions 1 and 2 wrote: a table with a declared key, and merged by id."""
    db, schema = lancedb.connect(str(folder.db)), SCHEMAS[version][table]
    if (folder.db / f"{table}.lance").exists():
        opened = db.open_table(table)
    else:
        opened = db.create_table(table, schema=schema)
        opened.set_unenforced_primary_key(["id"])
    merge = opened.merge_insert("id").use_index(False)
    merge.when_matched_update_all().when_not_matched_insert_all().execute(pa.Table.from_pylist(rows, schema=schema))


def make_old(path: Path, version: int) -> AtlasFolder:
    """An atlas of an older schema version with fields, cells in two fragments, and vectors."""
    folder = AtlasFolder.create(path, {"schema_version": version})
    folder.root_name(path.parent, prefer="d")
    upsert(folder, "fovs", ROWS["fovs"], version=version)
    for one in ROWS["cells"]:
        upsert(folder, "cells", [one], version=version)
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    table = pa.table([pa.array(["d/a"]), pa.array(["0f" * 16]), vectors], schema=embedding_schema(2))
    lancedb.connect(str(folder.db)).create_table("emb_fov_0123456789ab", table)
    return folder

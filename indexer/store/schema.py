"""The contract of the store: table names and exact Arrow schemas. Pure."""

from typing import Literal

import pyarrow as pa

from locatlas.models.spec import Storage

__all__ = [
    "ANNOTATIONS",
    "BENCHMARKS",
    "CELLS",
    "ENCODERS",
    "FOVS",
    "MAPS",
    "QUARANTINE",
    "RUNS",
    "SCHEMA_VERSION",
    "SEGMENTERS",
    "TRAININGS",
    "embedding_schema",
    "embedding_table_name",
    "image_schema",
    "image_table",
]

SCHEMA_VERSION = 3
"""Raised with every change of a schema below, together with a golden atlas and a CHANGELOG entry."""

_NUMBERS: dict[Storage, pa.DataType] = {"float32": pa.float32(), "float16": pa.float16()}


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_TEXTS = pa.list_(pa.string())
_PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))

_IMAGE_FIELDS = [
    _required("id", pa.string()),
    _required("dataset", pa.string()),
    pa.field("protein", pa.string()),  # gene symbol
    pa.field("ensembl_id", pa.string()),
    pa.field("antibody", pa.string()),
    pa.field("cell_line", pa.string()),
    pa.field("plate", pa.string()),
    pa.field("well", pa.string()),
    _required("channels", _TEXTS),
    pa.field("pixel_size_um", pa.float64()),
    pa.field("height", pa.int32()),  # null for vectors made elsewhere
    pa.field("width", pa.int32()),
    _required("localizations", _TEXTS),  # the set that counts as annotated, sorted
    _required("graded", pa.list_(pa.struct([("localization", pa.string()), ("grade", pa.int8())]))),
    _required("groups", _PAIRS),
    _required("metadata", _PAIRS),
    pa.field("root", pa.string()),  # name of the declared root; its path stands in atlas.json
    _required("sources", pa.list_(pa.struct([("path", pa.string()), ("channels", _TEXTS)]))),  # root-relative
    pa.field("row", pa.int32()),  # of a stacked array file
    pa.field("mask", pa.string()),  # root-relative label image
    _required("source_digest", pa.string()),  # blake2b-128 over the sources' bytes
    pa.field("source_stat", pa.string()),  # size and mtime of the sources: equal means unread is unchanged
    _required("qc", _TEXTS),
    pa.field("thumbnail", pa.binary()),  # WebP
]

_FOV_FIELDS = [
    pa.field("nucleus_mask", pa.string()),  # root-relative label image
    pa.field("segmenter", pa.string()),  # id of what found its cells; null: not segmented
    pa.field("n_cells", pa.int32()),
    pa.field("cells_digest", pa.string()),  # of all that decided its cells: source, segmenter, given masks
]

_CELL_FIELDS = [
    pa.field("fov_id", pa.string()),
    pa.field("box", pa.list_(pa.int32())),  # top, left, bottom, right in FOV pixels; null: an image of its own
    pa.field("centroid", pa.list_(pa.float32())),  # y, x in FOV pixels
    pa.field("area_px", pa.int64()),
    pa.field("touches_border", pa.bool_()),
    pa.field("annotated_by", pa.string()),  # who, joined by ";"; null: nobody
    pa.field("annotated", _TEXTS),  # own localizations; `localizations` are inherited; null: nobody looked
    pa.field("cell", pa.string()),  # its name in its field, e.g. its number in the mask
    pa.field("nucleus_centroid", pa.list_(pa.float32())),
    pa.field("region", pa.binary()),  # packed mask over the box (cells/regions.py)
    pa.field("focus", pa.float32()),  # see cells/quality.py
    pa.field("segmenter", pa.string()),  # id in `segmenters`
]

FOVS = pa.schema(_IMAGE_FIELDS + _FOV_FIELDS)
CELLS = pa.schema(_IMAGE_FIELDS + _CELL_FIELDS)

ENCODERS = pa.schema(
    [
        _required("id", pa.string()),  # "<level>/<fingerprint>"
        _required("level", pa.string()),
        _required("fingerprint", pa.string()),
        _required("name", pa.string()),
        _required("dim", pa.int32()),
        _required("spec", pa.string()),  # EncoderSpec.to_json()
        pa.field("parent", pa.string()),
        _required("state", pa.string()),  # building, current, superseded, beside
    ]
)

SEGMENTERS = pa.schema(
    [
        _required("id", pa.string()),  # SegmenterSpec.id
        _required("name", pa.string()),
        _required("spec", pa.string()),  # SegmenterSpec.to_json()
    ]
)

TRAININGS = pa.schema(
    [
        _required("id", pa.string()),  # sha256 of the weights that came out: one training, whatever plan reads them
        _required("name", pa.string()),  # of the encoder
        pa.field("parent", pa.string()),  # fingerprint of the encoder it began from; null: from scratch
        _required("manifest", pa.string()),  # TrainingManifest.to_json()
    ]
)

ANNOTATIONS = pa.schema(
    [
        _required("id", pa.string()),  # "<image id>|<annotator>"
        _required("image_id", pa.string()),
        _required("level", pa.string()),
        _required("annotator", pa.string()),
        _required("localizations", _TEXTS),  # what this annotator says; empty: none can be seen
        _required("at", pa.timestamp("us", tz="UTC")),
        _required("source_digest", pa.string()),  # of the image or cell that was looked at
        pa.field("note", pa.string()),
    ]
)

# A table that versions before it do not know and do not need: the version stays.
BENCHMARKS = pa.schema(
    [
        _required("id", pa.string()),  # of cell, encoder and data: equal means measured already
        _required("grid", pa.string()),  # the grid that it was measured for first
        _required("cell", pa.string()),  # Cell.to_dict(), JSON
        _required("encoder", pa.string()),
        _required("fingerprint", pa.string()),
        _required("data_digest", pa.string()),
        _required("protocol", pa.string()),
        _required("n", pa.int64()),  # scored rows
        _required("n_groups", pa.int64()),
        _required("n_references", pa.float64()),
        _required("macro_f1", pa.float64()),
        _required("micro_f1", pa.float64()),
        _required("accuracy", pa.float64()),
        _required("balanced_accuracy", pa.float64()),
        _required("counts", pa.binary()),  # classes, groups and all counts: npz
        _required("left_out", pa.string()),  # JSON
        _required("notes", _TEXTS),
        _required("versions", pa.string()),  # JSON
        _required("at", pa.timestamp("us", tz="UTC")),
    ]
)

# As BENCHMARKS, a table of its own accord: the version stays. A map is one row, so that it is replaced in one commit.
MAPS = pa.schema(
    [
        _required("id", pa.string()),  # "<level>/<fingerprint>/<method>", for proteins "protein/<of>/..."
        _required("level", pa.string()),
        pa.field("of", pa.string()),  # images that proteins are made of; null at image levels
        _required("fingerprint", pa.string()),
        _required("encoder", pa.string()),
        _required("method", pa.string()),
        _required("seed", pa.int64()),
        _required("params", pa.string()),  # JSON: as asked for
        _required("used", pa.string()),  # JSON: what they came to, and how later points are placed
        _required("versions", pa.string()),  # JSON
        _required("at", pa.timestamp("us", tz="UTC")),
        _required("ids", _TEXTS),
        _required("xy", pa.list_(pa.float32())),  # x, y of the first, x, y of the second, ...
        _required("placed", pa.list_(pa.bool_())),  # later, without drawing the others anew
        _required("vectors", pa.list_(pa.int64())),  # blake2b-64 of the unit vector of each
        pa.field("model", pa.binary()),  # of pca: mean and axes, npz
    ]
)

RUNS = pa.schema(
    [
        _required("id", pa.string()),
        _required("command", pa.string()),
        _required("state", pa.string()),  # running, done, failed, interrupted
        _required("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("finished_at", pa.timestamp("us", tz="UTC")),
        pa.field("dataset", pa.string()),
        pa.field("level", pa.string()),
        pa.field("fingerprint", pa.string()),
        _required("counts", pa.string()),  # JSON
        _required("versions", pa.string()),  # JSON
        _required("timings_s", pa.string()),  # JSON
        pa.field("ids_digest", pa.string()),  # blake2b-128 over the ids that were written, in order
    ]
)

QUARANTINE = pa.schema(
    [
        _required("id", pa.string()),
        _required("dataset", pa.string()),
        pa.field("root", pa.string()),  # name of the declared root that the source lies under
        _required("source", pa.string()),
        _required("reason", pa.string()),
        pa.field("tried", pa.string()),  # digest of what decided; null: tried again each time
        _required("run_id", pa.string()),
    ]
)


def image_schema(level: Literal["fov", "cell"]) -> pa.Schema:
    """The schema of the table that holds the images of a level."""
    return FOVS if level == "fov" else CELLS


def image_table(level: str) -> str:
    """Name of the table that holds the images of a level."""
    return "fovs" if level == "fov" else "cells"


def embedding_schema(dim: int, storage: Storage = "float32") -> pa.Schema:
    """One vector a row: id, digest of the source it was made from, fixed-size list of `dim` numbers."""
    return pa.schema(
        [
            _required("id", pa.string()),
            _required("source_digest", pa.string()),
            _required("vector", pa.list_(_NUMBERS[storage], dim)),
        ]
    )


def embedding_table_name(level: str, fingerprint: str) -> str:
    """`emb_<level>_<first 12 of the fingerprint>`."""
    return f"emb_{level}_{fingerprint[:12]}"

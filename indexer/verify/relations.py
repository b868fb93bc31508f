"""Tables against each other: orphans, stale vectors, fields and their cells, encoders and their tables. Pure."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from locatlas.errors import InputError
from locatlas.indexer.store.encoders import IMPORTED
from locatlas.indexer.store.schema import embedding_table_name, image_table
from locatlas.indexer.verify.finding import Finding, finding
from locatlas.models.spec import EncoderSpec

__all__ = [
    "COLUMNS",
    "compare_cells",
    "compare_encoders",
    "compare_maps",
    "compare_vectors",
    "images_of",
    "is_imported",
]

COLUMNS = {
    "fovs": ["source_digest", "n_cells"],
    "cells": ["source_digest", "fov_id", "box"],
    "maps": ["level", "of", "fingerprint", "encoder"],
    "encoders": ["level", "fingerprint", "name", "dim", "spec", "state"],
}
"""What is read of a table besides its ids; of embedding tables their `source_digest`."""

_INDEX_AGAIN = "run the same `locatlas index` again, with the same masks if there were any"


def is_imported(spec: str) -> bool:
    """Whether a stored spec is that of vectors made elsewhere."""
    try:
        return EncoderSpec.from_json(spec).architecture == IMPORTED
    except (InputError, ValueError, KeyError, TypeError):
        return False


def compare_vectors(table: str, vectors: pa.Table, images: pa.Table, *, imported: bool) -> list[Finding]:
    """Vectors without an image, and vectors of other pixels than the image's now.

    Args:
        table: Name of the embedding table.
        vectors: Columns id, source_digest.
        images: The same, of the level's images.
        imported: Whether the vectors were made elsewhere.
    """
    findings = []
    place = pc.index_in(vectors["id"], value_set=images["id"].combine_chunks())
    if orphans := vectors["id"].filter(pc.is_null(place)).to_pylist():
        means = "vectors of images that the atlas does not hold: they are never answers"
        do = "run `locatlas import-embeddings` again" if imported else "--repair deletes them"
        findings.append(finding("warning", "orphan vectors", table, means, do, of=orphans))
    known = pc.is_valid(place)
    now = images["source_digest"].take(place.filter(known))
    ids, digests = vectors["id"].filter(known), vectors["source_digest"].filter(known)
    # an imported vector has no pixels of its own: it answers whatever its image's are
    if not imported and (stale := ids.filter(pc.not_equal(digests, now)).to_pylist()):
        means = "vectors of other pixels than the images have now: they do not answer"
        findings.append(finding("note", "stale vectors", table, means, "run `locatlas reembed`", of=stale))
    return findings


def compare_cells(cells: pa.Table, fields: pa.Table) -> list[Finding]:
    """Cells whose field is not there, and fields that say another number of cells than there are.

    Args:
        cells: Columns id, fov_id, box.
        fields: Columns id, n_cells.
    """
    findings = []
    cut = cells.filter(pc.is_valid(cells["box"]))
    place = pc.index_in(cut["fov_id"], value_set=fields["id"].combine_chunks())
    if lost := cut["id"].filter(pc.is_null(place)).to_pylist():
        means = "cells of fields that the atlas does not hold: no pixels can be read for them"
        findings.append(finding("warning", "cells without field", "cells", means, _INDEX_AGAIN, of=lost))
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(cut["fov_id"]).to_pylist()}
    said = fields.filter(pc.is_valid(fields["n_cells"]))
    other = [
        i for i, n in zip(said["id"].to_pylist(), said["n_cells"].to_pylist(), strict=True) if counts.get(i, 0) != n
    ]
    if other:
        means = "fields that say another number of cells than the atlas holds of them: a run died, or rows were lost"
        do = f"{_INDEX_AGAIN}; --repair lets those fields be searched again"
        findings.append(finding("warning", "cells missing", "fovs", means, do, of=other))
    return findings


def compare_encoders(encoders: pa.Table, dims: Mapping[str, tuple[int, str] | None]) -> list[Finding]:
    """Encoders against their tables.

    Args:
        encoders: Columns of `COLUMNS`.
        dims: Length of the vectors of each embedding table and the numbers they are stored in; None where it cannot be
            opened.
    """
    findings = []
    rows = encoders.to_pylist()
    current: dict[str, list[str]] = {}
    known = set()
    for row in rows:
        table = embedding_table_name(row["level"], row["fingerprint"])
        known.add(table)
        name = f"{row['name']} ({row['fingerprint'][:12]})"
        if row["state"] == "current":
            current.setdefault(row["level"], []).append(name)
        again = f"run `locatlas reembed --encoder {row['fingerprint'][:12]} --level {row['level']}`"
        if is_imported(row["spec"]):
            again = "run `locatlas import-embeddings` with their file again"
        if row["state"] == "current" and table not in dims:
            means = f"the vectors of {name}, which answers at level {row['level']}, are not there"
            findings.append(finding("damage", "table missing", table, means, again))
        elif (here := dims.get(table)) is not None and here != (own := (row["dim"], _storage(row["spec"]))):
            found, wanted = (f"{dim} numbers ({storage})" for dim, storage in (here, own))
            means = f"its vectors have {found}, {name} makes {wanted}: they are not its own"
            findings.append(finding("damage", "other dimension", table, means, f"move db/{table}.lance away; {again}"))
        findings += _spec_findings(row, name)
    for level, names in current.items():
        if len(names) > 1:
            means = f"several encoders are current at level {level}: {', '.join(names)}"
            do = "run `locatlas reembed --encoder NAME` with the one that is to answer"
            findings.append(finding("damage", "several current", "encoders", means, do))
    if lone := sorted(set(dims) - known):
        means = "vectors of an encoder that the atlas does not know: nothing reads them"
        do = "restore db/encoders.lance from a backup, or move the tables away"
        findings.append(finding("warning", "unknown vectors", "encoders", means, do, of=lone))
    return findings


def compare_maps(maps: pa.Table, encoders: pa.Table) -> list[Finding]:
    """Maps of encoders that the atlas does not know.

    Args:
        maps: Columns of `COLUMNS`, with ids.
        encoders: Likewise.
    """
    known = {(row["level"], row["fingerprint"]) for row in encoders.to_pylist()}
    lone = [row["id"] for row in maps.to_pylist() if (row["of"] or row["level"], row["fingerprint"]) not in known]
    if not lone:
        return []
    means = "maps of encoders that the atlas does not know: nothing shows them"
    return [finding("warning", "orphan maps", "maps", means, "--repair deletes them", of=lone)]


def _storage(spec: str) -> str:
    """What a stored spec says of its table; one that cannot be read is told by `_spec_findings`."""
    try:
        return EncoderSpec.from_json(spec).storage
    except (InputError, ValueError, KeyError, TypeError):
        return "float32"


def _spec_findings(row: Mapping[str, str], name: str) -> list[Finding]:
    try:
        same = EncoderSpec.from_json(row["spec"]).fingerprint == row["fingerprint"]
    except (InputError, ValueError, KeyError, TypeError):
        same = False
    if same:
        return []
    means = f"the description of {name} is not that of its fingerprint: with it, other vectors would be made"
    return [finding("damage", "other encoder", "encoders", means, "restore db/encoders.lance from a backup")]


def images_of(table: str) -> str:
    """The table of images that an embedding table is of."""
    return image_table(table.split("_")[1])

"""What an atlas holds and in which state: tables, encoders, coverage, indices, roots, runs. Reads the store."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locatlas.indexer.cells.segmenters import SegmenterSpec
from locatlas.indexer.gone_counts import gone_by_last_look
from locatlas.indexer.indices.files import disk_folder, wrong_part
from locatlas.indexer.indices.kinds import DISK
from locatlas.indexer.indices.sidecar import Sidecar, blake2b
from locatlas.indexer.pixel_cache.keeping import held_images
from locatlas.indexer.store import encoders
from locatlas.indexer.store.aligned import rows_in
from locatlas.indexer.store.lance_files import manifest_digest
from locatlas.indexer.store.ledger import versions
from locatlas.indexer.store.lineage import lineage
from locatlas.indexer.store.tables import Store
from locatlas.models.training.manifest import TrainingManifest
from locatlas.query.asking.outdated import digests_now
from locatlas.query.lacking import lacking
from locatlas.query.map.rows import maps_state
from locatlas.query.report.holdings import quarantine_by_reason

__all__ = ["status"]

_RUNS_SHOWN = 5
_REASONS_SHOWN, _QUARANTINED_SHOWN = 20, 1000  # of each data set


def status(store: Store) -> dict[str, Any]:
    """The JSON document of `status`.

    Args:
        store: The atlas.

    Returns:
        path, schema_version, tables {name: {rows, version}}, datasets {level: {name: images}}, labelled likewise,
        cells (see `_cells`), encoders with state, crop, coverage, lineage and training, reembedding (who does so now,
        or None), pack (images that are held decoded, and bytes), maps (`map_rows.maps_state`), quarantine {data set:
        count}, quarantine_reasons (of all of them, by data set, the most frequent first), quarantined (the first 1,000
        sources of each data set, with reasons), gone (images whose files were not there when they were indexed last),
        indices, roots with whether they are there, the last runs, versions.
    """
    columns = ["id", "dataset", "source_digest", "localizations"]
    images = {"fov": store.read("fovs", columns), "cell": store.read("cells", [*columns, "fov_id", "cell"])}
    digests = {level: digests_now(store, level, t) for level, t in images.items()}
    info = store.folder.info()
    held = store.read("quarantine", ["dataset", "source", "reason"]).to_pylist()
    known = encoders.stored_encoders(store)
    trainings = _trainings(store)
    owner = store.folder.reembedding_owner()
    runs = sorted(store.read("runs").to_pylist(), key=lambda r: r["id"], reverse=True)
    return {
        "path": str(store.folder.path),
        "schema_version": info["schema_version"],
        "tables": {t: {"rows": store.count(t), "version": store.version(t)} for t in store.tables()},
        "datasets": {level: _counted(t["dataset"]) for level, t in images.items()},
        "labelled": {level: _labelled(t) for level, t in images.items()},
        "cells": _cells(store),
        "encoders": [
            _encoder(store, e, images[e.level]["id"], digests[e.level]) | _descent(e, known, trainings) for e in known
        ],
        "reembedding": None if owner is None else {**asdict(owner), "for_s": owner.age_s},
        "quarantine": dict(sorted(Counter(row["dataset"] for row in held).items())),
        "quarantine_reasons": _first_of_each(quarantine_by_reason(held), _REASONS_SHOWN),
        "quarantined": _first_of_each(held, _QUARANTINED_SHOWN),
        "gone": [
            {"dataset": dataset, "level": level, "images": n, "run": run}
            for (dataset, level), (n, run) in sorted(gone_by_last_look(store).items())
            if n
        ],
        "pack": dict(zip(("images", "bytes"), held_images(store.folder.decoded), strict=True)),
        "maps": maps_state(store),
        "indices": [_index(store, path) for path in sorted(store.folder.indices.glob("*.json"))],
        "roots": {n: {"path": p, "present": Path(p).is_dir()} for n, p in sorted(info["roots"].items())},
        "runs": [_run(store, row) for row in runs[:_RUNS_SHOWN]],
        "versions": versions(),
    }


def _first_of_each(rows: Sequence[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """Up to `n` rows of each data set, in their order."""
    seen: Counter[str] = Counter()
    kept = []
    for row in rows:
        seen[row["dataset"]] += 1
        if seen[row["dataset"]] <= n:
            kept.append(row)
    return kept


def _encoder(store: Store, encoder: encoders.StoredEncoder, ids: pa.ChunkedArray, digests: pa.Array) -> dict[str, Any]:
    """An encoder with how many images of its level have their vector, and how many of those are of older pixels."""
    embedded = stale = 0
    having: pa.Array | pa.ChunkedArray = pa.array([], pa.string())
    if store.has(encoder.table):
        held = store.read(encoder.table, ["id", "source_digest"])
        having = held["id"]
        place = rows_in(held["id"], ids)
        embedded = int(np.count_nonzero(place >= 0))
        same = pc.equal(digests.take(pa.array(place, mask=place < 0)), held["source_digest"])
        stale = embedded - (pc.sum(same).as_py() or 0)
    spec = encoder.spec
    imported = spec.architecture == "imported"
    return {
        "name": spec.name,
        "level": encoder.level,
        "state": encoder.state,
        "fingerprint": encoder.fingerprint,
        "dim": spec.dim,
        "channels": spec.mapping,
        "passes": spec.passes,
        "stains": list(spec.stains),
        "precision": spec.precision,
        "residual": spec.residual,
        "storage": spec.storage,
        "crop": None if spec.crop is None else {**spec.crop.to_dict(), "in_words": str(spec.crop)},
        "trained": not (spec.weights_sha256 or "").startswith("seed:"),
        "images": len(digests),
        "embedded": embedded,
        "lacking": lacking(store, encoder, having) if embedded < len(digests) else 0,
        "stale": 0 if imported else stale,  # an imported vector has no pixels of its own
        "coverage": round((embedded - (0 if imported else stale)) / len(digests), 4) if digests else None,
    }


def _trainings(store: Store) -> dict[str, TrainingManifest]:
    """What weights were trained on, by their sha256."""
    rows = store.read("trainings", ["id", "manifest"]).to_pylist()
    return {row["id"]: TrainingManifest.from_json(row["manifest"]) for row in rows}


def _descent(
    encoder: encoders.StoredEncoder,
    known: Sequence[encoders.StoredEncoder],
    trainings: Mapping[str, TrainingManifest],
) -> dict[str, Any]:
    """What an encoder was made from, and in which training."""
    manifest = trainings.get(encoder.spec.weights_sha256 or "")
    training = None
    if manifest is not None:
        training = {name: getattr(manifest, name) for name in ("objective", "level", "group", "fraction", "seed")}
        training |= {"images": len(manifest.images), "validation_images": len(manifest.validation_images)}
    parent = encoder.spec.parent
    return {"parent": parent, "lineage": list(lineage(encoder, known, trainings)), "training": training}


def _cells(store: Store) -> dict[str, Any]:
    """Where the cells come from: by what found them, of how many fields, how many people looked at."""
    columns = store.read("cells", ["dataset", "segmenter", "annotated"])
    fields = Counter(_counts(store.read("fovs", ["segmenter"])["segmenter"]))
    cells = Counter(_counts(columns["segmenter"]))
    specs = {row["id"]: SegmenterSpec.from_json(row["spec"]) for row in store.read("segmenters").to_pylist()}
    known = sorted(i for i in fields.keys() | cells.keys() | specs.keys() if i is not None)
    return {
        "segmenters": [
            {
                "id": i,
                "name": specs[i].name if i in specs else i,
                "parameters": dict(specs[i].parameters) if i in specs else {},
                "fields": fields[i],
                "cells": cells[i],
            }
            for i in known
        ],
        "fields_not_searched": fields[None],
        "images_of_their_own": cells[None],
        "annotated": _counted(columns["dataset"].filter(columns["annotated"].is_valid())),
    }


def _labelled(images: pa.Table) -> dict[str, int]:
    """Images with a localization by data set."""
    return _counted(images["dataset"].filter(pc.greater(pc.list_value_length(images["localizations"]), 0)))


def _counts(column: pa.ChunkedArray) -> dict[str | None, int]:
    """How often each text occurs."""
    counted = pc.value_counts(column)
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _counted(names: pa.ChunkedArray) -> dict[str, int]:
    """How often each name occurs, sorted by name; none is null."""
    return {name: n for name, n in sorted(_counts(names).items(), key=lambda one: str(one[0])) if name is not None}


def _index(store: Store, path: Path) -> dict[str, Any]:
    """What an index is said to be, and whether it is that: read but for the vectors of its table.

    Of an index on disk only the sizes of its files are looked at, as where it is opened.
    """
    try:
        said = Sidecar.from_json(path.read_text(encoding="utf-8"))
        if said.kind == DISK:
            whole = wrong_part(disk_folder(store.folder, said), said, full=False)[0] is None
        else:
            whole = blake2b(path.with_suffix(".faiss").read_bytes()) == said.file_digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"table": path.stem, "unreadable": str(error)}
    state = "up to date"
    if not whole:
        state = "damaged"
    elif said.table != path.stem or not store.has(said.table):
        state = "of no table"
    elif said.manifest != manifest_digest(store.folder, said.table, store.version(said.table)):
        state = "older than its table"
    names = ("table", "kind", "count", "version", "recall_at_10", "recall_among")
    return {**{name: getattr(said, name) for name in names}, "state": state}


def _run(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    """A run; one that says it is running while nobody writes, and that does not re-embed, was killed."""
    owner = store.folder.reembedding_owner()
    goes_on = (owner is not None and owner.run == row["id"]) or store.folder.is_being_written()
    killed = row["state"] == "running" and not goes_on
    return {
        "id": row["id"],
        "command": row["command"],
        "state": "interrupted" if killed else row["state"],
        "dataset": row["dataset"],
        "level": row["level"],
        "counts": json.loads(row["counts"]),
        "timings_s": json.loads(row["timings_s"]),
    }

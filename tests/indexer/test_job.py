"""What index and embed share: what decides a new attempt, and vectors that must go."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.indexer.job import Job
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.indexer.store.test_encoders import imported, spec
from tests.indexer.store.test_row_checks import ROW


@pytest.fixture
def job(empty: Store, tmp_path: Path) -> Job:
    empty.folder.root_name(tmp_path, prefer="r")
    return Job(empty, Run(empty, "index", dataset="d"), Quarantine(empty), {"r": tmp_path})


def images(job: Job, *names: str, **changes: Any) -> None:
    rows = []
    for name in names:
        (job.roots["r"] / f"{name}.tif").write_bytes(b"x")
        source = {"path": f"{name}.tif", "channels": ["protein"]}
        rows.append(ROW | {"id": f"d/{name}", "root": "r", "sources": [source]} | changes)
    job.store.upsert("fovs", image_rows(rows, "fov"))


def put(job: Job, encoder: StoredEncoder, *names: str) -> None:
    ids = [f"d/{name}" for name in names]
    job.store.put_embeddings(
        "fov", encoder.fingerprint, ids, ["x"] * len(ids), np.ones((len(ids), encoder.spec.dim), np.float32)
    )


def ids(job: Job, encoder: StoredEncoder) -> list[str]:
    return list(job.digests(encoder))


NEW = StoredEncoder("fov", spec(1), "building")


def test_a_new_attempt_needs_another_file_declaration_encoder_or_program(job: Job) -> None:
    record = ImageRecord(id="d/a", level="fov", dataset="d", sources=(Source(job.roots["r"], ("protein",)),))
    row = {"sources": [{"path": "a.tif", "channels": ["protein"]}], "row": None, "pixel_size_um": None}

    def tried(changed: dict[str, Any] | None = None, stat: str = "1:1", encoder: StoredEncoder = NEW) -> str:
        return job.pending(0, record, row | (changed or {}), stat, encoder).tried

    first = tried()
    assert tried({"protein": "other"}) == first
    others = [
        tried(stat="1:2"),
        tried({"sources": [{"path": "a.tif", "channels": ["nucleus"]}]}),
        tried({"sources": [{"path": "b.tif", "channels": ["protein"]}]}),
        tried({"row": 1}),
        tried({"pixel_size_um": 0.2}),
        tried(encoder=StoredEncoder("fov", spec(2), "building")),
    ]
    job.program = "another version"
    others.append(tried())
    assert len({first, *others}) == 8


def test_vectors_of_redeclared_images_go_from_all_encoders_and_of_rescaled_ones_where_size_matters(job: Job) -> None:
    sized = StoredEncoder("fov", spec(2, pixel_size_um=0.08), "superseded")
    elsewhere = imported("superseded")
    encoders.put(job.store, NEW, sized, elsewhere)
    for encoder in (NEW, sized, elsewhere):
        put(job, encoder, "a", "b", "c")
    job.invalidate("fov", {"d/a", "d/none"}, {"d/b"})
    assert ids(job, NEW) == ["d/b", "d/c"]
    assert ids(job, sized) == ["d/c"]
    assert ids(job, elsewhere) == ["d/a", "d/b", "d/c"]
    version = job.store.version(NEW.table)
    job.invalidate("fov", {"d/a"}, set())
    job.invalidate("cell", {"d/b"}, set())
    assert job.store.version(NEW.table) == version


def test_nothing_to_embed_loads_no_encoder(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", lambda _: pytest.fail("loaded"))
    job.embed(NEW, [])
    assert job.store.tables() == []


def test_an_imported_encoder_embeds_nothing(job: Job) -> None:
    record = ImageRecord(id="d/a", level="fov", dataset="d", sources=())
    row = {"sources": [], "row": None, "pixel_size_um": None}
    with pytest.raises(InputError, match="encoder elsewhere was imported, so no image can be embedded with it"):
        job.embed(imported(), [job.pending(0, record, row, "", imported())])

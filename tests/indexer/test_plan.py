"""What records mean for an atlas, where `index` on a folder cannot show it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.indexer.job import Job
from locatlas.indexer.plan import Plan, make_plan
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store import encoders
from locatlas.indexer.store.ledger import Run
from locatlas.indexer.store.quarantine import Quarantine
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from tests.indexer.made import id_of, name_of, write_field


@pytest.fixture
def job(store: Store, source: Path) -> Job:
    """A job over the atlas of six fields."""
    return Job(store, Run(store, "index", dataset="opencell"), Quarantine(store), {"opencell": source})


def record(source: Path, n: int, **changes: Any) -> ImageRecord:
    sources = (Source(source / name_of(n), ("nucleus", "protein")),)
    return ImageRecord(**{"id": id_of(n), "level": "fov", "dataset": "opencell", "sources": sources} | changes)


def planned(job: Job, *records: ImageRecord, replaces: bool = True) -> Plan:
    encoder = encoders.current(job.store, "fov")
    assert encoder is not None
    return make_plan(job, encoder, records, replaces=replaces)


def test_of_two_records_of_one_id_the_first_is_taken(job: Job, source: Path) -> None:
    write_field(source, 8)
    write_field(source, 9)
    plan = planned(job, record(source, 8), record(source, 9, id=id_of(8)))
    assert [p.row["sources"][0]["path"] for p in plan.work] == [name_of(8)]
    (rejection,) = job.quarantine.seen.values()
    assert (rejection.source, rejection.root) == (name_of(9), "opencell")
    assert f"id '{id_of(8)}' is already that of another image" in rejection.reason


def test_what_another_step_found_of_a_cell_is_kept_when_its_reader_describes_it_anew(job: Job, source: Path) -> None:
    cell = record(source, 0, level="cell", fov_id="opencell/f")
    encoder = replace(encoders.stored_encoders(job.store)[0], level="cell")
    row = next(iter(make_plan(job, encoder, [cell], replaces=True).work)).row
    found = {"height": 40, "width": 40, "source_digest": "x", "qc": [], "centroid": [1.0, 2.0], "area_px": 9}
    job.store.upsert("cells", image_rows([{**row, **found}], "cell"))
    again = make_plan(job, encoder, [replace(cell, protein="NEW")], replaces=True)
    assert [(p.row["centroid"], p.row["area_px"], p.row["protein"]) for p in again.work] == [([1.0, 2.0], 9, "NEW")]
    assert "source_digest" not in next(iter(again.work)).row


def test_a_pixel_size_matters_to_encoders_that_rescale(job: Job, source: Path) -> None:
    plan = planned(job, record(source, 0, pixel_size_um=0.5))
    assert (list(plan.work), plan.rescaled, [r["pixel_size_um"] for r in plan.described_anew]) == (
        [],
        {id_of(0)},
        [0.5],
    )
    encoder = encoders.stored_encoders(job.store)[0]
    sized = replace(encoder, spec=encoder.spec.with_changes(pixel_size_um=0.1), state="building")
    rows = job.store.read(encoder.table).to_pylist()
    job.store.put_embeddings(
        "fov",
        sized.fingerprint,
        [r["id"] for r in rows],
        [r["source_digest"] for r in rows],
        np.array([r["vector"] for r in rows], np.float32),
    )
    plan = make_plan(job, sized, [record(source, 0, pixel_size_um=0.5)], replaces=True)
    assert ([p.row["pixel_size_um"] for p in plan.work], plan.rescaled) == ([0.5], {id_of(0)})


def test_below_the_same_root_a_reader_may_choose_another_file_and_a_manifest_may_not(job: Job, source: Path) -> None:
    write_field(source, 8)
    other = record(source, 8, id=id_of(0))
    assert [p.row["sources"][0]["path"] for p in planned(job, other).work] == [name_of(8)]
    assert list(planned(job, other, replaces=False).work) == []
    assert [r.source for r in job.quarantine.seen.values()] == [name_of(8)]


def test_a_mask_outside_the_roots_rejects_the_image(job: Job, source: Path) -> None:
    (source.parent / "mask.png").write_bytes(b"x")
    write_field(source, 8)
    assert list(planned(job, record(source, 8, mask_path=source.parent / "mask.png")).work) == []
    assert "mask.png: lies outside" in next(iter(job.quarantine.seen.values())).reason


def test_a_mask_that_was_added_is_metadata(job: Job, source: Path) -> None:
    (source / "mask.png").write_bytes(b"x")
    plan = planned(job, record(source, 0, mask_path=source / "mask.png"))
    assert ([r["mask"] for r in plan.described_anew], list(plan.work)) == (["mask.png"], [])
    assert plan.described_anew[0]["thumbnail"][:4] == b"RIFF"

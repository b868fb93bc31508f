"""`status` as a person reads it: what is there, what answers, what is to do and how."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import rejection_id
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import QUARANTINE
from locatlas.indexer.store.tables import Store
from tests.cli.asking import document, run
from tests.indexer.made_cells import write_cells
from tests.query.made_atlas import encoder, make_atlas, row


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "120")  # narrower, tables break their lines
    return make_atlas(tmp_path / "atlas")


def shown(atlas: Path) -> str:
    done = run("status", "--atlas", atlas)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def table_rows(text: str) -> list[list[str]]:
    """The rows of all tables, cells as they stand."""
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in text.splitlines()]


def test_what_is_there_and_what_answers_is_told(atlas: Path) -> None:
    text = shown(atlas)
    assert text.splitlines()[0] == f"{atlas}: 18 fields of view and 72 cells of 1 data set (schema version 3)"
    rows = table_rows(text)
    assert ["fov", "d", "18", "all"] in rows
    prints = {e["level"]: e["fingerprint"][:12] for e in document("status", "--atlas", atlas)["encoders"]}
    assert ["cell", "made", prints["cell"], "current", "all"] in rows
    assert f"vectors of made ({prints['cell']}): 8 numbers, made elsewhere" in text.splitlines()
    assert "look-ups at level cell: exact, over 72 vectors" in text
    assert "to do:" not in text


def test_what_is_to_do_comes_with_the_command(atlas: Path) -> None:
    store = Store.open(atlas)
    spec = encoder().with_changes(architecture="locatlas_pico", name="own", weights_sha256="seed:1", input_px=32)
    with store.folder.writer("a test"):
        # one that waits, one whose file cannot be used, and those without an image, for which nothing can be done
        images = [
            row(f"d/{name}", root="r", sources=[{"path": f"{name}.tif", "channels": []}]) for name in ("new", "a")
        ]
        store.upsert("fovs", image_rows(images, "fov"))
        encoders.put(store, StoredEncoder("fov", spec, "building"))
        said = dict.fromkeys(QUARANTINE.names) | {
            "id": rejection_id("d", "r", "a.tif"),
            "dataset": "d",
            "source": "a.tif",
            "reason": "it is no image",
            "run_id": "r",
        }
        store.upsert("quarantine", pa.Table.from_pylist([said], schema=QUARANTINE))
    text = shown(atlas)
    assert ["fov", "d", "20", "18 of 20"] in table_rows(text)
    todo = text.partition("to do:\n")[2].splitlines()
    assert todo == [
        f"- 1 image without a vector at level fov by own, which is being built: locatlas reembed --atlas {atlas} "
        f"(or, to give it up, locatlas maintain --atlas {atlas} --drop-encoder {spec.fingerprint[:12]})",
        "- 1 source of data set d could not be used, e.g. a.tif: it is no image (all with --json)",
    ]


def test_rows_that_an_import_brought_without_an_image_wait_for_no_vector(tmp_path: Path) -> None:
    store = write_cells(tmp_path)
    spec = encoder().with_changes(architecture="locatlas_pico", name="own", weights_sha256="seed:1", input_px=32)
    own = StoredEncoder("fov", spec, "current")
    ids, digests = (store.read("fovs")[name].to_pylist() for name in ("id", "source_digest"))
    with store.folder.writer("a test"):
        encoders.put(store, own)
        store.put_embeddings("fov", own.fingerprint, ids[:2], digests[:2], np.eye(2, spec.embedding_dim, dtype="f4"))
    np.savez(tmp_path / "v.npz", ids=np.array(["a", "b"]), vectors=np.eye(2, 3, dtype="f4"))
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="elsewhere")
    told = f"1 image without a vector at level fov by own: locatlas embed --atlas {tmp_path / 'atlas'} --level fov"
    assert shown(tmp_path / "atlas").partition("to do:\n")[2].splitlines() == [f"- {told}"]
    lacking = {e["name"]: e["lacking"] for e in document("status", "--atlas", tmp_path / "atlas")["encoders"]}
    assert lacking == {"own": 1, "elsewhere": 0}
    with store.folder.writer("a test"):
        store.put_embeddings("fov", own.fingerprint, ids, digests, np.eye(3, spec.embedding_dim, dtype="f4"))
    assert "to do:" not in shown(tmp_path / "atlas")


def test_an_atlas_without_images_is_told_in_a_line(tmp_path: Path) -> None:
    Store.create(tmp_path / "empty")
    assert shown(tmp_path / "empty").split() == f"{tmp_path / 'empty'}: no images (schema version 3)".split()


def test_an_index_that_is_not_used_is_told_with_a_command_for_any_path(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    atlas = make_atlas(tmp_path / "50% done")
    refresh(atlas, "flat", levels=("cell",))
    assert "look-ups at level cell: FAISS index (flat) of 72 vectors, which finds 100.0% of the 10 nearest" in shown(
        atlas
    )
    assert document("status", "--atlas", atlas)["indices"][0]["state"] == "up to date"
    (file,) = (atlas / "indices").glob("*.faiss")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    text = shown(atlas)
    assert "look-ups at level cell: exact, over 72 vectors" in text
    assert f"is not used (damaged): locatlas verify --atlas '{atlas}' --repair" in text


def test_each_data_set_tells_its_most_frequent_reason_however_many_came_before(atlas: Path) -> None:
    store = Store.open(atlas)
    of_first = [("first", f"{n:04}.tif", "it is no image") for n in range(1002)]
    # of the last, the most frequent reason is not the one that is met first
    of_last = [("last", "a.tif", "too dark"), ("last", "b.tif", "3 planes"), ("last", "c.tif", "4 planes")]
    rows = [
        dict.fromkeys(QUARANTINE.names)
        | {"id": f"{dataset}/{source}", "dataset": dataset, "source": source, "reason": reason, "run_id": "r"}
        for dataset, source, reason in [*of_first, *of_last]
    ]
    with store.folder.writer("a test"):
        store.upsert("quarantine", pa.Table.from_pylist(rows, schema=QUARANTINE))
    said = document("status", "--atlas", atlas)
    assert said["quarantine"] == {"first": 1002, "last": 3}
    assert [(r["dataset"], r["sources"], r["reason"], r["examples"]) for r in said["quarantine_reasons"]] == [
        ("first", 1002, "it is no image", ["0000.tif", "0001.tif", "0002.tif"]),
        ("last", 2, "3 planes", ["b.tif", "c.tif"]),
        ("last", 1, "too dark", ["a.tif"]),
    ]
    listed = [q["dataset"] for q in said["quarantined"]]
    assert (listed.count("first"), listed.count("last")) == (1000, 3)
    assert shown(atlas).partition("to do:\n")[2].splitlines() == [
        "- 1002 sources of data set first could not be used, e.g. 0000.tif: it is no image "
        "(the first 1,000 with --json)",
        "- 3 sources of data set last could not be used, e.g. b.tif: 3 planes (all with --json)",
    ]

"""What an atlas has names for, over HTTP, against its tables."""

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.testclient import TestClient

import locatlas
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.query.serve.catalogue import COLUMNS, Catalogue
from tests.cli.asking import run
from tests.indexer.made_cells import write_cells
from tests.query.made_atlas import encoder, row


def test_the_status_counts_what_the_tables_hold(client: TestClient, made: Path) -> None:
    said = client.get("/api/v1/status").json()
    own = locatlas.open(made).status()
    assert {one["level"]: one["images"] for one in said["levels"]} == {"fov": 18, "cell": 72}
    assert said["proteins"] == 6
    assert said["name"] == "atlas"
    assert [(e["name"], e["level"], e["embedded"]) for e in said["encoders"]] == [
        (e["name"], e["level"], e["embedded"]) for e in own["encoders"]
    ]
    assert all(e["imported"] for e in said["encoders"])
    assert said["localizations"] == {"er": 30, "golgi": 30, "nucleoplasm": 30}
    assert said["datasets"] == [
        {"name": "d", "fovs": 18, "cells": 72, "channels": [["protein"]], "images": False, "images_at_hand": False}
    ]


def test_the_status_lists_images_that_wait_for_their_vector_and_data_sets_without_any(tmp_path: Path) -> None:
    from locatlas.query.serve.app import create_app

    store = write_cells(tmp_path)
    atlas, spec = store.folder.path, encoder().with_changes(architecture="locatlas_pico", name="own", input_px=32)
    (first, *others), own = store.read("fovs", ["id"])["id"].to_pylist(), StoredEncoder("fov", spec, "current")
    with store.folder.writer("a test"):
        encoders.put(store, own)
        store.put_embeddings("fov", own.fingerprint, [first], ["x"], np.ones((1, spec.embedding_dim), np.float32))
    np.savez(tmp_path / "v.npz", ids=np.array(["a"]), vectors=np.ones((1, 3), np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=atlas, name="elsewhere")
    with TestClient(create_app(atlas), base_url="http://localhost") as asked:
        said = asked.get("/api/v1/status").json()
    assert said["stale"][0] == f"{len(others)} images without a vector at level fov by own"
    assert said["stale"][0] in " ".join(run("status", "--atlas", atlas).output.split())
    assert {d["name"]: (d["images"], d["images_at_hand"]) for d in said["datasets"]} == {
        "imported": (False, False),
        "x": (True, True),
    }


def test_proteins_are_paged_in_the_order_of_their_names(client: TestClient) -> None:
    whole = client.get("/api/v1/proteins").json()
    assert [one["protein"] for one in whole["proteins"]] == [f"P{n}" for n in range(6)]
    assert all((one["n_fovs"], one["n_cells"]) == (3, 12) for one in whole["proteins"])
    page = client.get("/api/v1/proteins", params={"limit": 2, "offset": 3}).json()
    assert [one["protein"] for one in page["proteins"]] == ["P3", "P4"]
    assert page["total"] == 6
    golgi = client.get("/api/v1/proteins", params={"localization": "golgi"}).json()
    assert [one["protein"] for one in golgi["proteins"]] == ["P1", "P4"]
    assert client.get("/api/v1/proteins", params={"q": "p5"}).json()["total"] == 1


def test_a_protein_shows_its_images_fields_before_cells(client: TestClient, made: Path) -> None:
    said = client.get("/api/v1/proteins/P1").json()
    levels = [one["level"] for one in said["images"]]
    assert levels == ["fov"] * 3 + ["cell"] * 12
    meta = locatlas.open(made).view("cell").meta
    own = [i for i, p in zip(meta["id"].to_pylist(), meta["protein"].to_pylist(), strict=True) if p == "P1"]
    assert [one["id"] for one in said["images"][3:]] == sorted(own)
    page = client.get("/api/v1/proteins/P1", params={"limit": 4, "offset": 2}).json()
    assert page["images"] == said["images"][2:6]
    assert said["links"] == {"opencell": None, "hpa": None}


def test_an_image_is_found_by_its_id_alone(client: TestClient) -> None:
    cell = client.get("/api/v1/images/d/10/0").json()
    assert (cell["id"], cell["level"], cell["fov_id"], cell["protein"]) == ("d/10/0", "cell", "d/10", "P1")
    assert cell["box"] == [0, 0, 5, 5]
    assert client.get("/api/v1/images/d/10").json()["level"] == "fov"
    gone = client.get("/api/v1/images/d/nothing")
    assert gone.status_code == 404
    assert "d/nothing" in gone.json()["error"]


def test_a_protein_in_another_case_is_told(client: TestClient) -> None:
    answer = client.get("/api/v1/proteins/p1")
    assert answer.status_code == 404
    assert "unknown protein 'p1'; did you mean 'P1'? known: P0, P1, " in answer.json()["error"]


def table(rows: list[dict[str, object]]) -> pa.Table:
    kinds = {"localizations": pa.list_(pa.string()), "channels": pa.list_(pa.string())}
    kinds["metadata"] = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    return pa.Table.from_pylist([{name: one.get(name) for name in COLUMNS} for one in rows], schema=schema)


@pytest.fixture
def names() -> Catalogue:
    alias = [{"name": "Gene synonym", "value": "LMN; LMN2"}]
    rows = [
        row("a/1", protein="LMNB1", ensembl_id="ENSG00000113368", metadata=alias, localizations=["Nuclear membrane"]),
        row("a/2", protein="LMNB1", localizations=["nucleus"]),
        row("a/3", protein="ALMN", localizations=[]),
        row("b/LMN", protein=None, dataset="b", channels=["nucleus", "protein"]),
        row("b/x", protein="Ångström"),
    ]
    return Catalogue.of(table(rows), table([]))


def test_suggestions_have_prefixes_before_what_is_inside_whatever_the_case(names: Catalogue) -> None:
    said = [(one["kind"], one["text"]) for one in names.suggest("lmn", 10)]
    assert said == [("protein", "LMNB1"), ("alias", "LMN"), ("alias", "LMN2"), ("protein", "ALMN"), ("id", "b/LMN")]
    assert names.suggest("lmn", 2) == [
        {"kind": "protein", "text": "LMNB1", "protein": "LMNB1"},
        {"kind": "alias", "text": "LMN", "protein": "LMNB1"},
    ]
    assert [one["text"] for one in names.suggest("nuc", 9)] == ["nucleus", "Nuclear membrane"]
    assert names.suggest("113368", 9) == [{"kind": "alias", "text": "ENSG00000113368", "protein": "LMNB1"}]
    assert names.suggest("  ", 9) == []


def test_a_name_is_found_in_either_unicode_form(names: Catalogue) -> None:
    wanted = unicodedata.normalize("NFD", "ångström")
    assert [one["text"] for one in names.suggest(wanted, 3)] == ["Ångström"]


def test_a_catalogue_counts_as_a_loop_over_rows_does(rng) -> None:  # type: ignore[no-untyped-def]
    words = ["er", "golgi", "cytosol"]
    rows = [
        row(
            f"i{n:04d}",
            dataset=f"d{rng.integers(3)}",
            protein=None if rng.random() < 0.1 else f"P{rng.integers(20)}",
            localizations=sorted({words[i] for i in rng.integers(0, 3, rng.integers(0, 3))}),
            channels=["nucleus", "protein"][: int(rng.integers(1, 3))],
            metadata=[{"name": "n", "value": str(rng.integers(4))}] if rng.random() < 0.5 else [],
        )
        for n in range(700)
    ]
    found = Catalogue.of(table(rows[:400]), table(rows[400:]))
    assert {name: one.n_fovs for name, one in found.proteins.items() if one.n_fovs} == Counter(
        r["protein"] for r in rows[:400] if r["protein"]
    )
    assert {name: one.n_cells for name, one in found.proteins.items() if one.n_cells} == Counter(
        r["protein"] for r in rows[400:] if r["protein"]
    )
    assert found.localizations == Counter(label for r in rows for label in r["localizations"])
    for name, one in found.proteins.items():
        mine = [r for r in rows if r["protein"] == name]
        assert one.localizations == sorted({label for r in mine for label in r["localizations"]})
        assert one.datasets == sorted({r["dataset"] for r in mine})
    counts = Counter((r["dataset"], tuple(r["channels"])) for r in rows)
    for name, lists in found.channels.items():
        numbers = [counts[name, tuple(channels)] for channels in lists]
        assert numbers == sorted(numbers, reverse=True)
        assert sum(numbers) == sum(r["dataset"] == name for r in rows)

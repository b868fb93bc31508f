"""Answers over HTTP are those of the façade; a reader sees what was committed since."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.testclient import TestClient

import locatlas
from locatlas.indexer.index import index
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.answers import tables as answers
from locatlas.query.documents.asking import ClassifyDocument, NeighborsDocument, SweepDocument
from locatlas.query.plain import plain
from locatlas.query.serve.app import create_app
from locatlas.query.serve.arrow import ARROW
from locatlas.query.serve.context import MOST_TEXT
from locatlas.query.serve.reading import HeldStore
from tests.indexer.made import write_annotations, write_field
from tests.query.made_atlas import encoder, make_atlas, row

NEIGHBORS: list[dict[str, Any]] = [
    {"protein": "P1", "k": 7},
    {"protein": "P1", "k": 3, "level": "protein"},
    {"protein": "P2", "level": "protein", "profile": "medoid", "of": "cell"},
    {"id": "d/10", "k": 5, "exclude": "fov"},
    {"id": "d/10/0", "k": 9, "level": "cell", "where": ["plate=plate1", "area_px>100"]},
    {"protein": "P5", "level": "cell", "label_source": "annotated"},
]


@pytest.mark.parametrize("asked", NEIGHBORS, ids=json.dumps)
def test_neighbors_are_those_of_the_facade(client: TestClient, made: Path, asked: dict[str, Any]) -> None:
    own = locatlas.open(made).neighbors(**asked)
    answer = client.get("/api/v1/neighbors", params=asked)
    assert answer.status_code == 200, answer.text
    wanted = plain(answers.neighbors_document(own))
    assert {name: answer.json()[name] for name in wanted if name != "hits"} == {
        name: value for name, value in wanted.items() if name != "hits"
    }
    assert [{n: v for n, v in hit.items() if n in wanted["hits"][0]} for hit in answer.json()["hits"]] == wanted["hits"]
    NeighborsDocument.model_validate(answer.json())
    table = client.get("/api/v1/neighbors", params=asked, headers={"accept": ARROW}).content
    assert pa.ipc.open_stream(table).read_all().equals(own, check_metadata=True)


@pytest.mark.parametrize(
    "asked",
    [
        {"protein": "P1", "k": 7},
        {"id": "d/10", "weights": "uniform", "k": 3},
        {"protein": "P1", "level": "protein", "k": 2},
        {"protein": "P1", "by": "fov", "how": "majority"},
    ],
    ids=json.dumps,
)
def test_votes_are_those_of_the_facade(client: TestClient, made: Path, asked: dict[str, Any]) -> None:
    own = locatlas.open(made).classify(**asked)
    answer = client.get("/api/v1/classify", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["items"] + answer.json()["units"] == plain(own.to_pylist())
    ClassifyDocument.model_validate(answer.json())


def test_a_sweep_is_that_of_the_facade(client: TestClient, made: Path) -> None:
    answer = client.get("/api/v1/sweep", params={"ks": "1,3", "level": "fov"})
    own = plain(locatlas.open(made).sweep(ks=[1, 3], level="fov").to_dict())
    SweepDocument.model_validate(answer.json())
    assert [{n: one[n] for n in own["results"][0]} for one in answer.json()["results"]] == own["results"]


def test_confidences_are_the_vote_that_leaves_the_own_protein_out(client: TestClient, made: Path) -> None:
    answer = client.get("/api/v1/points/confidence", params={"level": "cell", "k": 5})
    table = pa.ipc.open_stream(answer.content).read_all()
    own = locatlas.open(made).classify(level="cell", k=5, exclude="protein").to_pylist()
    assert table["id"].to_pylist() == [one["id"] for one in own]
    assert table["predicted"].to_pylist() == [one["scores"][0]["localization"] for one in own]
    assert np.allclose(table["confidence"].to_numpy(), [one["scores"][0]["score"] for one in own], atol=1e-7)


@pytest.mark.parametrize("unnamed", [18, 15, 0])
def test_rows_without_a_protein_have_no_vote_and_give_none(tmp_path: Path, unnamed: int) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    store = Store.open(path)
    rows = store.read("fovs").to_pylist()
    with store.folder.writer("a test"):
        # near-identical siblings of one sample, whose labels say nothing
        gone = [r | {"protein": (None, "")[i % 2]} for i, r in enumerate(rows[18 - unnamed :])]
        if gone:
            store.upsert("fovs", image_rows(gone, "fov"))
    answer = TestClient(create_app(path), base_url="http://localhost").get(
        "/api/v1/points/confidence", params={"level": "fov", "k": 2}
    )
    assert answer.status_code == 200, answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    said = answers.context(table)
    assert table["id"].to_pylist() == [r["id"] for r in rows]
    nothing = [None] * unnamed
    assert table["predicted"].to_pylist()[18 - unnamed :] == nothing
    assert table["confidence"].to_pylist()[18 - unnamed :] == nothing
    # one protein that is known has nobody else to ask; with all known, everybody has
    assert table["confidence"].null_count == (0 if not unnamed else 18)
    assert said.get("n_without_protein", 0) == unnamed
    assert any(f"{unnamed} of 18 whose protein is unknown" in note for note in said["notes"]) == bool(unnamed)


def test_two_encoders_overlap_by_the_sets_of_their_neighbors(client: TestClient) -> None:
    fingerprint = client.get("/api/v1/status").json()["encoders"][0]["fingerprint"]
    asked = {"a": "made", "b": fingerprint, "ids": ["d/10", "d/20"], "level": "fov", "k": 4}
    said = client.get("/api/v1/compare", params=asked).json()
    assert said["overlap"] == 1
    assert [one["query"] for one in said["queries"]] == [{"id": "d/10"}, {"id": "d/20"}]
    for one in said["queries"]:
        assert one["in_both"] == [hit["id"] for hit in one["a"]["hits"]]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("neighbors", 422, "one query needed"),
        ("neighbors?protein=P1&id=d/10", 422, "one query needed"),
        ("neighbors?protein=P1&kk=3", 422, "kk"),
        ("neighbors?protein=P1&k=0", 422, "k: "),
        ("neighbors?protein=P1&k=999", 400, "k = 999"),
        ("neighbors?protein=P9", 404, "unknown protein 'P9'"),
        ("neighbors?protein=P1&where=nonsense", 400, "filter"),
        ("neighbors?protein=P1&where=nothing%3D1", 404, "unknown column"),
        ("neighbors?protein=P1&encoder=other", 404, "unknown"),
        ("classify?protein=P1&temperature=nan", 422, "temperature"),
        ("sweep?ks=1,x", 400, "ks"),
        ("points?level=fov", 400, "locatlas map --atlas"),
        ("benchmarks/00000000000000000000000000000000", 404, "no measurement"),
        ("nothing", 404, "Not Found"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(client: TestClient, path: str, status: int, told: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == status
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("neighbors", "one query needed: a protein or an id"),
        ("neighbors?protein=P1&kk=3", "kk: no parameter of this name is known here"),
        ("neighbors?protein=P1&k=0", "k: at least 1 needed"),
        ("neighbors?protein=P1&k=1001", "k: at most 1000 allowed"),
        ("neighbors?protein=P1&k=x", "k: a whole number needed"),
        ("neighbors?protein=P1&k=1.5", "k: a whole number needed"),
        ("neighbors?protein=P1&level=plate", "level: one of 'fov', 'cell' or 'protein' needed"),
        ("neighbors?protein=P1&exact=perhaps", "exact: true or false needed"),
        (f"neighbors?protein={'P' * 5000}", f"protein: at most {MOST_TEXT} characters allowed"),
        (f"neighbors?protein=P1{'&where=a%3Db' * 21}", "where: at most 20 values allowed"),
        ("classify?protein=P1&temperature=nan", "temperature: a number needed that is neither infinite nor NaN"),
        ("classify?protein=P1&temperature=hot", "temperature: a number needed"),
        ("classify?protein=P1&threshold=0", "threshold: more than 0 needed"),
        ("resemblance?seed=4294967296", "seed: less than 4294967296 needed"),
        ("compare?a=made", "b: needed, and not given"),
        ("compare?a=made&b=made", "one selection needed: a protein or ids"),
        ("neighbors?protein=P1&k=0&level=x", "level: one of 'fov', 'cell' or 'protein' needed; k: at least 1 needed"),
    ],
)
def test_parameters_that_cannot_be_used_are_told_by_name_and_reason(client: TestClient, path: str, told: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()) == (422, {"error": told})


def test_messages_name_no_folder_of_this_machine(client: TestClient, made: Path) -> None:
    said = client.get("/api/v1/points", params={"level": "fov"}).json()["error"]
    assert str(made) not in said
    assert str(made.parent) not in said
    assert "/tmp" not in said


def test_a_held_store_knows_the_versions_that_lance_knows(fields: Path) -> None:
    plain_store = locatlas.open(fields / "atlas").store
    held = HeldStore(plain_store.folder)
    assert {table: held.version(table) for table in held.tables()} == {
        table: plain_store.version(table) for table in plain_store.tables()
    }
    assert {one[0]: one[1] for one in held.stamp()} == {t: plain_store.version(t) for t in plain_store.tables()}
    assert held.read("encoders").equals(plain_store.read("encoders"))


def test_an_atlas_put_in_the_place_of_one_with_as_many_commits_is_seen(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    other = make_atlas(tmp_path / "other", levels=("fov",))
    for folder, name in ((path, "AAA"), (other, "BBB")):
        store = Store.open(folder)
        stored = StoredEncoder("fov", encoder(), "current")
        with store.folder.writer("a test"):
            store.upsert("fovs", image_rows([row("d/new", protein=name, localizations=["er"])], "fov"))
            vector = np.eye(2, 8, dtype=np.float32)[[int(name == "BBB")]]
            store.put_embeddings("fov", stored.fingerprint, ["d/new"], ["x"], vector)
    assert Store.open(path).version("fovs") == Store.open(other).version("fovs")
    client = TestClient(create_app(path), base_url="http://localhost")

    def said() -> list[Any]:
        proteins = client.get("/api/v1/proteins").json()["proteins"]
        table = pa.ipc.open_stream(client.get("/api/v1/embeddings", params={"level": "fov"}).content).read_all()
        vectors = dict(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))
        return [{one["protein"] for one in proteins} & {"AAA", "BBB"}, vectors["d/new"][:2]]

    before = client.get("/api/v1/status").json()["version"]
    assert said() == [{"AAA"}, [1, 0]]
    assert client.get("/api/v1/status").json()["version"] == before
    path.rename(tmp_path / "away")
    other.rename(path)
    assert said() == [{"BBB"}, [0, 1]]
    assert client.get("/api/v1/status").json()["version"] != before


def test_what_is_asked_by_many_at_once_is_made_once(client: TestClient) -> None:
    desk = client.app.state.context.desk  # type: ignore[attr-defined]
    made: list[int] = []
    started = threading.Event()

    def make() -> str:
        made.append(1)
        started.wait(5)
        return "answer"

    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(desk.once("asked", make, size=lambda _: 1))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join()
    assert (found, len(made)) == (["answer"] * 5, 1)


def test_new_rows_are_seen_without_a_restart(drawn: TestClient, fields: Path) -> None:
    before = drawn.get("/api/v1/status").json()
    assert drawn.get("/api/v1/neighbors", params={"id": "opencell/FID00000000"}).status_code == 200
    assert drawn.get("/api/v1/images/opencell/FID00000009").status_code == 404
    write_field(fields / "images", 9)
    write_annotations(fields / "images", {n: ("nucleoplasm", "vesicles")[n % 2] for n in (*range(6), 9)})
    index(fields / "images", atlas=fields / "atlas", dataset="opencell")
    after = drawn.get("/api/v1/status").json()
    assert after["version"] != before["version"]
    assert after["levels"][0]["images"] == before["levels"][0]["images"] + 1 == 7
    assert drawn.get("/api/v1/proteins/GENE9").json()["n_fovs"] == 1
    hits = drawn.get("/api/v1/neighbors", params={"id": "opencell/FID00000000", "k": 6}).json()["hits"]
    assert "opencell/FID00000009" in {hit["id"] for hit in hits}

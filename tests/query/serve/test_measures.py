"""Maps and measurements that are stored, over HTTP, against what was put there."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")

from starlette.testclient import TestClient

import locatlas
from locatlas.indexer.store.benchmarks import put_results
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.rows import to_row
from locatlas.query.benchmark.scored import Scored
from locatlas.query.benchmark.summary import summarize
from locatlas.query.map.stored import read_map
from locatlas.query.scores.metrics import Counts
from locatlas.query.serve.app import create_app
from locatlas.query.serve.routes_measures import _curves_of
from tests.query.made_atlas import make_atlas

CLASSES = ("er", "golgi")


def scored(
    k: int, seed: int, right: int, digest: str = "d", *, encoder: str = "made", groups: tuple[str, str] = ("P0", "P1")
) -> Scored:
    """Ten rows in two groups, so many of them right."""
    wrong = 10 - right
    counts = Counts(
        tp=np.array([[right, 0], [0, 0]]), fp=np.array([[0, wrong], [0, 0]]), fn=np.array([[wrong, 0], [0, 0]])
    )
    cell = Cell(encoder=encoder, mapping=None, mapping_seed=None, passes=None, level="fov", protocol="protein-kfold",
                k=k, votes="uniform", seed=seed)  # fmt: skip
    return Scored(
        cell=cell, fingerprint="f" * 64, data_digest=digest, classes=CLASSES, groups=groups, counts=counts,
        n_right=np.array([right, 0]), n_rows=np.array([10, 0]), n_references=8.0,
        confusion=np.array([[right, wrong, 0], [0, 0, 0]]), notes=("a note",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_atlas(tmp_path_factory.mktemp("stored") / "atlas")
    store = locatlas.open(folder).store
    cells = [scored(k, seed, right) for k, seed, right in ((1, 0, 4), (1, 1, 6), (3, 0, 8), (3, 1, 9))]
    cells.append(scored(1, 0, 2, "of other rows"))
    rows = [to_row(one, key=one.cell.id(one.fingerprint, one.data_digest), grid="g", versions={}) for one in cells]
    with store.folder.writer("a test"):
        put_results(store, rows)
    atlas = locatlas.open(folder)
    for level in ("fov", "protein"):
        atlas.map(level)
    return folder


@pytest.fixture(scope="module")
def client(stored: Path) -> TestClient:
    return TestClient(create_app(stored), base_url="http://localhost")


def test_curves_are_of_the_same_rows_and_means_over_the_seeds(client: TestClient) -> None:
    curves = client.get("/api/v1/sweeps").json()["curves"]
    assert [one["data_digest"] for one in curves] == ["d", "of other rows"]
    first = curves[0]
    assert [(p["k"], p["n_seeds"], p["accuracy"]) for p in first["points"]] == [
        (1, 2, 0.5),
        (3, 2, pytest.approx(0.85)),
    ]
    # F1 of the one class that is present: 2 TP / (2 TP + FN)
    f1 = [2 * right / (2 * right + 10 - right) for right in (8, 9)]
    assert first["points"][1]["macro_f1"] == pytest.approx(np.mean(f1))
    assert first["points"][1]["macro_f1_sd"] == pytest.approx(np.std(f1, ddof=1))


def test_curves_are_of_one_chart_where_the_same_groups_were_scored() -> None:
    made, other, elsewhere = (
        scored(1, 0, 4),
        scored(1, 0, 9, "vectors of another encoder", encoder="other"),
        scored(1, 0, 4, "equally many", encoder="elsewhere", groups=("P0", "P2")),
    )
    curves = _curves_of([(one, ["id"]) for one in summarize([made, other, elsewhere], n_bootstrap=0)])
    rows = {one["encoder"]: one["rows"] for one in curves}
    assert curves[0]["encoder"] == "other"  # the best first
    assert {(one["n"], one["n_groups"], one["n_classes"]) for one in curves} == {(10, 2, 2)}
    assert rows["made"] == rows["other"] != rows["elsewhere"]


def test_a_measurement_has_its_confusion_matrix(client: TestClient) -> None:
    listed = client.get("/api/v1/benchmarks").json()
    assert listed["total"] == 3
    scores = [one["macro_f1"] for one in listed["summaries"]]
    assert scores == sorted(scores, reverse=True)
    assert client.get("/api/v1/benchmarks", params={"offset": 2, "limit": 5}).json()["summaries"] == [
        listed["summaries"][2]
    ]
    best = listed["summaries"][0]
    found = [client.get(f"/api/v1/benchmarks/{cell}").json() for cell in best["cells"]]
    assert sorted(one["confusion"][0][0] for one in found) == [8, 9]
    assert all(one["classes"] == list(CLASSES) and one["notes"] == ["a note"] for one in found)
    assert client.get("/api/v1/status").json()["stored"]["benchmarks"] == 5


@pytest.mark.parametrize("level", ["fov", "protein"])
def test_points_are_those_of_the_stored_map(client: TestClient, stored: Path, level: str) -> None:
    answer = client.get("/api/v1/points", params={"level": level})
    table = pa.ipc.open_stream(answer.content).read_all()
    own = read_map(locatlas.open(stored), level)
    assert table["id"].to_pylist() == own.ids
    assert np.array_equal(np.column_stack([table["x"], table["y"]]), own.xy)
    view = locatlas.open(stored).view(level)
    proteins = dict(zip(view.ids, view.column("protein"), strict=True))
    first = {name: min(labels) for name, labels in zip(view.ids, view.localizations, strict=True)}
    assert table["protein"].to_pylist() == [proteins[one] for one in own.ids]
    assert table["localization"].to_pylist() == [first[one] for one in own.ids]
    assert table["localizations"].to_pylist() == table["localization"].to_pylist()
    assert set(table["n_localizations"].to_pylist()) == {1}
    assert pa.types.is_dictionary(table["localization"].type)
    said = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert (said["method"], said["level"], said["fingerprint"]) == ("pca", level, own.fingerprint)
    maps = client.get("/api/v1/status").json()["stored"]["maps"]
    assert {one["level"] for one in maps} == {"fov", "protein"}

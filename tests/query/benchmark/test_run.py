"""A grid on a small atlas of made images: vectors beside the current ones, what is known is not measured again."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer import follow as follow_module
from locatlas.indexer.embed import reembed
from locatlas.indexer.store import encoders
from locatlas.indexer.store.ledger import versions
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from locatlas.query.benchmark import run as run_module
from locatlas.query.benchmark.grid import EncoderEntry, Grid
from locatlas.query.benchmark.run import benchmark
from tests.query.made_training import TINY, draw_nothing, make_atlas

PLANS = ("natural", "random", "replicate")


@pytest.fixture
def atlas(tmp_path: Path, home: Path) -> Path:
    return make_atlas(tmp_path)


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_nothing(monkeypatch)


def grid(**said: Any) -> Grid:
    whole: dict[str, Any] = {
        "name": "g",
        "title": "Plans",
        "encoders": (EncoderEntry(name=TINY, mappings=PLANS, passes=("separate",), mapping_seeds=(0, 1)),),
        "protocols": ("protein-out",),
        "ks": (1, 3),
        "compare_k": 3,
    }
    return Grid(**{**whole, **said})


def states(atlas: Path) -> list[str]:
    return sorted(e.state for e in encoders.stored_encoders(Store.open(atlas)))


def test_plans_are_embedded_beside_the_current_encoder_and_measured_once(atlas: Path) -> None:
    before = encoders.current(Store.open(atlas), "fov")
    result = benchmark(atlas=atlas, grid=grid(), n_bootstrap=20)
    assert (len(result.cells), result.n_measured) == (8, 8)  # natural, two random ones, replicate; at two k
    assert encoders.current(Store.open(atlas), "fov") == before
    assert states(atlas) == [*["beside"] * 4, "current"]
    again = benchmark(atlas=atlas, grid=grid(), n_bootstrap=20)
    assert (len(again.cells), again.n_measured) == (8, 0)
    assert again.to_dict()["cells"] == result.to_dict()["cells"]
    assert [one.where["k"] for one in result.comparisons] == [3, 3, 3]
    random = next(one for one in result.summaries if one.cell.mapping == "random" and one.cell.k == 3)
    assert len(random.cells) == 2


def test_scores_are_those_of_sweep(atlas: Path) -> None:
    result = benchmark(atlas=atlas, grid=grid(), n_bootstrap=0)
    for one in result.cells:
        found = open_atlas(atlas).sweep(ks=[one.cell.k], encoder=one.fingerprint)  # type: ignore[list-item]
        assert found.results[0].macro_f1 == one.macro_f1


def test_a_killed_run_goes_on_where_it_stood(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = run_module.put_results
    calls: list[int] = []

    def killed(store: Store, rows: Any) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(rows))
        put(store, rows)

    monkeypatch.setattr(run_module, "put_results", killed)
    with pytest.raises(KeyboardInterrupt):
        benchmark(atlas=atlas, grid=grid(), n_bootstrap=0)
    monkeypatch.setattr(run_module, "put_results", put)
    again = benchmark(atlas=atlas, grid=grid(), n_bootstrap=0)
    assert calls == [2, 2]
    assert (len(again.cells), again.n_measured) == (8, 4)


@pytest.mark.slow
def test_other_labels_are_measured_anew(atlas: Path, tmp_path: Path) -> None:
    assert benchmark(atlas=atlas, grid=grid(), n_bootstrap=0).n_measured == 8
    only = grid(settings={"where": ["protein!=P1"]})
    assert benchmark(atlas=atlas, grid=only, n_bootstrap=0).n_measured == 8


def test_frozen_and_fine_tuned_are_judged_on_the_same_held_out_proteins(atlas: Path) -> None:
    tuned = grid(
        encoders=(EncoderEntry(name=TINY),),
        protocols=("protein-holdout",),
        objectives=("frozen", "supervised"),
        classifiers=("knn", "linear"),
        ks=(1,),
        compare_k=1,
        fractions=(0.5, 1.0),
        seeds=(0,),
        settings={"hold_out": 0.3, "validation": 0.3},
        finetune={"steps": 2, "batch_size": 6},
    )
    result = benchmark(atlas=atlas, grid=tuned, n_bootstrap=20)
    assert result.n_measured == 8
    assert len({one.groups for one in result.cells}) == 1
    frozen, trained = (
        {one.fingerprint for one in result.cells if one.cell.objective == kind} for kind in ("frozen", "supervised")
    )
    assert (len(frozen), len(trained & frozen), len(trained)) == (1, 0, 2)  # an encoder for each fraction
    assert states(atlas).count("current") == 1
    assert {one.first for one in result.comparisons} == {f"{TINY}, natural, joint"}
    assert benchmark(atlas=atlas, grid=tuned, n_bootstrap=20).n_measured == 0


def test_tables_and_figures_hold_what_was_measured(atlas: Path, tmp_path: Path, unpainted: None) -> None:
    import pyarrow.parquet as pq

    two = (EncoderEntry(name=TINY, mappings=("natural", "replicate"), passes=("separate",)),)
    asked = grid(
        encoders=two, classifiers=("knn", "linear"), protocols=("protein-kfold",), seeds=(0, 1), settings={"folds": 2}
    )
    result = benchmark(atlas=atlas, grid=asked, n_bootstrap=20)
    written = {path.name for path in result.write(tmp_path / "out")}
    assert {
        "results.csv", "results.parquet", "summary.csv", "comparisons.csv", "per_class.csv", "confusion.csv",
        "calibration.csv", "result.json", "figure_f1_by_k.svg", "figure_f1_by_k.png",
        "figure_plans.svg", "figure_confusion.png", "figure_reliability.svg",
    } <= written  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} >= written
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.cells) == pq.read_table(tmp_path / "out" / "results.parquet").num_rows
    assert sorted(float(row["macro_f1"]) for row in rows) == sorted(one.macro_f1 for one in result.cells)
    with (tmp_path / "out" / "confusion.csv").open() as file:
        assert sum(int(row["n"]) for row in csv.DictReader(file)) == sum(one.n for one in result.cells)
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["n_cells"] == len(rows)


@pytest.mark.slow
def test_fine_tuned_encoders_are_measured_without_frozen_ones_and_stay_beside(atlas: Path) -> None:
    tuned = grid(
        encoders=(EncoderEntry(name=TINY),), protocols=("protein-holdout",), objectives=("supervised",), ks=(1,),
        compare_k=1, seeds=(0,), settings={"hold_out": 0.3, "validation": 0.3}, finetune={"steps": 2, "batch_size": 6},
    )  # fmt: skip
    result = benchmark(atlas=atlas, grid=tuned, n_bootstrap=0)
    assert [one.cell.objective for one in result.cells] == ["supervised"]
    assert states(atlas) == ["beside", "beside", "current"]  # the one it began from, and what came of it


def test_a_name_that_a_training_does_not_know_is_one_line(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> str:
        raise UnknownNameError("column", "plat", ["plate"])

    monkeypatch.setattr(run_module, "ensure_finetuned", unknown)
    tuned = grid(protocols=("protein-holdout",), objectives=("supervised",), seeds=(0,))
    with pytest.raises(InputError, match=r"supervised fine-tuning at fraction 1, seed 0: unknown column 'plat'"):
        benchmark(atlas=atlas, grid=tuned, n_bootstrap=0)


def test_a_killed_run_leaves_nothing_that_reembed_would_make_current(atlas: Path) -> None:
    before = encoders.current(Store.open(atlas), "fov")

    def killed(what: str, done: int, _: int) -> None:
        if what == "embedding" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(atlas=atlas, grid=grid(), n_bootstrap=0, progress=killed)
    assert states(atlas) == ["beside", "current"]
    reembed(atlas=atlas)
    assert encoders.current(Store.open(atlas), "fov") == before


def test_an_encoder_that_others_made_current_meanwhile_stays_so(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = follow_module.drop_outdated

    def late(job: Any, encoder: Any, missing: Any) -> None:
        encoders.switch_to(job.store, encoder)  # what `locatlas embed` of the same encoder leaves
        drop(job, encoder, missing)

    monkeypatch.setattr(follow_module, "drop_outdated", late)
    one = grid(encoders=(EncoderEntry(name=TINY, passes=("separate",)),))
    result = benchmark(atlas=atlas, grid=one, n_bootstrap=0)
    now = encoders.current(Store.open(atlas), "fov")
    assert now is not None
    assert {one.fingerprint for one in result.cells} == {now.fingerprint}
    assert states(atlas) == ["current", "superseded"]


def test_a_grid_of_which_nothing_can_be_measured_is_one_line(atlas: Path) -> None:
    with pytest.raises(InputError, match=r"nothing could be measured: .*k = 1000: some query has only"):
        benchmark(atlas=atlas, grid=grid(ks=(1000,), compare_k=None), n_bootstrap=0)


def test_an_encoder_that_is_not_to_be_had_is_one_line_with_the_way_out(atlas: Path) -> None:
    missing = grid(encoders=(EncoderEntry(name="vit_base_patch16.hpa_fov_dino4cells"),))
    with pytest.raises(InputError, match=r"hpa_fov_dino4cells, natural, joint, level fov: .*--encoder NAME") as caught:
        benchmark(atlas=atlas, grid=missing)
    assert "\n" not in str(caught.value)


def test_results_carry_the_versions_of_what_made_them(atlas: Path) -> None:
    benchmark(atlas=atlas, grid=grid(), n_bootstrap=0)
    row = Store.open(atlas).read("benchmarks").to_pylist()[0]
    assert json.loads(row["versions"]) == versions()
    assert row["grid"] == "g"

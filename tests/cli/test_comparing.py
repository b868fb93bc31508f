"""`compare` and the options of `sweep` on held-out rows, as commands print them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from locatlas.cli import group, main
from locatlas.cli.documents import CompareDocument, SweepDocument
from tests.query.compare.test_run import train_new, two_encoders


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = two_encoders(tmp_path_factory.mktemp("two"))
    train_new(made, ("P0", "P1"))
    return str(made.store.folder.path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, [*arguments], catch_exceptions=False)


def test_compare_prints_a_document_that_fits_its_schema_and_scores_held_out_rows(atlas: str) -> None:
    done = run(
        "compare", "--atlas", atlas, "--encoder", "new", "--with", "made", "--level", "cell", "-k", "5", "--json"
    )
    document: dict[str, Any] = json.loads(done.stdout)
    checked = CompareDocument.model_validate(document)
    assert set(document) == set(CompareDocument.model_fields)
    assert checked.trained_on.new is not None
    assert checked.trained_on.new.n_seen_groups == 2
    assert (checked.n_rows, checked.n_queries) == (72, 48)
    assert {one.name for one in checked.moved} == {"P2", "P3", "P4", "P5"}


def test_compare_tells_overlap_chance_scores_and_training_in_words(atlas: str, tmp_path: Path) -> None:
    table = tmp_path / "moved.csv"
    done = run("compare", "--atlas", atlas, "--level", "cell", "-k", "5", "--csv", str(table))
    document = json.loads(run("compare", "--atlas", atlas, "--level", "cell", "-k", "5", "--json").stdout)
    near = document["neighbors"]
    assert done.stdout.startswith("new against made: 48 of 72 cells scored, 4 groups (protein)\n")
    assert f"{near['overlap']:.1%} of the 5 nearest neighbors are the same" in done.stdout
    assert "8.3% expected by chance" in done.stdout  # 5 of the 60 cells of other proteins
    assert f"{document['classification']['macro_f1']['difference']:.3f}" in done.stdout
    assert "trained on (new, supervised): 24 of 72 rows, 2 of 6 groups (protein); scores are of the other 48 rows" in (
        done.stdout
    )
    with table.open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == [one["name"] for one in document["moved"]]


def test_sweep_refuses_in_one_line_scores_held_out_rows_and_warns_of_others(
    atlas: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "--atlas", atlas, "--level", "cell", "--ks", "3"])
    assert caught.value.code == 1
    refused = capsys.readouterr().err
    assert "2 of 6 groups (protein)" in refused
    assert "--held-out (held_out=True) evaluates the other 48 rows, --allow-training-groups all" in refused
    assert refused.count("\n") == 1
    held = run("sweep", "--atlas", atlas, "--level", "cell", "--ks", "3", "--held-out")
    assert "scores are of the other 48 rows, 4 groups" in held.stdout
    allowed = run("sweep", "--atlas", atlas, "--level", "cell", "--ks", "3", "--allow-training-groups")
    assert "they are scored as if they were new: no measure" in allowed.stdout
    document = run("sweep", "--atlas", atlas, "--level", "cell", "--ks", "3", "--held-out", "--json").stdout
    checked = SweepDocument.model_validate(json.loads(document))
    assert checked.trained_on is not None
    assert (checked.n_queries, checked.n_rows, checked.trained_on.n_evaluated_rows) == (48, 72, 48)

"""`locatlas probe`: its document, its tables, one line for bad input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from locatlas.cli import group
from locatlas.cli.documents import DOCUMENTS
from locatlas.errors import InputError
from tests.query.made_atlas import make_atlas


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_atlas(tmp_path_factory.mktemp("made") / "atlas")


def run(atlas: Path, *arguments: object) -> Result:
    asked = ["probe", "--atlas", str(atlas), "--folds", "2", "--steps", "20", *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "200"}).invoke(group, asked)


def test_the_document_is_the_documented_one(atlas: Path) -> None:
    done = run(atlas, "--level", "cell", "--fractions", "0.5,1", "--seeds", 2, "--head", "mlp", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    DOCUMENTS["probe"].model_validate(found)
    assert [point["fraction"] for point in found["results"]] == [0.5, 1.0]
    assert (found["seeds"], found["head"]["head"]["hidden"]) == ([0, 1], [512, 256])
    assert {"macro_f1", "ci95", "fraction", "predicted"} <= found["definitions"].keys()


def test_the_tables_say_that_the_head_is_trained(atlas: Path, tmp_path: Path) -> None:
    done = run(atlas, "--level", "cell", "--seeds", 1, "--plot", tmp_path / "p.png", "--labels", "multi")
    assert done.exit_code == 0, (done.output, done.exception)
    first = done.stdout.splitlines()[0]
    assert first == "frozen backbone, trained head (what the paper calls zero-shot): linear head, loss bce"
    assert "72 cells of 6 groups (protein), 3 classes, 2 folds, 1 seed, multi-label, made" in done.stdout
    assert "F1 of each class at fraction 1" in done.stdout
    assert (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fractions", "0.2,2"], "numbers in (0, 1]"),
        (["--fractions", "most"], "numbers in (0, 1]"),
        (["--head", "deep"], "deep"),
        (["--seeds", "0"], "0"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], expected: str, atlas: Path) -> None:
    done = run(atlas, *arguments)
    assert done.exit_code != 0
    assert expected in done.output


def test_a_loss_that_does_not_fit_the_labels_is_refused(atlas: Path) -> None:
    done = run(atlas, "--labels", "multi", "--loss", "ce")
    assert "bce or focal needed" in str(done.exception)


def test_a_device_that_is_not_there_is_told(atlas: Path) -> None:
    done = run(atlas, "--seeds", 1, "--device", "banana")
    assert isinstance(done.exception, InputError)
    assert "device 'banana' cannot be used here" in str(done.exception)
    for command in (["sweep"], ["compare", "--with", "made"]):
        asked = [*command, "--atlas", str(atlas), "--level", "cell", "--device", "banana"]
        refused = CliRunner().invoke(group, asked)
        assert "device 'banana' cannot be used here" in str(refused.exception)

"""`finetune` and `pretrain` as a user calls them, alone and as several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from locatlas.cli import main
from locatlas.cli.documents import DOCUMENTS
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import image_schema
from locatlas.indexer.store.tables import Store
from locatlas.models import registry
from tests.forking import OF_EACH_RANK, Forks, torchrun
from tests.query.made_training import TINY, draw_nothing, make_atlas

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def atlas(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_nothing(monkeypatch)
    return make_atlas(tmp_path)


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


def document(text: str, command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert DOCUMENTS[command].model_validate(found)
    return found


def test_finetune_tells_what_was_trained_on_how_much_and_what_comes_next(
    atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("finetune", "--atlas", str(atlas), "--steps", "2", "--batch-size", "6", "--validation", "0.3")
    code, out, err = called(capsys, *command)
    assert code == 0, err
    name = f"{TINY}-supervised-1"
    told = " ".join(out.split())
    assert f"encoder: {name}" in told
    assert f"supervised, single-label, 2 classes, from {TINY}" in told
    assert "trained on 10 images, stopped by 4, of 7 groups (protein); 4 images of 2 groups held out" in told
    assert "frozen with the same head" in told
    assert f"Next: locatlas compare --atlas {atlas} --encoder {name} --with {TINY}" in told
    assert "training " + name + " on 10 images, 4 to stop by: 2 steps of 6, fp32 on" in " ".join(err.split())
    code, out, _ = called(capsys, *command, "--json")
    again = document(out, "finetune")
    assert (code, again["was_there"], again["encoder"]["name"], again["n_groups"]) == (0, True, name, 7)
    assert again["embedded"]["embedded"] == 0
    assert Path(again["log"]).is_file()


def test_the_same_training_under_another_name_is_told_by_the_name_that_the_atlas_knows(
    atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("finetune", "--atlas", str(atlas), "--encoder", TINY, "--steps", "1", "--batch-size", "6")
    assert called(capsys, *command, "--name", "first")[0] == 0
    code, out, err = called(capsys, *command, "--name", "second")
    assert code == 0, err
    assert "fov encoder of the atlas: first (current), 0 embedded" in out
    asked = out.split("Next: locatlas ")[1].split()
    assert asked[:2] == ["compare", "--atlas"]
    code, _, err = called(capsys, *asked, "--json")
    assert code == 0, err


def test_a_note_is_told_once_before_the_training_or_after_it(
    atlas: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        rows = store.read("fovs", image_schema("fov").names).to_pylist()
        changed = [r | {"localizations": ["Vesicles"]} for r in rows if r["protein"] in ("P1", "P3", "P5")]
        store.upsert("fovs", image_rows(changed, "fov"))
    said = "localizations of two vocabularies are mixed"
    command = ("finetune", "--atlas", str(atlas), "--steps", "1", "--batch-size", "6", "--no-reembed")
    code, _, err = called(capsys, *command)
    assert (code, err.count(said)) == (0, 1), err
    code, _, err = called(capsys, *command)  # it is trained, so that nothing is told before
    assert (code, err.count(said)) == (0, 1), err
    code, _, err = called(capsys, "classify", "--atlas", str(atlas), "--protein", "P1", "-k", "3")
    assert (code, err.count(said)) == (0, 1), err
    assert not [r for r in caplog.records if said in r.getMessage()]


def test_pretrain_and_no_reembed(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = called(
        capsys, "pretrain", "-a", str(atlas), "--steps", "2", "--batch-size", "4", "--prototypes", "16",
        "--local-crops", "0", "--no-reembed", "--name", "new", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = document(out, "pretrain")
    assert (found["parent"], found["embedded"], found["encoder"]["name"]) == (None, None, "new")
    assert registry.get("new").source == "trained on atlas"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--objective", "dino", "--labels", "multi"), "--labels: objective dino takes no labels"),
        (("--prototypes", "8"), "--prototypes: only with --objective dino"),
        (("--epochs", "1", "--steps", "1"), "both say how long"),
        (("--fraction", "0"), "fraction"),
        (("--hold-out", "1"), "hold-out"),
        (("--blocks", "0"), "blocks"),
    ],
)
def test_options_that_make_no_sense_together_are_wrong_usage(
    tmp_path: Path, options: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = called(capsys, "finetune", "-a", str(tmp_path), *options)
    assert code == 2
    assert reason in " ".join(err.replace("│", " ").split())


def test_what_cannot_be_done_is_one_line(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, reason in (
        (("--group", "nothing"), "unknown column 'nothing'"),
        (("--group", "plate"), "group 'plate' is unknown for all 20 images"),
        (("--encoder", "nothing"), "unknown encoder 'nothing'"),
        (("--where", "protein=P1"), "only one localization"),
        (("--name", TINY), "exists already"),
        (("--level", "cell"), "no vectors at level cell"),
    ):
        code, _, err = called(capsys, "finetune", "-a", str(atlas), "--hold-out", "0", "--validation", "0", *options)
        lines = [line for line in err.splitlines() if line.startswith("locatlas: ")]
        assert code == 1
        assert len(lines) == 1
        assert reason in lines[0]


MAIN = """
import locatlas.query.finetuning
from locatlas.cli import main as run
from locatlas.models.training import loop
loop.draw_curve = lambda *_: None
def main(*arguments):
    run(list(arguments))
"""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["forks", "torchrun"])
def test_two_processes_train_one_encoder_and_the_first_writes_it(by: str, atlas: Path, commands: Forks) -> None:
    command = [
        "finetune", "--atlas", str(atlas), "--steps", "2", "--batch-size", "6", "--device", "cpu", "--json",
    ]  # fmt: skip
    if by == "forks":
        done = commands.run(MAIN + OF_EACH_RANK, *command, environment=torchrun())
    else:
        started = [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
            "--rdzv-endpoint", "localhost:0", "-m", "locatlas",
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*started, *command], capture_output=True, text=True, env=environment, check=False, cwd=ROOT
        )
    assert done.returncode == 0, done.stderr
    found = document(done.stdout, "finetune")
    assert found["embedded"]["embedded"] == 20
    assert registry.training(found["encoder"]["name"]) is not None
    assert "on 2 x cpu" in done.stderr

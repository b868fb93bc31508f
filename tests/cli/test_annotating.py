"""annotate export, import and report as a user runs them: documents, tables, one clear line for what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from locatlas.cli import group, main
from locatlas.cli.documents import DOCUMENTS
from locatlas.indexer.store.tables import Store
from tests.indexer.made import versions
from tests.indexer.made_cells import write_cells


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_cells(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["annotate", *(str(a) for a in arguments)])


def document(command: str, *arguments: object) -> dict[str, Any]:
    done = run(command, *arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    DOCUMENTS[f"annotate-{command}"].model_validate(found)
    return found


def fill(sheet: Path, name: str, answers: list[str]) -> Path:
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    filled = sheet.with_name(f"{name}.csv")
    with filled.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        for row, answer in zip(rows, [*answers, *[""] * len(rows)], strict=False):
            table.writerow({**row, "localizations": answer})
    return filled


def test_a_sheet_goes_out_comes_back_and_is_reported(store: Store, tmp_path: Path) -> None:
    atlas = ("--atlas", store.folder.path)
    made = document("export", tmp_path / "out", *atlas, "-n", 6, "--crop", "30px", "--edge-px", 32)
    assert made["n"] == 6
    sheet = Path(made["sheet"])
    first = fill(sheet, "anna", ["er", "golgi", "er", "none"])
    done = document("import", first, *atlas, "--annotator", "anna", "--at", "2026-04-10")
    assert (done["new"], done["skipped"], done["cells_updated"]) == (4, 2, 4)
    again = document("import", first, *atlas, "--annotator", "anna")
    assert (again["new"], again["unchanged"], again["cells_updated"]) == (0, 4, 0)
    document("import", fill(sheet, "ben", ["er", "golgi", "golgi", "er"]), *atlas, "--annotator", "ben")
    report = document("report", *atlas, "--csv", tmp_path / "d.csv")
    assert [one["n"] for one in report["annotators"]] == [4, 4]
    # er er, golgi golgi, er golgi, none er: observed 1/2, chance (2 * 2 + 1 * 2) / 16
    assert report["pairs"][0]["single_label"]["kappa"] == pytest.approx((1 / 2 - 6 / 16) / (1 - 6 / 16))
    assert len(report["disputed"]) == 2
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 5
    shown = run("report", *atlas)
    assert shown.exit_code == 0
    assert "4 of 12 cells were looked at, 2 of them are disputed" in shown.stdout
    assert "anna / ben" in shown.stdout


def test_what_is_printed_without_json(store: Store, tmp_path: Path) -> None:
    atlas = ("--atlas", store.folder.path)
    out = run("export", tmp_path / "out", *atlas, "-n", 2, "-w", "protein=P1")
    assert "2 of 4 cells, random; fill in" in out.stdout
    assert "left out: 8 (not passing the filters)" in out.stderr
    sheet = tmp_path / "out" / "sheet.csv"
    run("import", fill(sheet, "anna", ["er"]), *atlas, "--annotator", "anna")
    back = run("import", fill(sheet, "ben", ["golgi"]), *atlas, "--annotator", "ben")
    assert "1 decision of ben: 1 new, 0 changed, 0 unchanged; 1 skipped; 1 cell updated" in back.stdout
    assert "annotators disagree on 1 of these" in back.stderr


def test_a_report_of_nothing_says_so(store: Store) -> None:
    assert "nobody has annotated anything" in document("report", "--atlas", store.folder.path)["notes"][0]
    shown = run("report", "--atlas", store.folder.path)
    assert (shown.exit_code, "0 of 12 cells were looked at" in shown.stdout) == (0, True)


def test_an_undefined_kappa_is_null_with_its_reason(store: Store, tmp_path: Path) -> None:
    atlas = ("--atlas", store.folder.path)
    sheet = Path(document("export", tmp_path / "out", *atlas, "-n", 3)["sheet"])
    for name in ("anna", "ben"):
        document("import", fill(sheet, name, ["er"] * 3), *atlas, "--annotator", name)
    (pair,) = document("report", *atlas)["pairs"]
    assert pair["single_label"] == {"kappa": None, "n": 3, "reason": "both always chose 'er'"}
    assert "no single-label kappa: both always chose 'er'" in run("report", *atlas).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "{out}/none.csv", "--annotator", "anna"], "none.csv: no such file"),
        (["import", "{out}/bad.csv", "--annotator", "anna"], "bad.csv line 2: label 'golgy' is not among the labels"),
        (["import", "{out}/sheet.csv", "--annotator", "a;b"], "annotator 'a;b': a name without"),
        (["import", "{out}/sheet.csv", "--annotator", "anna", "--at", "noon"], "time 'noon': ISO 8601 needed"),
        (["import", "{out}/sheet.csv", "--annotator", "anna", "--vocabulary", "x"], "unknown label vocabulary 'x'"),
        (["import", "{out}/index.html", "--annotator", "anna"], "index.html: missing column id"),
        (["export", "{out}"], "exists and is not an empty folder"),
        (["export", "{out}2", "--crop", "wide"], "unknown crop 'wide'"),
        (["export", "{out}2", "--choose", "uncertain"], "no vectors"),
        (["export", "{out}2", "-w", "colour=red"], "unknown column 'colour'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_clear_line_and_changes_nothing(
    store: Store, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    document("export", out, "--atlas", store.folder.path, "-n", 1)
    fill(out / "sheet.csv", "bad", ["golgy"])
    before = versions(store)
    with pytest.raises(SystemExit) as exit_:
        main(["annotate", *(a.format(out=out) for a in arguments), "--atlas", str(store.folder.path)])
    assert exit_.value.code == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert versions(store) == before
    assert not Path(f"{out}2").exists()

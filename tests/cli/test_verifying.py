"""verify: its exit codes, its document, and what it says."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from locatlas.cli import group
from locatlas.cli.documents import DOCUMENTS
from locatlas.indexer.index import index
from tests.indexer.made import PlainEncoder, write_collection
from tests.indexer.verify.whole import flip, newest


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    index(write_collection(tmp_path / "source"), atlas=tmp_path / "atlas", dataset="opencell")
    return tmp_path / "atlas"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["verify", *(str(a) for a in arguments)])


def test_an_atlas_without_damage_is_said_to_be_so(atlas: Path) -> None:
    done = run("--atlas", atlas, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    DOCUMENTS["verify"].model_validate(found)
    assert (found["ok"], found["findings"], found["tables"]["fovs"]) == (True, [], 6)
    shown = run("--atlas", atlas).output
    assert f"{atlas}: no damage; 4 tables, " in shown
    assert "every byte" in shown
    assert "digests since 20" in shown
    assert "sizes, versions and ids" in run("--atlas", atlas, "--quick").output


def test_damage_is_listed_with_what_to_do_and_ends_with_1_until_it_is_repaired(atlas: Path) -> None:
    table = next((atlas / "db").glob("emb_*")).stem
    path = newest(atlas, table, "data")
    flip(path, 5, 0)
    assert run("--atlas", atlas, "--quick").exit_code == 0
    done = run("--atlas", atlas)
    assert done.exit_code == 1
    assert f"damage: db/{table}.lance: file changed: the rows in it cannot be trusted" in done.output
    assert path.name in done.output
    assert "    what to do: --repair sets the file aside" in done.output
    done = run("--atlas", atlas, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    DOCUMENTS["verify"].model_validate(found)
    assert found["counts"] == {"damage": 1, "warning": 0, "note": 0}
    done = run("--atlas", atlas, "--repair")
    assert done.exit_code == 0
    assert f"repaired: {table}: 6 vectors made again" in done.output
    assert run("--atlas", atlas).exit_code == 0


def test_what_is_no_atlas_is_one_line(tmp_path: Path) -> None:
    done = run("--atlas", tmp_path / "nothing")
    assert done.exit_code == 1
    assert "not an atlas (no such folder)" in str(done.exception)

"""Commands that write an atlas in an object store: what they say, and that all of them take the address."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import locatlas
from locatlas.errors import InputError
from locatlas.indexer.published import clean as cleaning
from locatlas.indexer.store.tables import Store
from tests.cli.asking import document, run
from tests.indexer.conftest import plain, source
from tests.indexer.made import contents, id_of, write_field
from tests.indexer.published.conftest import client, server, uri
from tests.indexer.published.stores import machine

__all__ = ["client", "plain", "server", "source", "uri"]


def indexed(source: Path, uri: str) -> Any:
    return run("index", source, "--dataset", "opencell", "--atlas", uri)


def test_what_was_sent_is_said_and_a_second_run_says_that_there_is_nothing_new(
    plain: None, source: Path, uri: str, tmp_path: Path
) -> None:
    first, second = indexed(source, uri), indexed(source, uri)
    assert f"{uri}: 6 FOVs, 0 cells; 6 embedded" in first.stdout
    assert "published: " in first.stderr
    assert "new objects" in first.stderr
    assert "published: nothing new" in second.stderr
    state = document("status", "--atlas", uri)
    assert (state["path"], state["datasets"]["fov"]) == (uri, {"opencell": 6})
    assert document("verify", "--atlas", uri)["ok"]


@pytest.mark.slow
def test_every_command_that_writes_takes_the_address(
    plain: None, source: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    indexed(source, uri)
    run("embed", "--stains", "protein", "--atlas", uri)
    write_field(source, 11)
    indexed(source, uri)
    assert document("reembed", "--atlas", uri)["skipped"] == 7
    np.savez(tmp_path / "made.npz", ids=np.array([id_of(0), id_of(1)]), vectors=np.eye(2, 5, dtype="f4"))
    assert document("import-embeddings", tmp_path / "made.npz", "--name", "made", "--atlas", uri)["imported"] == 2
    assert document("map", "--atlas", uri)["action"] == "drawn"
    assert document("map", "--atlas", uri)["action"] == "unchanged"
    run("annotate", "export", tmp_path / "sheet", "--atlas", uri, "-n", "2")
    sheet = next((tmp_path / "sheet").glob("*.csv"))
    with sheet.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[0]["localizations"] = "vesicles"
    with sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    run("annotate", "import", sheet, "--annotator", "me", "--atlas", uri)
    assert document("pack", "--atlas", uri)["packed"] == 7
    state = document("maintain", "--drop-superseded", "--atlas", uri)
    assert [one["vectors"] for one in state["dropped"]] == [6]
    assert state["objects"]["removed"] == 0
    assert state["objects"]["unneeded"] > 0
    assert document("verify", "--repair", "--atlas", uri)["ok"]
    with machine(tmp_path / "other"):
        store = Store.open(Path(uri))
        assert store.count("fovs") == 7
        assert store.count("maps") == 1
        assert store.count("annotations") == 1
        assert run("neighbors", "--id", id_of(2), "--atlas", uri).exit_code == 0
    assert not (tmp_path / "s3:").exists()


def test_objects_that_no_state_needs_are_removed_and_told(
    plain: None, source: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(source, uri)
    write_field(source, 11)
    indexed(source, uri)
    before = contents(Store.open(Path(uri)))
    assert "by a later `maintain`" in run("maintain", "--atlas", uri).stdout
    monkeypatch.setattr(cleaning, "UNNEEDED_S", -1)
    said = run("maintain", "--atlas", uri).stdout
    assert "objects that no state needs were removed" in said
    assert "0 objects that" not in said
    assert contents(Store.open(Path(uri))) == before


def test_an_atlas_that_was_opened_to_be_read_is_not_written(plain: None, source: Path, uri: str) -> None:
    indexed(source, uri)
    with pytest.raises(InputError, match="only read"):
        locatlas.open(uri).map()


def test_a_folder_says_nothing_of_objects(plain: None, source: Path, tmp_path: Path) -> None:
    done = indexed(source, str(tmp_path / "atlas"))
    assert "published" not in done.stderr
    assert document("maintain", "--atlas", tmp_path / "atlas")["objects"] is None
    assert json.loads(run("maintain", "--atlas", tmp_path / "atlas", "--json").stdout)["objects"] is None

"""pack: what it says, before and after."""

from pathlib import Path

import pytest

from locatlas.indexer.index import index
from tests.cli.asking import document, run
from tests.indexer.made import PlainEncoder, name_of, pixels, write_collection, write_field


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    index(write_collection(tmp_path / "source"), atlas=tmp_path / "atlas", dataset="opencell")
    return tmp_path / "atlas"


def test_pack_says_what_it_takes_before_and_what_it_did(atlas: Path, tmp_path: Path) -> None:
    write_field(tmp_path / "source", 1, pixels(40))
    (tmp_path / "source" / name_of(2)).unlink()
    done = run("pack", "--atlas", atlas)
    assert done.exit_code == 0, done.output
    assert "6 images to decode, about 0.0 MB below" in done.stderr
    assert f"{atlas}: 4 images decoded, 4 held in 0.0 MB" in done.stdout
    assert "1 images are not what was indexed, and were left out: index them again" in done.stdout
    assert "left out: " in done.stdout
    assert "No such file" in done.stdout


def test_the_document_says_the_same(atlas: Path) -> None:
    found = document("pack", "--atlas", atlas)
    assert (found["packed"], found["images"], found["written_bytes"]) == (6, 6, 6 * 2 * 40 * 40 * 2)
    again = document("pack", "--atlas", atlas)
    assert (again["packed"], again["images"], again["bytes"]) == (0, 6, found["bytes"])
    dropped = document("pack", "--atlas", atlas, "--drop")
    assert (dropped["freed_bytes"], dropped["images"]) == (found["bytes"], 0)
    assert "0.0 MB freed" in run("pack", "--atlas", atlas, "--drop").stdout


def test_embed_and_status_say_that_the_pack_is_read(atlas: Path) -> None:
    assert "pack:" not in run("status", "--atlas", atlas).stdout
    run("pack", "--atlas", atlas)
    done = run("embed", "--atlas", atlas, "--channels", "random", "--plan-seed", "3")
    assert "pixels of 6 images came from the pack" in done.stdout
    told = run("status", "--atlas", atlas).stdout
    assert "pack: 6 images decoded, 0.0 MB; embed, reembed and training read them" in told
    assert "6 read from the pack" in " ".join(told.split())


def test_what_is_no_atlas_is_told_in_one_line(tmp_path: Path) -> None:
    done = run("pack", "--atlas", tmp_path / "none")
    assert done.exit_code == 1
    assert "not an atlas" in str(done.exception)

"""`export` as a user gives it: files, documents, what is said."""

import json
from pathlib import Path

import pytest

from locatlas.cli.documents import ExportDocument, ExportSiteDocument
from tests.cli.asking import run
from tests.query.made_atlas import make_atlas


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return make_atlas(tmp_path / "atlas", levels=("fov",))


@pytest.mark.parametrize(("kind", "name"), [("profiles", "out.parquet"), ("faiss", "index")])
def test_each_kind_prints_one_document_and_refuses_to_replace(
    kind: str, name: str, atlas: Path, tmp_path: Path
) -> None:
    command = ("export", kind, "--atlas", atlas, "--out", tmp_path / name, "--json")
    done = run(*command)
    document = ExportDocument.model_validate_json(done.stdout)
    assert (document.kind, document.rows, document.level, document.command) == (kind, 18, "fov", None)
    again = run(*command)
    assert again.exit_code == 1
    assert "exists; --overwrite replaces it" in str(again.exception)
    assert json.loads(run(*command, "--overwrite").stdout)["bytes"] == document.bytes


def test_parquet_prints_the_command_that_shows_it(atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    missing = run("export", "parquet", "--atlas", atlas, "--out", out)
    assert missing.exit_code == 1
    assert "locatlas map --atlas" in str(missing.exception)
    run("map", "--atlas", atlas)
    told = run("export", "parquet", "--atlas", atlas, "--out", out, "-k", 3).stdout
    assert f"to see it: uvx embedding-atlas {out} --x x --y y --neighbors neighbors --image thumbnail" in told


def test_wrong_usage_ends_with_2(atlas: Path, tmp_path: Path) -> None:
    assert run("export", "csv", "--atlas", atlas, "--out", tmp_path / "x").exit_code == 2
    assert run("export", "faiss", "--atlas", atlas).exit_code == 2


def test_a_site_prints_one_document_and_says_its_size_before(atlas: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    done = run("export", "site", "--atlas", atlas, tmp_path / "site", "--limit", 2, "--json")
    document = ExportSiteDocument.model_validate_json(done.stdout)
    assert (document.proteins, document.images, document.pictures) == (6, 12, 0)
    assert document.bytes == sum(p.stat().st_size for p in (tmp_path / "site").rglob("*") if p.is_file())
    assert "6 proteins and 12 images with a page each, about" in done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
    again = run("export", "site", "--atlas", atlas, tmp_path / "site")
    assert again.exit_code == 1
    assert "a site is there; --overwrite replaces it" in str(again.exception)


@pytest.mark.slow
def test_a_site_of_two_vocabularies_takes_the_map_it_asks_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    two = make_atlas(tmp_path / "two", levels=("fov",), two_vocabularies=True)
    export = ("export", "site", "--atlas", two, tmp_path / "site", "--limit", 1, "--overwrite")
    said = "localizations of two vocabularies are mixed and split the vote: map them (--map-labels hpa:opencell)"
    plain = run(*export)
    assert (plain.exit_code, plain.stderr.count(said), caplog.records) == (0, 1, [])
    mapped = run(*export, "--map-labels", "hpa:opencell")
    assert (mapped.exit_code, mapped.stderr.count(said), caplog.records) == (0, 0, [])
    refused = run(*export, "--map-labels", "a:b")
    assert (refused.exit_code, str(refused.exception)) == (1, "unknown label map 'a->b'; known: hpa->opencell")

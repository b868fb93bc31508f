"""What `index` and `encoders list` say, beside numbers, to who is new to them."""

from pathlib import Path

import pytest

from locatlas.models import registry
from tests.cli.asking import document, run
from tests.indexer.made import PlainEncoder, name_of, write_field


def test_where_labels_are_looked_for_is_said_if_nothing_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    write_field(tmp_path, 1)

    def noted(labels: str) -> bool:
        lines = [f"path,channels,localizations,group_plate\n{name_of(1)},nucleus;protein,{labels},P1\n"]
        (tmp_path / "images.csv").write_text("".join(lines))
        done = run("index", tmp_path / "images.csv", "--dataset", "manifest", "--atlas", tmp_path / "atlas")
        assert done.exit_code == 0, (done.output, done.exception)
        told = " ".join(done.stderr.split())
        return "is labelled" in told and "`locatlas datasets show manifest` tells where labels are looked for" in told

    assert noted("")
    assert noted("")  # a second run reads them, too
    assert not noted("cytosol")
    # as docs/manifest.md says: a group is a column without `group_`
    ask = ("neighbors", "--atlas", tmp_path / "atlas", "--id", f"manifest/{name_of(1).partition('.')[0]}")
    assert len(document(*ask, "--where", "plate=P1", "--exclude", "none")["hits"]) == 1
    refused = run(*ask, "--where", "group_plate=P1", "--exclude", "none")
    assert "unknown column 'group_plate'; did you mean 'plate'?" in str(refused.exception)


def test_unlabelled_images_in_an_atlas_that_has_labels_can_be_classified_which_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    write_field(tmp_path, 1)
    write_field(tmp_path, 2)

    def noted(number: int, label: str) -> str:
        lines = f"path,channels,localizations,protein\n{name_of(number)},nucleus;protein,{label},P{number}\n"
        (tmp_path / "images.csv").write_text(lines)
        done = run("index", tmp_path / "images.csv", "--dataset", "manifest", "--atlas", tmp_path / "atlas")
        assert done.exit_code == 0, (done.output, done.exception)
        return " ".join(done.stderr.split())

    assert "is labelled, so that nothing can be scored or classified" in noted(2, "")
    assert "labelled" not in noted(1, "cytosol")
    told = noted(2, "")
    assert "none of the images that were read is labelled: they can be classified, not scored" in told
    assert "`locatlas datasets show manifest` tells where labels are looked for" in told
    ask = ("classify", "--atlas", tmp_path / "atlas", "--id", f"manifest/{name_of(2).partition('.')[0]}", "-k", "1")
    assert [one["localization"] for one in document(*ask)["items"][0]["predicted"]] == ["cytosol"]


@pytest.mark.parametrize(
    ("pattern", "counted"), [("subcell*.rybg", "1 encoder known"), ("subcell*", "4 encoders known")]
)
def test_encoders_that_are_listed_are_counted(pattern: str, counted: str) -> None:
    names = [spec.name for spec in registry.list_encoders(pattern)]
    told = run("encoders", "list", pattern).output
    assert counted == f"{len(names)} encoder{'s' * (len(names) > 1)} known"
    assert f"{counted} by name; `locatlas encoders add`" in told

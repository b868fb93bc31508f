"""The report: its numbers are the atlas' own, its page loads nothing, its files are those it names."""

import csv
import datetime as dt
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.query import figures
from locatlas.query.answers.tables import neighbors_document, proteins_document
from locatlas.query.atlas import open_atlas
from locatlas.query.report.gather import gather
from locatlas.query.report.request import ReportRequest
from locatlas.query.report.run import report
from tests.query.report.made import HOSTILE, SCHEME, make_atlas

K = 3
DAY = dt.date(2026, 11, 29)
REQUEST = ReportRequest(ks=(1, K, 5), k=K)
ADDRESSES = ("src", "href", "srcset", "action", "data", "poster", "background", "xlink:href")


class Parsed(HTMLParser):
    """Tags, attributes that hold addresses, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[tuple[str, str]] = []
        self.handlers: list[str] = []
        self.policy = self.style = ""
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        found = dict(attrs)
        self.addresses += [(tag, str(found[name])) for name in ADDRESSES if name in found]
        self.handlers += [name for name in found if name.startswith("on")]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(found["content"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["style"] and "{" in data:
            self.style += data
        self.text.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("report")
    atlas, out = make_atlas(folder / "atlas"), folder / "out"
    return atlas, out, report(open_atlas(atlas), out, REQUEST, today=DAY)


def test_its_numbers_are_those_of_the_atlas(made: tuple[Path, Path, dict[str, Any]]) -> None:
    path, out, document = made
    atlas = open_atlas(path)
    assert document["sweep"] == json.loads(json.dumps(atlas.sweep(ks=[1, K, 5]).to_dict()))
    assert document["proteins"] == proteins_document(atlas.proteins())
    for one in document["neighbors"]:
        expected = neighbors_document(atlas.neighbors(protein=one["asked"], level="fov", k=8))
        assert {name: one[name] for name in expected} == expected
    assert document["tables"] == atlas.status()["tables"]
    kept = json.loads((out / "report.json").read_text())
    assert kept == document | {"folder": out.name, "page": f"{out.name}/index.html"}
    # what is attached to a paper says nothing of whose folders these were
    assert not any(str(out.parent) in path.read_text() for path in out.glob("*.*") if path.suffix in (".html", ".json"))


def test_classes_and_galleries_are_those_of_a_vote_by_hand(made: tuple[Path, Path, dict[str, Any]]) -> None:
    path, _, document = made
    view = open_atlas(path).view("fov")
    unit = view.vectors / np.linalg.norm(view.vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T).astype(np.float64)
    proteins = np.array(view.names("protein"))
    labels = np.array([next(iter(names)) for names in view.localizations])
    cosines[proteins[:, None] == proteins[None, :]] = -2
    place = {name: i for i, name in enumerate(view.ids)}
    nearest = np.argsort(-cosines, axis=1)[:, :K]

    def share(image: str, name: str) -> float:
        return float((labels[nearest[place[image]]] == name).mean())

    for gallery in document["galleries"]:
        for one in gallery["typical"]:
            assert one["annotated"] == [gallery["localization"]] == [one["predicted"]]
            assert one["confidence"] == share(one["id"], one["predicted"])
        for one in gallery["confused"]:
            assert one["annotated"] == [gallery["localization"]] != [one["predicted"]]
            assert one["confidence"] == share(one["id"], one["predicted"])
        for kind in ("typical", "confused"):
            shares = [one["confidence"] for one in gallery[kind]]
            assert shares == sorted(shares, reverse=True)
    at_k = next(one for one in document["sweep"]["results"] if one["k"] == K)
    for one in document["classes"]:
        gallery = next(g for g in document["galleries"] if g["localization"] == one["localization"])
        # six fields of each class, so that the galleries hold all of them
        assert (len(gallery["typical"]), len(gallery["confused"])) == (one["tp"], one["fn"])
        assert one["rows"] == one["tp"] + one["fn"] == 6
        assert one["groups"] == 2
        assert one["f1"] == at_k["per_class_f1"][one["localization"]]
        assert {name: one[name] for name in ("tp", "fp", "fn")} == at_k["counts"][one["localization"]]


def test_holdings_are_counted(made: tuple[Path, Path, dict[str, Any]]) -> None:
    document = made[2]
    assert [(one["dataset"], one["images"]) for one in document["data"]["datasets"]] == [("d", 15), (SCHEME, 3)]
    assert document["data"]["splits"] == [{"split": "test", "images": 6}, {"split": "train", "images": 12}]
    assert {(one["flag"], one["images"], one["of"]) for one in document["qc"]} == {("saturated:protein", 3, 15)}
    assert [(one["reason"], one["sources"]) for one in document["quarantine"]] == [
        ("/r/a/1.tif: truncated", 2),
        ("no <b>channel</b>", 1),
    ]


def test_the_page_loads_nothing_and_runs_nothing(made: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, document = made
    page = Parsed((out / "index.html").read_text())
    assert page.policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert page.handlers == []
    assert page.open == []
    assert page.style
    assert "url(" not in page.style
    assert "@import" not in page.style
    for tag, address in page.addresses:
        if tag == "img":
            assert address.startswith(("data:image/webp;base64,", "data:image/svg+xml;base64,"))
        else:
            assert tag == "a"
            assert address.startswith("#") or address in document["files"]


def test_what_comes_from_outside_is_text(made: tuple[Path, Path, dict[str, Any]]) -> None:
    page = (made[1] / "index.html").read_text()
    text = Parsed(page).text
    assert HOSTILE not in page
    assert HOSTILE in text
    assert "no <b>channel</b>" in text
    assert "<i>.tif" in text


def test_the_page_shows_the_numbers_and_says_how_they_were_made(made: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, document = made
    text = " ".join(" ".join(Parsed((out / "index.html").read_text()).text).split())
    for one in document["sweep"]["results"]:
        assert f"{one['macro_f1']:.3f}" in text
        low, high = one["macro_f1_ci95"]
        assert f"{low:.3f} – {high:.3f}" in text
    for one in document["classes"]:
        assert f"{one['f1']:.3f}" in text
    assert "Leave one protein out" in text
    assert "A query never meets itself, its fov or its protein." in text
    assert "95 % percentile bootstrap over groups (protein) as queries, 1,000 replicates, seed 0" in text
    assert "Made by locatlas 0.1.0 on 2026-11-29" in text
    assert document["encoder"]["fingerprint"] in text
    assert document["command"] in text
    assert "no picture" in text
    assert all(f"{name} {number}" in text for name, number in document["versions"].items())


def test_the_folder_holds_what_the_document_names(made: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, document = made
    assert sorted(path.name for path in out.iterdir()) == document["files"]
    for name in ("sweep", "confusion", "per_class", "reliability"):
        assert {f"figure_{name}{suffix}" for suffix in (".svg", ".png", ".csv")} <= set(document["files"])
    with (out / "figure_sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["macro_f1"]) for row in rows] == [one["macro_f1"] for one in document["sweep"]["results"]]
    with (out / "figure_confusion.csv").open(newline="") as stream:
        counted = {(row["annotated"], row["predicted"]): int(row["n"]) for row in csv.DictReader(stream)}
    at_k = next(one for one in document["sweep"]["results"] if one["k"] == K)
    classes = document["sweep"]["classes"]
    for i, annotated in enumerate(classes):
        for j, predicted in enumerate(classes):
            assert counted.get((annotated, predicted), 0) == at_k["confusion"][i][j]
    with (out / "table_galleries.csv").open(newline="") as stream:
        assert sum(row["kind"] == "typical" for row in csv.DictReader(stream)) == sum(
            len(one["typical"]) for one in document["galleries"]
        )


def test_the_same_atlas_on_the_same_day_gives_the_same_files(made: tuple[Path, Path, dict[str, Any]]) -> None:
    path, out, document = made
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(InputError, match="exists; name another folder, or --overwrite"):
        report(open_atlas(path), out, REQUEST, today=DAY)
    assert report(open_atlas(path), out, REQUEST, today=DAY, overwrite=True) == document
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_without_a_localization_nothing_is_scored_and_the_rest_is_told(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas", labelled=False))
    document = report(atlas, tmp_path / "out", ReportRequest(proteins=("P1",)))
    assert (document["sweep"], document["k"], document["ece"]) == (None, None, None)
    assert not [name for name in document["files"] if name.startswith("figure_")]
    assert [one["asked"] for one in document["neighbors"]] == ["P1"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "None of these fields of view has a localization: nothing can be scored." in page
    assert "Confusion" not in page


def test_images_of_several_localizations_have_no_matrix_but_classes_and_galleries(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas", several=True))
    request = ReportRequest(ks=(1, 3), labels="multi", protocol="kfold", folds=2, where=["dataset=d"])
    document = report(atlas, tmp_path / "out", request)
    expected = atlas.sweep(ks=[1, 3], labels="multi", protocol="kfold", folds=2, where=["dataset=d"]).to_dict()
    assert document["sweep"] == json.loads(json.dumps(expected))
    assert "figure_confusion.svg" not in document["files"]
    assert "figure_per_class.svg" in document["files"]
    assert any(one["typical"] for one in document["galleries"])
    text = " ".join((tmp_path / "out" / "index.html").read_text().split())
    assert "Multi-label predictions have none." in text
    assert "Grouped 2-fold (seed 0): no protein is in two folds" in text
    assert "and pass <code>dataset=d</code>" in text


def test_the_usual_sizes_stay_when_another_k_is_shown_and_few_references_show_a_smaller_one(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas"))
    usual = gather(atlas, ReportRequest()).document
    assert ([one["k"] for one in usual["sweep"]["results"]], usual["k"]) == ([1, 3, 5, 10], 10)
    other = gather(atlas, ReportRequest(k=4)).document
    assert ([one["k"] for one in other["sweep"]["results"]], other["k"]) == ([1, 3, 4, 5, 10], 4)
    few = gather(atlas, ReportRequest(where=["split=test"])).document  # six fields of six proteins: five may vote
    assert ([one["k"] for one in few["sweep"]["results"]], few["k"]) == ([1, 3, 5], 5)


def test_without_matplotlib_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas"))
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"a figure needs matplotlib: pip install 'locatlas\[plot\]'"):
        report(atlas, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_not_in_the_atlas_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas"))
    for request in (ReportRequest(proteins=("P9",), ks=(1,)), ReportRequest(encoder="other"), ReportRequest(group="x")):
        with pytest.raises(UnknownNameError):
            report(atlas, tmp_path / "out", request)
    with pytest.raises(InputError, match="k = 50 is too large"):
        report(atlas, tmp_path / "out", ReportRequest(k=50))
    assert [path.name for path in tmp_path.iterdir()] == ["atlas"]

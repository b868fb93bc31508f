"""A site without its browser: what it holds is what a server answers, and it is there whole or not at all."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from starlette.testclient import TestClient

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.atlas import open_atlas
from locatlas.query.export.site import folder
from locatlas.query.export.site.run import SiteExported, SiteRequest, export_site
from locatlas.query.serve.app import create_app
from tests.query.made_atlas import AS_HPA_SAYS, CELLS_EACH, FOVS_EACH, PROTEINS, make_atlas, protein_of


def said(site: Path, name: str) -> Any:
    """What a file of the site gives to the page."""
    text = (site / "data" / f"{name}.js").read_text()
    found = re.fullmatch(r"\(window\.locatlas\?\?=\{\}\)\[\"(\w+)\"\]=JSON\.parse\('(.*)'\);\n", text, re.DOTALL)
    assert found is not None
    assert found[1] == name
    return json.loads(re.sub(r"\\(.)", r"\1", found[2], flags=re.DOTALL))


def written(atlas: Path, out: Path, *, overwrite: bool = False, **asked: Any) -> SiteExported:
    return export_site(atlas, out, SiteRequest(**asked), overwrite=overwrite, tell=lambda _: None)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_atlas(tmp_path_factory.mktemp("made") / "atlas")
    for level in ("fov", "cell", "protein"):
        open_atlas(made).map(level=level)
    return made


@pytest.fixture(scope="module")
def site(atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "site"
    done = written(atlas, out, limit=50)
    assert (done.proteins, done.images) == (PROTEINS, PROTEINS * FOVS_EACH * (1 + CELLS_EACH))
    assert done.maps == ["cell", "fov", "protein"]
    return out


@pytest.fixture(scope="module")
def client(atlas: Path) -> Any:
    with TestClient(create_app(atlas), base_url="http://localhost") as asked:
        yield asked


def served(client: Any, path: str, **parameters: Any) -> Any:
    return client.get(f"/api/v1/{path}", params=parameters).json()


def test_every_answer_is_the_servers(site: Path, client: Any) -> None:
    names = said(site, "names")
    ids = names["ids"][: len(names["packs"])]
    assert ids == [s["text"] for s in served(client, "suggest", q="d/", limit=100)]
    for number, protein in enumerate(names["proteins"]):
        name = protein["protein"]
        pack = said(site, f"pack_{number}")
        assert pack["protein"] == [200, served(client, f"proteins/{name}")]
        assert protein["example"] == pack["protein"][1]["images"][0]
        for level, of in (("protein", None), ("fov", "fov"), ("cell", "cell")):
            vote = served(client, "classify", protein=name, level="protein", **({"of": of} if of else {}))
            assert pack["classify"][level] == [200, vote]
            assert pack["neighbors"][level] == [200, served(client, "neighbors", protein=name, level=level)]
        assert set(pack["images"]) == {one for one, at in zip(ids, names["packs"], strict=True) if at == number}
    for one in ids[:: len(ids) // 7]:
        answers = said(site, f"pack_{names['packs'][ids.index(one)]}")["images"][one]
        assert answers["image"] == [200, served(client, f"images/{one}")]
        level = answers["image"][1]["level"]
        for what in ("classify", "neighbors"):
            assert answers[what] == [200, served(client, what, id=one, level=level, exclude="protein")]
    assert said(site, "sweeps") == [200, served(client, "sweeps")]
    kept, asked = said(site, "site")["status"], served(client, "status")
    assert {k: v for k, v in kept.items() if k != "stored"} == {k: v for k, v in asked.items() if k != "stored"}


def test_maps_and_votes_are_the_servers(site: Path, client: Any) -> None:
    assert said(site, "site")["maps"] == {"fov": ["pca"], "cell": ["pca"], "protein": ["pca"]}
    for level in ("fov", "cell", "protein"):
        for name, path in ((f"points_{level}_pca", "points"), (f"votes_{level}", "points/confidence")):
            table = pa.ipc.open_stream(base64.b64decode(said(site, name))).read_all()
            answer = client.get(f"/api/v1/{path}", params={"level": level}).content
            assert table.equals(pa.ipc.open_stream(answer).read_all())


def test_no_folder_of_this_machine_is_in_it(site: Path, atlas: Path) -> None:
    for path in site.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(atlas.parent).encode() not in content
            assert str(Path.home()).encode() + b"/" not in content


def test_a_limit_leaves_pages_out_and_says_so(atlas: Path, tmp_path: Path) -> None:
    told: list[str] = []
    request = SiteRequest(level="cell", limit=2)
    done = export_site(atlas, tmp_path / "site", request, overwrite=False, tell=told.append)
    assert done.images == PROTEINS * 2
    assert f"{PROTEINS} proteins and {PROTEINS * 2} images with a page each" in told[0]
    assert any(f"{PROTEINS * (FOVS_EACH * CELLS_EACH - 2)} images have no page" in note for note in done.notes)
    pack = said(tmp_path / "site", "pack_0")
    assert [one["level"] for one in pack["protein"][1]["images"]] == ["cell", "cell"]
    # of cells, which are all that this site knows, though the atlas would take fields
    assert pack["classify"]["protein"][1]["level"] == "protein"
    assert pack["classify"]["protein"] == pack["classify"]["cell"]
    assert said(tmp_path / "site", "site")["maps"] == {"cell": ["pca"]}
    # neighbors beyond the pages are named, since they have pictures where there are any
    names = said(tmp_path / "site", "names")
    assert len(names["packs"]) == PROTEINS * 2
    near = {hit["id"] for hit in pack["neighbors"]["cell"][1]["hits"]}
    assert near <= set(names["ids"])


@pytest.mark.slow
def test_an_encoder_by_name_answers(atlas: Path, tmp_path: Path, client: Any) -> None:
    written(atlas, tmp_path / "site", encoder="made", level="fov", limit=1)
    pack = said(tmp_path / "site", "pack_0")
    assert pack["neighbors"]["fov"] == [200, served(client, "neighbors", protein=protein_of(0), level="fov")]
    with pytest.raises(UnknownNameError, match="known: made"):
        written(atlas, tmp_path / "other", encoder="none such")
    assert not (tmp_path / "other").exists()


def test_what_would_be_too_large_is_refused_before_it_is_written(atlas: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"about \S+ MB, more than 0: a smaller --limit"):
        written(atlas, tmp_path / "site", most_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_must_be_new_empty_or_a_site(atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    out.mkdir()
    written(atlas, out, limit=1, level="fov")
    with pytest.raises(InputError, match="a site is there; --overwrite replaces it"):
        written(atlas, out, limit=1, level="fov")
    before = json.loads((out / folder.MARK).read_text())
    assert before["files"] == sum(p.is_file() for p in out.rglob("*"))
    written(atlas, out, limit=2, level="fov", overwrite=True)
    assert json.loads((out / folder.MARK).read_text()) != before
    assert [p.name for p in tmp_path.iterdir()] == ["site"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    with pytest.raises(InputError, match="is no site that locatlas wrote"):
        written(atlas, other, overwrite=True)
    (out / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'thesis\.doc', which no export wrote"):
        written(atlas, out, overwrite=True)
    with pytest.raises(InputError, match="is no folder"):
        written(atlas, out / "thesis.doc")


def test_a_failure_leaves_the_site_of_before(atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "site"
    written(atlas, out, limit=1, level="fov")
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def full(self: folder.Folder, name: str, content: bytes) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(folder.Folder, "write", full)
    with pytest.raises(OSError, match="full"):
        written(atlas, out, limit=2, level="fov", overwrite=True)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_what_a_killed_export_left_is_removed_by_the_next(atlas: Path, tmp_path: Path) -> None:
    kill = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from locatlas.query.export.site.folder import whole_site\n"
        "with whole_site(Path(sys.argv[1]), most_bytes=10**6, overwrite=False, said={}) as folder:\n"
        "    folder.write('data/a.js', b'1')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", kill, str(tmp_path / "site")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".site.")
    assert not (left / "index.html").exists()
    written(atlas, tmp_path / "site", limit=1, level="fov")
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_commit_meanwhile_is_told(atlas: Path, tmp_path: Path) -> None:
    own = make_atlas(tmp_path / "atlas", levels=("fov",))
    with pytest.raises(InputError, match="atlas: was written to meanwhile; export it again"):
        export_site(
            own,
            tmp_path / "site",
            SiteRequest(limit=1),
            overwrite=False,
            tell=lambda _: open_atlas(own).map(level="fov"),
        )
    assert not (tmp_path / "site").exists()


def test_two_vocabularies_are_brought_into_one_if_asked_to(tmp_path: Path) -> None:
    atlas = make_atlas(tmp_path / "atlas", levels=("fov",), two_vocabularies=True)
    open_atlas(atlas).map(level="fov")
    written(atlas, tmp_path / "plain", limit=2)
    written(atlas, tmp_path / "mapped", limit=2, map_labels="hpa:opencell")
    with TestClient(create_app(atlas), base_url="http://localhost") as client:
        for name, asked in (("plain", {}), ("mapped", {"map_labels": "hpa->opencell"})):
            pack = said(tmp_path / name, "pack_0")
            vote = served(client, "classify", protein="P0", level="protein", **asked)
            near = served(client, "neighbors", protein="P0", level="protein", **asked)
            assert (pack["classify"]["protein"], pack["neighbors"]["protein"]) == ([200, vote], [200, near])
            one, answers = next(iter(pack["images"].items()))
            for what in ("classify", "neighbors"):
                assert answers[what] == [200, served(client, what, id=one, level="fov", exclude="protein", **asked)]
            # P3 is in the same class by another word: it splits the vote unless it is brought to the one
            words = {s["localization"] for s in vote["items"][0]["scores"]}
            assert words & {"Endoplasmic reticulum", "Golgi apparatus"} == (
                set() if asked else {"Endoplasmic reticulum", "Golgi apparatus"}
            )
            assert bool(vote["notes"]) == (not asked)
            shown = {n for hit in near["hits"] for n in hit["localizations"]}
            assert ("Nucleoplasm" in shown) == (not asked)
            assert said(tmp_path / name, "site")["map_labels"] == asked.get("map_labels")
            points = pa.ipc.open_stream(base64.b64decode(said(tmp_path / name, "points_fov_pca"))).read_all()
            places = set(points["localization"].to_pylist())
            assert places == ({"er", "golgi", "nucleoplasm"} | (set() if asked else set(AS_HPA_SAYS.values())))
            votes = pa.ipc.open_stream(base64.b64decode(said(tmp_path / name, "votes_fov"))).read_all()
            assert ("Nucleoplasm" in votes["predicted"].to_pylist()) == (not asked)


def test_an_unknown_map_of_labels_is_refused(atlas: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown label map 'a->b'; known: hpa->opencell"):
        written(atlas, tmp_path / "site", map_labels="a:b")
    assert not (tmp_path / "site").exists()

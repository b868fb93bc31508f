"""Answers in a notebook: pictures, every text escaped, and nothing but answers."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from locatlas.errors import InputError
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import Atlas, open_atlas
from locatlas.query.html_table import Picture, html_table
from tests.query.made_atlas import make_atlas

HOSTILE = '<script>alert("x")</script>&<img src=x onerror=alert(1)>'


class Read(HTMLParser):
    """Tags with attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def pictures(self) -> list[tuple[str | None, bytes]]:
        """Title and data of each picture."""
        images = [attributes for tag, attributes in self.tags if tag == "img"]
        return [(a["title"], base64.b64decode(str(a["src"]).partition("base64,")[2])) for a in images]


def webp(shade: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(out, "WEBP")
    return out.getvalue()


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    path = make_atlas(tmp_path / "atlas")
    store = Store.open(path)
    rows = store.read("fovs").to_pylist()
    changed = [r | {"thumbnail": webp(10 * i)} for i, r in enumerate(rows)]
    changed[4]["protein"] = HOSTILE
    changed[5]["localizations"] = [HOSTILE]
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows(changed, "fov"))
    return open_atlas(path)


def thumbnails(atlas: Atlas) -> dict[str, bytes]:
    rows = atlas.store.read("fovs", ["id", "thumbnail"]).to_pylist()
    return {row["id"]: row["thumbnail"] for row in rows}


def test_neighbors_are_shown_with_their_own_pictures(atlas: Atlas) -> None:
    table = atlas.neighbors(id="d/00", level="fov", k=5)
    read = Read(atlas.show(table)._repr_html_())
    held = thumbnails(atlas)
    assert read.pictures() == [(i, held[i]) for i in table["id"].to_pylist()]
    assert all(i in read.text for i in table["id"].to_pylist())
    assert "id d/00; level fov; made; excluded: protein" in read.text


def test_text_from_outside_is_text(atlas: Atlas) -> None:
    table = atlas.neighbors(id="d/00", level="fov", k=15)
    html = atlas.show(table).html
    read = Read(html)
    assert {tag for tag, _ in read.tags} <= {"div", "table", "thead", "tbody", "tr", "th", "td", "img"}
    assert HOSTILE in read.text
    assert "<script" not in html
    assert not any("onerror" in attributes for _, attributes in read.tags)


def test_only_the_first_rows_are_shown_and_that_is_said(atlas: Atlas) -> None:
    read = Read(atlas.show(atlas.neighbors(id="d/00", level="fov", k=8), limit=3).html)
    assert len(read.pictures()) == 3
    assert "first 3 of 8 rows" in read.text


def test_proteins_are_shown_by_one_of_their_images(atlas: Atlas) -> None:
    held = thumbnails(atlas)
    table = atlas.neighbors(protein="P0", level="protein", k=3)
    read = Read(atlas.show(table).html)
    first = {"P1": "d/10", "P2": "d/20", "P3": "d/30", "P4": "d/40", "P5": "d/50", HOSTILE: "d/11"}
    assert read.pictures() == [(p, held[first[p]]) for p in table["protein"].to_pylist()]
    assert "else by the first of its images" in read.text
    by_medoid = atlas.neighbors(protein="P0", level="protein", k=3, profile="medoid")
    shown = Read(atlas.show(by_medoid).html).pictures()
    assert shown == [(i, held[i]) for i in by_medoid["medoid"].to_pylist()]


def test_classified_images_are_shown_with_those_that_voted(atlas: Atlas) -> None:
    table = atlas.classify(id="d/00", level="fov", k=5)
    read = Read(atlas.show(table).html)
    held = thumbnails(atlas)
    assert read.pictures() == [(i, held[i]) for i in ["d/00", *table["neighbors"][0].as_py()]]
    assert "voted" in read.text
    units = atlas.classify(protein="P0", level="cell", by="protein", k=5)
    assert Read(atlas.show(units).html).pictures() == []


def test_what_is_no_answer_is_refused(atlas: Atlas) -> None:
    with pytest.raises(InputError, match="show takes what"):
        atlas.show(pa.table({"id": ["d/00"]}))
    with pytest.raises(InputError, match="limit = 0"):
        atlas.show(atlas.neighbors(id="d/00", level="fov", k=3), limit=0)


def test_an_atlas_and_a_sweep_show_themselves(atlas: Atlas) -> None:
    atlas.map("cell")
    read = Read(atlas._repr_html_())
    assert "18 FOVs, 72 cells" in read.text
    assert "map: pca at level cell by made" in read.text
    result = atlas.sweep(ks=[1, 3], level="cell")
    shown = Read(result._repr_html_())
    assert shown.text.count("uniform") == 2
    assert f"{result.results[1].macro_f1:.3f}" in shown.text


def test_bytes_that_are_no_picture_are_not_given_out() -> None:
    html = html_table("t", ["", "x"], [[Picture(b"<svg onload=alert(1)>", "a"), float("nan")]])
    assert "<img" not in html
    assert html.count("–") == 2

"""Figures of maps: who gets a colour, and files that are the same again."""

from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from locatlas.query.map.plot import COLOURED, STYLES, classes_shown
from tests.query.made_atlas import CLASSES, DIM, encoder, make_atlas, row

pytest.importorskip("matplotlib", reason="extra plot")


def test_the_most_frequent_classes_have_a_colour_and_sets_have_none() -> None:
    names = [f"class {chr(97 + n)}" for n in range(COLOURED + 2)]
    sets = [frozenset({name}) for name in names for _ in range(2)] + [frozenset({names[-1]})]
    sets += [frozenset(names[:2]), frozenset()]
    shown = classes_shown(sets)
    assert set(shown[:-2]) == {names[-1], *names[: COLOURED - 1], "other classes"}
    assert shown[-2:] == ["several", "not labelled"]


def test_colours_and_shapes_are_all_different() -> None:
    assert len({color for color, _ in STYLES}) == len({marker for _, marker in STYLES}) == len(STYLES)


def test_the_same_map_is_the_same_file_and_text_is_text(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas", levels=("fov",)))
    atlas.map(plot=tmp_path / "a.svg")
    atlas.map(plot=str(tmp_path / "b.svg"))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = (tmp_path / "a.svg").read_text()
    assert all(f"{name} (6)" in text for name in CLASSES)
    assert "% of the variance" in text


def test_an_unknown_format_is_told(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas", levels=("fov",)))
    with pytest.raises(InputError, match=r"map\.docx: format '\.docx' is not known"):
        atlas.map(plot=tmp_path / "map.docx")


def test_two_vocabularies_are_coloured_as_one(tmp_path: Path) -> None:
    path = make_atlas(tmp_path / "atlas", levels=("fov",))
    store = Store.open(path)
    hpa = [row("h/1", dataset="hpa", localizations=["Golgi apparatus"], protein="H")]
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows(hpa, "fov"))
        store.put_embeddings("fov", encoder().fingerprint, ["h/1"], ["x"], np.ones((1, DIM), np.float32))
    open_atlas(path).map(plot=tmp_path / "map.svg", map_labels="hpa->opencell")
    text = (tmp_path / "map.svg").read_text()
    assert "golgi (7)" in text
    assert "Golgi apparatus" not in text

"""Labels that questions name are made once, and again when the tables change."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.store.rows import image_rows
from locatlas.query.asking import labelled
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.view import View
from locatlas.query.asking.vocabulary import with_mapped_labels
from locatlas.query.atlas import Atlas, open_atlas
from locatlas.query.search.coding import Coding
from tests.query.made_atlas import CLASSES, made_rows, make_atlas

MAP = "hpa:opencell"


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return open_atlas(make_atlas(tmp_path / "atlas", two_vocabularies=True))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the maps by which views were mapped, as they were."""
    mapped: list[str] = []

    def counted(view: View, name: str) -> View:
        mapped.append(name)
        return with_mapped_labels(view, name)

    monkeypatch.setattr(labelled, "with_mapped_labels", counted)
    return mapped


def test_a_second_question_does_not_map_again_and_answers_the_same(atlas: Atlas, done: list[str]) -> None:
    asked = {"protein": "P1", "level": "fov", "k": 5}
    first = [atlas.classify(**asked, map_labels=name) for name in (MAP, "hpa->opencell", MAP)]
    assert done == ["hpa->opencell"]
    assert first[0].equals(first[1])
    assert first[0].equals(first[2])
    fresh = open_atlas(atlas.store.folder.path)
    assert first[0].equals(fresh.classify(**asked, map_labels=MAP))
    assert len(done) == 2
    plain = atlas.view("fov")
    assert {name for names in plain.localizations for name in names} > set(CLASSES)  # which stay as they are
    assert {name for names in atlas.view("fov", map_labels=MAP).localizations for name in names} == set(CLASSES)


def test_a_mapped_view_shares_what_is_known_of_its_rows(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = atlas.view("cell")
    coding, ids, prepared = plain.coded("protein"), plain.ids, plain.prepared
    monkeypatch.setattr(Coding, "of", None)
    for source in ("inherited", "annotated"):
        view = atlas.view("cell", map_labels=MAP, label_source=source)
        assert view is atlas.view("cell", map_labels=MAP, label_source=source)
        assert view.coded("protein") is coding
        assert (view.ids, view.prepared) == (ids, prepared)
        assert view.vectors is plain.vectors
        rows = np.array([3, 1])
        assert view.take(rows).ids == [ids[3], ids[1]]


def test_changed_tables_are_mapped_anew(atlas: Atlas, done: list[str]) -> None:
    before = atlas.view("fov", map_labels=MAP)
    changed = made_rows()[0][0] | {"localizations": ["Golgi apparatus"]}
    with atlas.store.folder.writer("a test"):
        atlas.store.upsert("fovs", image_rows([changed], "fov"))
    after = atlas.view("fov", map_labels=MAP)
    assert len(done) == 2
    assert (before.localizations[0], after.localizations[0]) == ({CLASSES[0]}, {"golgi"})
    assert before.localizations[1:] == after.localizations[1:]


def test_threads_that_ask_at_once_map_once(atlas: Atlas, done: list[str]) -> None:
    all_there = threading.Barrier(4)
    loaded = Shelf(atlas.store).load("fov", None)

    def ask(_: int) -> View:
        all_there.wait(10)
        return loaded.labelled.of("inherited", MAP)

    with ThreadPoolExecutor(4) as pool:
        views = list(pool.map(ask, range(4)))
    assert len(done) == 1
    assert all(view is views[0] for view in views)

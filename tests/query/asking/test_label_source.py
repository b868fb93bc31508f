"""Inherited and annotated localizations: one of the two answers, the answer names it, and they never mix."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.answers.tables import context
from locatlas.query.asking.label_source import label_notes, with_label_source
from locatlas.query.asking.view import View
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.made_atlas import CLASSES, made_rows, make_atlas


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return open_atlas(make_atlas(tmp_path_factory.mktemp("made") / "atlas"))


def own_labels() -> dict[str, list[str]]:
    return {r["id"]: r["annotated"] for r in made_rows()[1] if r["annotated"] is not None}


def test_annotated_labels_are_those_of_the_annotated_cells_alone(atlas: Atlas) -> None:
    view = with_label_source(atlas.view("cell"), "annotated")
    assert {i: sorted(s) for i, s in zip(view.ids, view.localizations, strict=True) if s} == {
        i: names for i, names in own_labels().items() if names
    }
    assert view.column("annotated_by").count("ada") == 12


def test_only_annotated_cells_vote_and_are_swept(atlas: Atlas) -> None:
    labels = own_labels()
    table = atlas.classify(level="cell", label_source="annotated", k=3)
    assert len(table) == 72
    for item in table.to_pylist():
        assert set(item["neighbors"]) <= {i for i, names in labels.items() if names}
        assert item["annotated"] == labels.get(item["id"], [])
    result = atlas.sweep(level="cell", label_source="annotated", ks=[1])
    assert set(result.ids) == {i for i, names in labels.items() if names}
    assert result.left_out == {"unlabelled": 72 - 11}
    assert atlas.sweep(level="cell", ks=[1]).n == 72


@pytest.mark.parametrize("source", ["inherited", "annotated"])
def test_an_answer_over_cells_names_the_source_and_counts_both(atlas: Atlas, source: str) -> None:
    asked = {"level": "cell", "label_source": source}
    said = [
        context(atlas.neighbors(id="d/00/0", k=1, **asked)),
        context(atlas.classify(id="d/00/0", k=1, **asked)),
        atlas.sweep(ks=[1], **asked).to_dict(),
        context(atlas.neighbors(protein="P0", k=1, level="protein", of="cell", label_source=source)),
    ]
    for one in said:
        assert one["label_source"] == source
        assert any("12 of 72" in note and "annotated" in note for note in one["notes"])


def test_neighbors_show_the_localizations_of_the_source(atlas: Atlas) -> None:
    labels = own_labels()
    for hit in atlas.neighbors(id="d/00/1", level="cell", k=60, label_source="annotated").to_pylist():
        assert hit["localizations"] == labels.get(hit["id"], [])


def test_without_a_level_annotations_are_asked_of_cells(atlas: Atlas) -> None:
    assert atlas.sweep(ks=[1]).to_dict()["level"] == "fov"
    assert atlas.sweep(ks=[1], label_source="annotated").to_dict()["level"] == "cell"


def test_proteins_made_of_cells_join_what_their_cells_were_annotated_with(atlas: Atlas) -> None:
    hits = atlas.neighbors(protein="P0", level="protein", of="cell", label_source="annotated", k=5).to_pylist()
    joined = {hit["id"]: hit["localizations"] for hit in hits}
    assert joined["P5"] == [CLASSES[2]]
    assert joined["P1"] == [CLASSES[1], CLASSES[2]]


def test_annotations_of_fields_are_refused(atlas: Atlas) -> None:
    for asked in ({"level": "fov"}, {"level": "protein", "of": "fov"}):
        with pytest.raises(InputError, match="only cells are annotated"):
            atlas.classify(label_source="annotated", **asked)
    with pytest.raises(UnknownNameError, match="unknown label source 'both'; known: annotated, inherited"):
        atlas.classify(label_source="both")  # type: ignore[arg-type]


def test_where_no_cell_is_annotated_the_error_says_how_to_annotate(tmp_path: Path) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas", annotated=False))
    for ask in (atlas.sweep, atlas.classify):
        with pytest.raises(InputError, match="none of the 72 cells is annotated: `locatlas annotate export`"):
            ask(level="cell", label_source="annotated")
    assert "0 of 72 cells are annotated" in atlas.sweep(level="cell", ks=[1]).to_dict()["notes"][0]


def test_maps_and_filters_see_the_labels_in_question(atlas: Atlas) -> None:
    found = atlas.classify(level="cell", label_source="annotated", where=["localizations=er"], k=1)
    assert set(found["id"].to_pylist()) == {i for i, names in own_labels().items() if "er" in names}
    with_own = atlas.classify(level="cell", where=["annotated=er"], k=1)
    assert set(with_own["id"].to_pylist()) == set(found["id"].to_pylist())
    mapped = atlas.sweep(level="cell", label_source="annotated", map_labels="hpa:opencell", ks=[1])
    assert mapped.classes == ("er", "golgi", "nucleoplasm")


def test_fields_have_no_note_about_cells() -> None:
    meta = pa.table({"id": ["a"], "localizations": pa.array([["er"]], pa.list_(pa.string()))})
    assert label_notes(View("fov", meta, np.ones((1, 2), np.float32)), "inherited") == []


def test_a_view_has_the_rows_and_labels_that_a_question_looks_at(atlas: Atlas) -> None:
    view = atlas.view("cell", label_source="annotated", where=["plate=plate0"])
    assert set(view.column("plate")) == {"plate0"}
    # of each protein its first field is on plate0, and one cell of that field is annotated
    assert sum(bool(names) for names in view.localizations) == 6
    assert len(view) == 48
    with pytest.raises(InputError, match="passes the filter plate=none"):
        atlas.view("cell", where=["plate=none"])

"""The table of proteins and the context of a protein's neighbors, on an atlas of made vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.answers.tables import context, neighbors_document, proteins_document
from locatlas.query.atlas import Atlas, open_atlas
from tests.query.made_atlas import make_atlas


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return open_atlas(make_atlas(tmp_path_factory.mktemp("made") / "atlas"))


def pairs(atlas: Atlas, level: Any, protein: str, rows: list[int] | None = None) -> tuple[list[float], list[float]]:
    view = atlas.view(level)
    unit = view.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    names, fovs = view.column("protein"), view.column("fov")
    rows = list(range(len(view))) if rows is None else rows
    mine = [i for i in rows if names[i] == protein]
    within = [float(unit[i] @ unit[j]) for i in mine for j in mine if i < j and fovs[i] != fovs[j]]
    between = [float(unit[i] @ unit[j]) for i in mine for j in rows if names[j] != protein]
    return within, between


@pytest.mark.parametrize(("of", "n_images", "n_within"), [("fov", 3, 3), ("cell", 12, 48)])
def test_the_table_holds_what_pairs_of_images_say(atlas: Atlas, of: Any, n_images: int, n_within: int) -> None:
    table = atlas.proteins(of=of)
    assert table["protein"].to_pylist() == [f"P{p}" for p in range(6)]
    for row in table.to_pylist():
        within, between = pairs(atlas, of, row["protein"])
        assert (row["n_fovs"], row["n_cells"], row["n_images"], row["n_within"]) == (3, 12, n_images, n_within)
        assert row["within"] == pytest.approx(np.mean(within))
        assert row["between"] == pytest.approx(np.mean(between))
        assert row["auc"] == pytest.approx(roc_auc_score([1] * len(within) + [0] * len(between), within + between))
        assert row["heterogeneity"] is None
    document = proteins_document(table)
    assert (document["of"], document["k"]) == (of, None)
    assert document["overall"]["n_within"] == 6 * n_within


def test_heterogeneity_is_that_of_the_cells_votes_whatever_is_compared(atlas: Atlas) -> None:
    units = {u["id"]: u for u in atlas.classify(by="protein", k=5).to_pylist()}
    for of in ("fov", "cell"):
        table = atlas.proteins(of=of, k=5)  # type: ignore[arg-type]
        for row in table.to_pylist():
            assert row["heterogeneity"] == units[row["protein"]]["heterogeneity"]
            assert row["entropy"] == units[row["protein"]]["entropy"]
        assert len(context(table)["notes"]) == 1


@pytest.mark.parametrize("sort", ["protein", "within", "auc", "heterogeneity"])
@pytest.mark.parametrize("worst_first", [False, True])
def test_the_best_or_the_worst_comes_first(atlas: Atlas, sort: Any, worst_first: bool) -> None:
    found = atlas.proteins(of="cell", sort=sort, worst_first=worst_first, k=5)[sort].to_pylist()
    assert found == sorted(found, reverse=worst_first is (sort in ("protein", "heterogeneity")))


def test_proteins_of_one_field_come_last_in_either_order(atlas: Atlas) -> None:
    lone = ["fov!=d/01", "fov!=d/02"]
    for worst_first in (False, True):
        table = atlas.proteins(sort="auc", worst_first=worst_first, where=lone)
        assert table["protein"].to_pylist()[-1] == "P0"
        assert table["auc"].to_pylist()[-1] is None


def test_neighbors_of_a_protein_say_whether_they_mean_anything(atlas: Atlas) -> None:
    for level, of in (("fov", "fov"), ("cell", "cell"), ("protein", "fov")):
        document = neighbors_document(atlas.neighbors(protein="P2", level=level, k=3))  # type: ignore[arg-type]
        found = document["similarity_context"]
        within, between = pairs(atlas, of, "P2")
        assert found["of"] == of
        assert found["within"] == pytest.approx(np.mean(within))
        assert found["between_sd"] == pytest.approx(np.std(between, ddof=1))
        assert found["auc"] == pytest.approx(roc_auc_score([1] * len(within) + [0] * len(between), within + between))
        assert "P2 resemble each other" in found["said"]
    assert context(atlas.neighbors(id="d/20", k=3))["similarity_context"] is None


def test_a_filter_leaves_the_proteins_own_images_in(atlas: Atlas) -> None:
    found = context(atlas.neighbors(protein="P2", where=["protein=P3"], k=3))["similarity_context"]
    names = atlas.view("fov").column("protein")
    within, between = pairs(atlas, "fov", "P2", [i for i in range(18) if names[i] in ("P2", "P3")])
    assert found["n_between"] == len(between) == 9
    assert found["within"] == pytest.approx(np.mean(within))


def test_what_cannot_be_told_gets_one_line(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="heterogeneity is that of the votes on cells: k"):
        atlas.proteins(sort="heterogeneity")
    with pytest.raises(UnknownNameError, match="unknown order 'name'; known: auc, heterogeneity, protein, within"):
        atlas.proteins(sort="name")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="only cells are annotated"):
        atlas.proteins(of="fov", label_source="annotated")
    fields = open_atlas(make_atlas(tmp_path / "atlas", levels=("fov",)))
    with pytest.raises(InputError, match="no vectors at level cell"):
        fields.proteins(k=3)
    assert [row["n_cells"] for row in fields.proteins().to_pylist()] == [0] * 6

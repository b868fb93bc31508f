"""What is told beside a vote."""

from pathlib import Path

import pytest

from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import image_schema, image_table
from locatlas.indexer.store.tables import Store
from locatlas.query.answers.notes import shares_above_one
from locatlas.query.answers.tables import classify_document as document_of
from locatlas.query.atlas import open_atlas
from tests.query.made_atlas import made_rows, make_atlas


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """An atlas in which the fields and cells of two proteins have two localizations."""
    atlas = make_atlas(tmp_path / "atlas")
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        for level, rows in zip(("fov", "cell"), made_rows(), strict=True):
            ids = [r["id"] for r in rows if r["protein"] in ("P0", "P3")]
            known = store.read_rows(image_table(level), ids, image_schema(level).names)
            changed = [row | {"localizations": ["er", "golgi"]} for row in known.to_pylist()]
            store.upsert(image_table(level), image_rows(changed, level))
    return atlas


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([], False),
        ([[]], False),
        ([[0.5, 0.5], [0.1] * 10], False),  # the tenths add up to a little less or more than one
        ([[1.0], [0.8, 0.3]], True),
        ([[1.0, 1.0]], True),
    ],
)
def test_shares_that_are_no_parts_of_a_whole_are_told(scores: list[list[float]], told: bool) -> None:
    assert bool(shares_above_one(scores)) == told


def test_votes_of_images_with_several_localizations_say_so_once(several: Path, tmp_path: Path) -> None:
    said = "a neighbor with several localizations votes for each of them: shares of a vote can add up to more than 1"
    atlas = open_atlas(several)
    for asked in ({"level": "fov"}, {"level": "protein", "protein": "P3"}, {"by": "protein"}):
        document = document_of(atlas.classify(k=5, **asked))  # type: ignore[arg-type]
        sums = [sum(s["score"] for s in one["scores"]) for one in [*document["items"], *document["units"]]]
        assert max(sums) > 1.01
        assert document["notes"].count(said) == 1
    # cells that are counted by their top class add up to all of them
    assert said not in document_of(atlas.classify(k=5, by="protein", how="majority"))["notes"]
    plain = open_atlas(make_atlas(tmp_path / "plain", levels=("fov",)))
    assert document_of(plain.classify(k=5))["notes"] == []

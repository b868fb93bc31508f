"""What `status` says of cells: what found them, which fields were searched, who looked, how they are cut."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from locatlas.cli import group
from locatlas.cli.documents import StatusDocument
from locatlas.indexer.cells.segmenters import get_segmenter
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import SEGMENTERS
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.models.spec import EncoderSpec
from locatlas.query.status import status
from tests.query.made_atlas import row

BUILTIN = get_segmenter("builtin", {"nucleus_diameter_px": "40"})
CROPPED = EncoderSpec(
    name="a.b",
    architecture="locatlas_pico",
    slots=("protein",),
    input_px=32,
    embedding_dim=4,
    weights_sha256="seed:0",
    crop=CropPlan(size_um=41.0, blank=True, border="drop"),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two fields searched by masks, one by the built-in segmenter (nothing found), two not searched; five cells."""
    store = Store.create(tmp_path / "atlas")
    found_by = {"d/0": "given", "d/1": "given", "d/2": BUILTIN.id, "d/3": None, "e/4": None}
    store.upsert("fovs", image_rows([row(i, segmenter=s) for i, s in found_by.items()], "fov"))
    cells = [
        row("d/0/1", segmenter="given", annotated=["er"], annotated_by="ada"),
        row("d/0/2", segmenter="given", annotated=[], annotated_by="ada"),  # somebody looked and saw none
        row("d/1/1", segmenter="given"),
        row("e/c1", dataset="e", annotated=["er"], annotated_by="bob"),
        row("e/c2", dataset="e"),
    ]
    store.upsert("cells", image_rows(cells, "cell"))
    specs = [get_segmenter("given", {}), BUILTIN]
    rows = [{"id": s.id, "name": s.name, "spec": s.to_json()} for s in specs]
    store.upsert("segmenters", pa.Table.from_pylist(rows, schema=SEGMENTERS))
    encoders.put(store, StoredEncoder("cell", CROPPED, "current"))
    encoders.put(store, StoredEncoder("fov", CROPPED.with_changes(crop=None), "current"))
    return store


def test_cells_are_counted_by_what_found_them_and_by_who_looked(store: Store) -> None:
    found = status(store)["cells"]
    by_id = {s["id"]: (s["name"], s["fields"], s["cells"]) for s in found["segmenters"]}
    assert by_id == {"given": ("given", 2, 3), BUILTIN.id: ("builtin", 1, 0)}
    assert [s["id"] for s in found["segmenters"]] == sorted(by_id)
    parameters = next(s["parameters"] for s in found["segmenters"] if s["name"] == "builtin")
    assert parameters["nucleus_diameter_px"] == 40
    assert (found["fields_not_searched"], found["images_of_their_own"]) == (2, 2)
    assert found["annotated"] == {"d": 2, "e": 1}


def test_a_cell_encoder_says_how_it_cuts(store: Store) -> None:
    crops = {e["level"]: e["crop"] for e in status(store)["encoders"]}
    assert crops["fov"] is None
    assert crops["cell"] == {
        "size_um": 41.0,
        "size_px": None,
        "centre": "cell",
        "blank": True,
        "border": "drop",
        "in_words": "41 um around the cell, drop at the border, neighbors blanked",
    }


def test_the_document_is_the_documented_one_and_an_empty_atlas_has_it_too(store: Store, tmp_path: Path) -> None:
    StatusDocument.model_validate(status(store))
    found = status(Store.create(tmp_path / "empty"))
    StatusDocument.model_validate(found)
    assert found["cells"] == {
        "segmenters": [],
        "fields_not_searched": 0,
        "images_of_their_own": 0,
        "annotated": {},
    }


def test_cells_of_a_segmenter_that_is_not_described_are_counted_all_the_same(store: Store) -> None:
    store.upsert("cells", image_rows([row("d/3/x", segmenter="other-00000000")], "cell"))
    found = {s["id"]: (s["fields"], s["cells"]) for s in status(store)["cells"]["segmenters"]}
    assert found["other-00000000"] == (0, 1)


def test_the_command_prints_them(store: Store, tmp_path: Path) -> None:
    done = CliRunner().invoke(group, ["status", "--atlas", str(store.folder.path)])
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    for line in (
        "cells found by fields cells",
        "given 2 3",
        f"{BUILTIN.id} 1 0",
        "images of their own 2",
        "not searched 2",
        "annotated cells: 2 of data set d",
        "annotated cells: 1 of data set e",
    ):
        assert line in lines
    said = f"cells for a.b ({CROPPED.fingerprint[:12]}): 41 um around the cell, drop at the border, neighbors blanked"
    assert said in lines
    Store.create(tmp_path / "empty")
    empty = CliRunner().invoke(group, ["status", "--atlas", str(tmp_path / "empty")])
    assert "cells" not in empty.output


def test_an_encoder_that_is_shown_says_how_cells_are_cut_for_it() -> None:
    name = "vit_base_patch16.hpa_cell_dino4cells"
    shown = CliRunner().invoke(group, ["encoders", "show", name])
    assert "41.005 um around the cell, pad at the border, neighbors blanked" in " ".join(shown.output.split())
    document = json.loads(CliRunner().invoke(group, ["encoders", "show", name, "--json"]).stdout)
    assert CropPlan(**document["default_crop"]) == CropPlan.parse("dino4cells")
    assert document["crop"] is None

"""Cells beside images of single cells, and vectors of cells that are not cut any more."""

from pathlib import Path
from typing import Any

import pytest
import tifffile

from locatlas.errors import InputError
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from tests.indexer.made import pixels, vectors, versions
from tests.indexer.masked import EDGE, MASKS, write_mask, write_masked

pytestmark = pytest.mark.usefixtures("plain")

REQUEST = EncoderRequest(crop=CropPlan(size_px=9))


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return write_masked(tmp_path / "fields")


def run(source: Path, tmp_path: Path, **options: Any) -> Any:
    options = {"level": "both", "request": REQUEST} | options
    return index(source, atlas=tmp_path / "atlas", dataset="manifest", **options)


def opened(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "atlas")


def cell_vectors(tmp_path: Path) -> dict[str, bytes]:
    encoder = current(opened(tmp_path), "cell")
    assert encoder is not None
    return vectors(opened(tmp_path), encoder.table)


def write_single(folder: Path, name: str) -> Path:
    """An image of one cell, called so by a manifest."""
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / "x.tif", pixels(9, edge_px=30), imagej=True, metadata={"axes": "CYX"})
    (folder / "single.csv").write_text(f"id,path,channels,level\n{name},x.tif,nucleus;protein,cell\n")
    return folder / "single.csv"


def test_a_cell_never_takes_the_place_of_an_image_of_a_single_cell(masked: Path, tmp_path: Path) -> None:
    single = write_single(masked, "a/3")
    run(single, tmp_path, level=None, request=None)
    embed(atlas=tmp_path / "atlas", request=REQUEST, levels=("cell",))
    before = cell_vectors(tmp_path)
    [rejected] = run(masked / "manifest.csv", tmp_path).quarantined
    assert rejected.source == "a.tif (cells)"
    assert "its cell manifest/a/3 has the id of another image" in rejected.reason
    assert cell_vectors(tmp_path) == {**before, "manifest/b/1": cell_vectors(tmp_path)["manifest/b/1"]}
    # the other way round: the cells were there first
    write_single(masked, "b/1").replace(masked / "manifest.csv")
    [rejected] = run(masked, tmp_path, level="cell", request=None).quarantined
    assert "id manifest/b/1 is that of a cell that is cut out of manifest/b" in rejected.reason


def test_an_atlas_of_images_of_single_cells_can_take_cells_of_fields(masked: Path, tmp_path: Path) -> None:
    run(write_single(tmp_path / "single", "x"), tmp_path, level=None, request=None)
    with pytest.raises(InputError, match="embed --level cell --crop"):
        run(masked, tmp_path, level="cell", request=None)
    assert embed(atlas=tmp_path / "atlas", request=REQUEST, levels=("cell",)).encoders["cell"].spec.crop == REQUEST.crop
    assert run(masked, tmp_path, level="cell", request=None).embedded == 4
    assert len(cell_vectors(tmp_path)) == 5


def test_a_cell_that_meets_the_border_now_has_no_vector_of_before(masked: Path, tmp_path: Path) -> None:
    request = EncoderRequest(crop=CropPlan(size_px=9, border="drop"))
    run(masked, tmp_path, request=request)
    assert "manifest/a/7" in cell_vectors(tmp_path)
    write_mask(masked / "a_mask.tif", {**MASKS["a"], 7: (10, 22, 20, 60)})
    assert run(masked, tmp_path, request=request).dropped == 2
    assert set(cell_vectors(tmp_path)) == {"manifest/a/3", "manifest/b/1"}
    before = versions(opened(tmp_path))
    run(masked, tmp_path, request=request)
    assert versions(opened(tmp_path)) == before


@pytest.mark.parametrize("options", [{"masks": "fields"}, {"segmenter": "builtin"}, {"resegment": True}])
def test_what_finds_cells_is_not_passed_over_without_a_level(
    masked: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="name --level cell or both"):
        run(masked, tmp_path, level=None, request=None, **options)
    assert not (tmp_path / "atlas").exists()


def test_masks_that_are_not_there_are_told_before_anything_is_embedded(masked: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of label images is needed"):
        run(masked, tmp_path, masks=tmp_path / "nowhere")
    assert not (tmp_path / "atlas").exists()


def test_a_cell_of_a_table_has_no_slash_in_its_name(masked: Path, tmp_path: Path) -> None:
    table = tmp_path / "cells.csv"
    table.write_text("fov,cell,top,left,bottom,right\nc,a/1,5,5,25,25\n")
    reasons = [r.reason for r in run(masked, tmp_path, cells=table).quarantined]
    assert any("cell 'a/1' has a '/'" in reason for reason in reasons)


def test_fields_that_were_only_searched_for_cells_hold_up_no_encoder_of_fields(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path, level="cell")
    other = write_masked(tmp_path / "other")
    assert run(other, tmp_path, name="other", level="both").encoders["fov"].state == "current"
    # another encoder that takes their place must have all that it has
    summary = embed(atlas=tmp_path / "atlas", request=EncoderRequest(passes="separate"), levels=("fov",))
    assert (summary.encoders["fov"].state, summary.embedded) == ("current", 6)


def test_a_cell_that_is_gone_leaves_quarantine(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    tifffile.imwrite(masked / "a.tif", pixels(77, edge_px=EDGE), imagej=True, metadata={"axes": "CYX"})
    request = EncoderRequest(crop=CropPlan(size_px=11))
    assert len(embed(atlas=tmp_path / "atlas", request=request, levels=("cell",)).quarantined) == 3
    write_mask(masked / "a_mask.tif", {3: MASKS["a"][3]})
    run(masked, tmp_path, level="cell", request=None)
    assert opened(tmp_path).count("quarantine") == 0

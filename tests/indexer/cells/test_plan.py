"""Which fields are searched for cells: what was said earlier counts, and nothing of another reading stays behind."""

from pathlib import Path
from typing import Any

import pytest

from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from tests.indexer.made import vectors, versions
from tests.indexer.masked import EDGE, MASKS, write_mask, write_masked
from tests.quick import some

pytestmark = pytest.mark.usefixtures("plain")

REQUEST = EncoderRequest(crop=CropPlan(size_px=21))


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return write_masked(tmp_path / "fields")


def run(masked: Path, tmp_path: Path, **options: Any) -> Any:
    options = {"dataset": "manifest", "level": "both", "request": REQUEST} | options
    return index(masked, atlas=tmp_path / "atlas", **options)


def opened(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "atlas")


def without_masks(masked: Path) -> None:
    table = masked / "manifest.csv"
    table.write_text("\n".join(line.rpartition(",")[0] for line in table.read_text().splitlines()) + "\n")


def test_swapped_channels_that_the_search_for_cells_met_first_cost_the_fields_their_vectors(
    masked: Path, tmp_path: Path
) -> None:
    def field_vectors() -> dict[str, bytes]:
        encoder = current(opened(tmp_path), "fov")
        assert encoder is not None
        return vectors(opened(tmp_path), encoder.table)

    run(masked, tmp_path)
    before = field_vectors()
    table = masked / "manifest.csv"
    table.write_text(table.read_text().replace("nucleus;protein", "protein;nucleus"))
    run(masked, tmp_path, level="cell")
    assert not field_vectors()
    run(masked, tmp_path, level="fov", request=None)
    after = field_vectors()
    assert set(after) == set(before)
    assert all(after[i] != before[i] for i in before)


def test_a_pixel_size_that_was_stated_once_holds_for_masks_that_change_later(masked: Path, tmp_path: Path) -> None:
    request = EncoderRequest(crop=CropPlan(size_um=5))
    run(masked, tmp_path, request=request, pixel_size_um=0.25)
    write_mask(masked / "a_mask.tif", {**MASKS["a"], 8: (30, 30, 35, 35)})
    summary = run(masked, tmp_path, request=request)
    # the others of the field are where they were
    assert (summary.quarantined, summary.embedded) == ([], 1)


@pytest.mark.parametrize("level", some(["cell", "both"], 0))
def test_a_mask_that_could_be_two_is_told_until_one_is_left(masked: Path, tmp_path: Path, level: str) -> None:
    without_masks(masked)
    masks = tmp_path / "masks"
    (masks / "more").mkdir(parents=True)
    for name, boxes in MASKS.items():
        write_mask(masks / f"{name}_mask.tif", boxes)
    run(masked, tmp_path, level=level, masks=masks)
    before = versions(opened(tmp_path))
    write_mask(masks / "more" / "a_mask.tif", MASKS["a"])
    [rejected] = run(masked, tmp_path, level=level, masks=masks).quarantined
    assert rejected.source == "a.tif (cells)"
    assert "a_mask.tif and more/a_mask.tif" in rejected.reason
    (masks / "more" / "a_mask.tif").unlink()
    assert not run(masked, tmp_path, level=level, masks=masks).quarantined
    assert opened(tmp_path).count("quarantine") == 0
    after = versions(opened(tmp_path))
    assert {table for table in before if before[table] != after[table]} <= {"quarantine", "runs"}


def test_a_mask_that_went_bad_is_tried_once(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    write_mask(masked / "a_mask.tif", {}, edge_px=EDGE + 4)
    assert len(run(masked, tmp_path).quarantined) == 1
    summary = run(masked, tmp_path)
    assert len(summary.quarantined) == 1
    assert "find cells" not in summary.timings_s


def test_each_data_set_keeps_its_own_segmenter(tmp_path: Path) -> None:
    for name, n_fields in (("one", 3), ("two", 2)):
        folder = write_masked(tmp_path / name, dict(list(MASKS.items())[:n_fields]))
        without_masks(folder)
        options = {"nucleus_diameter_px": "12"} if name == "two" else {}
        run(folder, tmp_path, name=name, level="cell", segmenter="builtin", segmenter_options=options)
    before = versions(opened(tmp_path))
    for name, n_fields in (("one", 3), ("two", 2)):
        assert run(tmp_path / name, tmp_path, name=name, level="cell").segmented.unchanged == n_fields
    assert versions(opened(tmp_path)) == before

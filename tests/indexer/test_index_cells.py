"""Cells that are cut out of fields: found, stored, embedded, kept up to date."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.measure import regionprops

from locatlas.errors import InputError
from locatlas.indexer.cells.regions import unpack
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.pixel_cache import reading
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from locatlas.query.atlas import open_atlas
from locatlas.types import ChannelImage
from tests.indexer.made import PlainEncoder, contents, pixels, vectors, versions
from tests.indexer.masked import EDGE, MASKS, write_mask, write_masked
from tests.quick import some

pytestmark = pytest.mark.usefixtures("plain")


CROP = CropPlan(size_px=21)
REQUEST = EncoderRequest(crop=CROP)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return write_masked(tmp_path / "fields")


def run(masked: Path, tmp_path: Path, **options: Any) -> Any:
    options = {"level": "both", "request": REQUEST, "commit_rows": 4} | options
    return index(masked, atlas=tmp_path / "cells", dataset="manifest", **options)


def opened(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cells")


def cells_of(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in opened(tmp_path).read("cells").to_pylist()}


def cell_vectors(tmp_path: Path) -> dict[str, bytes]:
    encoder = current(opened(tmp_path), "cell")
    assert encoder is not None
    return vectors(opened(tmp_path), encoder.table)


def test_cells_of_given_masks_are_linked_to_their_fields_both_ways(masked: Path, tmp_path: Path) -> None:
    summary = run(masked, tmp_path)
    assert (summary.fovs, summary.cells) == (3, 4)
    assert (summary.segmented.fields, summary.segmented.cells, summary.segmented.empty) == (3, 4, 1)
    assert summary.segmented.segmenters == {"given": 3}
    cells = cells_of(tmp_path)
    assert list(cells) == ["manifest/a/250", "manifest/a/3", "manifest/a/7", "manifest/b/1"]
    for name, boxes in MASKS.items():
        mask = tifffile.imread(masked / f"{name}_mask.tif")
        for found in regionprops(mask.astype(int)):
            row = cells[f"manifest/{name}/{found.label}"]
            assert tuple(row["box"]) == found.bbox == boxes[found.label]
            assert np.allclose(row["centroid"], found.centroid)
            assert row["area_px"] == found.area
            assert np.array_equal(unpack(row["region"], row["box"]), found.image)
            assert row["touches_border"] == (found.label == 250)
            assert row["fov_id"] == f"manifest/{name}"
            assert row["cell"] == str(found.label)
    fovs = {row["id"]: row for row in opened(tmp_path).read("fovs").to_pylist()}
    of_field = Counter(row["fov_id"] for row in cells.values())
    assert {i: row["n_cells"] for i, row in fovs.items()} == {i: of_field[i] for i in fovs}
    assert cells["manifest/a/3"]["protein"] == "P0"
    assert cells["manifest/a/3"]["localizations"] == ["nucleoplasm"]
    assert cells["manifest/a/3"]["annotated"] is None


def test_a_cells_vector_is_that_of_its_square_cut_by_hand(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    store = opened(tmp_path)
    encoder = current(store, "cell")
    assert encoder is not None
    assert encoder.spec.crop == CROP
    field = tifffile.imread(masked / "b.tif")
    # rows 5 to 24, so the middle is 14.5, and 21 pixels around it begin at 4.5, rounded up
    square = field[:, 5:26, 5:26]
    network = PlainEncoder(encoder.spec)
    expected = network.prepare(ChannelImage(np.ascontiguousarray(square), ("nucleus", "protein")))
    assert cell_vectors(tmp_path)["manifest/b/1"] == expected.tobytes()


def test_a_second_run_does_nothing(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    before = versions(opened(tmp_path))
    summary = run(masked, tmp_path)
    assert versions(opened(tmp_path)) == before
    assert (summary.segmented.fields, summary.segmented.unchanged, summary.embedded) == (0, 3, 0)
    # and without saying so again: the atlas knows that it has cells
    summary = run(masked, tmp_path, level=None, request=None)
    assert versions(opened(tmp_path)) == before
    assert summary.segmented.unchanged == 3


def test_a_field_is_read_once_however_many_cells_it_has(
    masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(masked, tmp_path)
    read: Counter[str] = Counter()
    real = reading.read_image

    def counted(record: Any) -> Any:
        read[record.sources[0].path.name] += 1
        return real(record)

    monkeypatch.setattr(reading, "read_image", counted)
    embed(atlas=tmp_path / "cells", request=EncoderRequest(crop=CropPlan(size_px=15)), levels=("cell",))
    assert read == {"a.tif": 1, "b.tif": 1}


def test_only_cells_whose_mask_changed_are_embedded_again(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    before = cell_vectors(tmp_path)
    write_mask(masked / "a_mask.tif", {**MASKS["a"], 7: (10, 22, 20, 34), 8: (30, 30, 35, 35)})
    summary = run(masked, tmp_path)
    assert (summary.segmented.fields, summary.segmented.unchanged, summary.embedded) == (1, 2, 2)
    after = cell_vectors(tmp_path)
    assert {i for i in after if after[i] != before.get(i)} == {"manifest/a/7", "manifest/a/8"}


def test_a_cell_that_left_the_mask_leaves_the_atlas_with_its_vector(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    write_mask(masked / "a_mask.tif", {3: MASKS["a"][3]})
    summary = run(masked, tmp_path)
    assert summary.segmented.replaced == 2
    assert set(cells_of(tmp_path)) == set(cell_vectors(tmp_path)) == {"manifest/a/3", "manifest/b/1"}


def test_changed_labels_reach_the_cells_and_nothing_is_embedded(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    table = (masked / "manifest.csv").read_text().replace("P0,nucleoplasm", "P9,vesicles")
    (masked / "manifest.csv").write_text(table)
    summary = run(masked, tmp_path)
    assert (summary.embedded, summary.segmented.fields) == (0, 0)
    row = cells_of(tmp_path)["manifest/a/3"]
    assert (row["protein"], row["localizations"]) == ("P9", ["vesicles"])
    assert row["thumbnail"] is not None
    assert row["region"] is not None


def test_a_reading_without_any_label_does_not_take_those_of_the_cells(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path, level="cell")
    (masked / "manifest.csv").write_text((masked / "manifest.csv").read_text().replace("nucleoplasm", ""))
    with pytest.raises(InputError, match="would take away the localizations of 3 images"):
        run(masked, tmp_path, level="cell")
    assert cells_of(tmp_path)["manifest/a/3"]["localizations"] == ["nucleoplasm"]


def test_cells_alone_need_no_vectors_of_fields(masked: Path, tmp_path: Path) -> None:
    summary = run(masked, tmp_path, level="cell")
    assert (summary.fovs, summary.cells, summary.embedded) == (3, 4, 4)
    assert set(summary.encoders) == {"cell"}
    summary = run(masked, tmp_path, level="fov", request=None)
    assert summary.embedded == 3
    assert {row["n_cells"] for row in opened(tmp_path).read("fovs").to_pylist()} == {3, 1, 0}


def test_a_mask_of_another_size_is_told_and_its_field_stays(masked: Path, tmp_path: Path) -> None:
    write_mask(masked / "b_mask.tif", {1: (0, 0, 5, 5)}, edge_px=EDGE + 4)
    summary = run(masked, tmp_path)
    [rejected] = summary.quarantined
    assert rejected.source == "b.tif (cells)"
    assert "b_mask.tif" in rejected.reason
    assert "64" in rejected.reason
    assert "60" in rejected.reason
    assert summary.fovs == 3
    write_mask(masked / "b_mask.tif", MASKS["b"])
    assert not run(masked, tmp_path).quarantined
    assert "manifest/b/1" in cells_of(tmp_path)


def test_cells_at_the_border_can_be_dropped_and_stay_in_the_atlas(masked: Path, tmp_path: Path) -> None:
    summary = run(masked, tmp_path, request=EncoderRequest(crop=CropPlan(size_px=11, border="drop")))
    assert summary.dropped == 1
    assert "manifest/a/250" in cells_of(tmp_path)
    assert set(cell_vectors(tmp_path)) == {"manifest/a/3", "manifest/a/7", "manifest/b/1"}
    assert summary.encoders["cell"].state == "current"


def test_cells_that_a_plan_drops_hold_no_switch_to_it_back(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    request = EncoderRequest(crop=CropPlan(size_px=11, border="drop"))
    assert embed(atlas=tmp_path / "cells", request=request, levels=("cell",)).dropped == 1
    encoder = current(opened(tmp_path), "cell")
    assert encoder is not None
    assert encoder.spec.crop == request.crop


def test_a_crop_in_micrometres_of_an_unknown_scale_is_refused_at_once(masked: Path, tmp_path: Path) -> None:
    request = EncoderRequest(crop=CropPlan(size_um=5))
    with pytest.raises(InputError, match=r"manifest/a: a crop of 5 um needs the pixel size.*3 images.*--pixel-size"):
        run(masked, tmp_path, request=request)
    assert not (tmp_path / "cells").exists()
    run(masked, tmp_path, request=None, level="fov")
    with pytest.raises(InputError, match="needs the pixel size"):
        run(masked, tmp_path, request=request)
    assert opened(tmp_path).count("cells") == 0
    summary = run(masked, tmp_path, request=request, pixel_size_um=0.25)
    assert summary.embedded == 4
    # what was stated once holds
    assert run(masked, tmp_path, request=None, level=None).embedded == 0
    assert {row["pixel_size_um"] for row in cells_of(tmp_path).values()} == {0.25}


def test_another_pixel_size_makes_other_crops(masked: Path, tmp_path: Path) -> None:
    request = EncoderRequest(crop=CropPlan(size_um=5))
    run(masked, tmp_path, request=request, pixel_size_um=0.25)
    before = cell_vectors(tmp_path)
    run(masked, tmp_path, request=request, pixel_size_um=0.5)
    after = cell_vectors(tmp_path)
    assert all(after[i] != before[i] for i in before)


def test_a_field_that_changed_since_is_not_cut(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    tifffile.imwrite(masked / "b.tif", pixels(77, edge_px=EDGE), imagej=True, metadata={"axes": "CYX"})
    summary = embed(atlas=tmp_path / "cells", request=EncoderRequest(crop=CropPlan(size_px=9)), levels=("cell",))
    [rejected] = summary.quarantined
    assert "changed since its cells were found" in rejected.reason
    assert "index it again" in rejected.reason
    run(masked, tmp_path, request=None, level=None)
    embed(atlas=tmp_path / "cells", request=EncoderRequest(crop=CropPlan(size_px=9)), levels=("cell",))
    assert "manifest/b/1" in cell_vectors(tmp_path)


def test_cells_of_a_field_that_is_another_now_do_not_answer_until_it_is_searched_again(
    masked: Path, tmp_path: Path
) -> None:
    run(masked, tmp_path)
    asked = {"level": "cell", "exclude": "none", "k": 1}
    assert open_atlas(tmp_path / "cells").neighbors(id="manifest/b/1", **asked)["id"].to_pylist()
    tifffile.imwrite(masked / "b.tif", pixels(77, edge_px=EDGE), imagej=True, metadata={"axes": "CYX"})
    run(masked, tmp_path, level="fov", request=None)
    atlas = open_atlas(tmp_path / "cells")
    assert "manifest/b/1" not in atlas.embeddings(level="cell")[0]
    assert [e["stale"] for e in atlas.status()["encoders"] if e["level"] == "cell"] == [1]
    found = atlas.neighbors(id="manifest/a/3", **asked)
    assert "1 images changed since" in str(found.schema.metadata)
    run(masked, tmp_path, level=None, request=None)
    assert "manifest/b/1" in atlas.embeddings(level="cell")[0]  # the very atlas that was open
    assert [e["stale"] for e in atlas.status()["encoders"] if e["level"] == "cell"] == [0]


def test_another_segmenter_replaces_cells_only_when_asked_to(masked: Path, tmp_path: Path) -> None:
    run(masked, tmp_path)
    with pytest.raises(InputError, match=r"cells of 3 fields were found by given, not by builtin-.*--resegment"):
        run(masked, tmp_path, segmenter="builtin")
    held = contents(opened(tmp_path))
    assert set(cells_of(tmp_path)) == {row["id"] for row in held["cells"]}
    summary = run(masked, tmp_path, segmenter="builtin", resegment=True)
    assert summary.segmented.replaced == 4
    ids = set(cells_of(tmp_path))
    assert all("/builtin-" in i for i in ids)
    assert set(cell_vectors(tmp_path)) == ids


@pytest.mark.parametrize("level", some([None, "fov", "cell"], 0))
def test_cells_of_a_field_that_is_gone_go_with_it_when_pruned(masked: Path, tmp_path: Path, level: str | None) -> None:
    run(masked, tmp_path)
    (masked / "a.tif").unlink()
    summary = run(masked, tmp_path, request=None, level=level)
    assert summary.gone == ["manifest/a"]
    assert len(cells_of(tmp_path)) == 4
    summary = run(masked, tmp_path, request=None, level=level, prune=True)
    assert set(cells_of(tmp_path)) == set(cell_vectors(tmp_path)) == {"manifest/b/1"}
    assert opened(tmp_path).read("fovs", ["id"])["id"].to_pylist() == ["manifest/b", "manifest/c"]


@pytest.mark.parametrize(
    "fails_at", some([((1,),), ((2,),), ((3,),), ((4,),), ((2, 1),), ((2, 2),), ((3, 1),), ((3, 2),)], 1, 3, 6)
)
def test_a_prune_that_failed_half_way_leaves_nothing_in_quarantine_once_it_is_done(
    masked: Path, tmp_path: Path, fails_at: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(masked, tmp_path)
    lines = (masked / "manifest.csv").read_text().splitlines()
    (masked / "manifest.csv").write_text("\n".join(line for line in lines if not line.startswith("a,")) + "\n")
    (masked / "a.tif").unlink()
    delete, calls = Store.delete, []

    for nth in fails_at:  # of the deletions of a run, one run after the other

        def failing(self: Store, table: str, ids: Any, nth: int = nth) -> Any:
            calls.append(table)
            if len(calls) == nth:
                raise OSError(5, "Input/output error")
            return delete(self, table, ids)

        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Store, "delete", failing)
            with pytest.raises(OSError, match="Input/output"):
                run(masked, tmp_path, request=None, prune=True)
    summary = run(masked, tmp_path, request=None, prune=True)
    assert summary.quarantined == [] == opened(tmp_path).read("quarantine").to_pylist()
    assert set(cells_of(tmp_path)) == set(cell_vectors(tmp_path)) == {"manifest/b/1"}

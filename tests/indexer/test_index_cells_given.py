"""Cells that are given: masks that do not cover all, tables, sheets and manifests that say what cells are."""

from pathlib import Path

import pytest
import tifffile

from locatlas.errors import InputError
from locatlas.indexer.annotation.bring_in import import_annotations
from locatlas.indexer.index import index
from tests.indexer.made import pixels, versions
from tests.indexer.masked import EDGE
from tests.indexer.test_index_cells import REQUEST, cells_of, masked, opened, run

__all__ = ["masked"]

pytestmark = pytest.mark.usefixtures("plain")


def test_a_crop_needs_cells_to_cut(tmp_path: Path, source: Path) -> None:
    with pytest.raises(InputError, match="--level cell"):
        index(source, atlas=tmp_path / "atlas", dataset="opencell", request=REQUEST)


def test_fields_that_the_masks_do_not_cover_have_no_cells_unless_a_segmenter_is_named(
    masked: Path, tmp_path: Path
) -> None:
    manifest = (masked / "manifest.csv").read_text().splitlines()
    (masked / "manifest.csv").write_text("\n".join(line.rpartition(",")[0] for line in manifest) + "\n")
    (masked / "b_mask.tif").unlink()
    summary = run(masked, tmp_path, masks=masked)
    assert (summary.segmented.fields, summary.segmented.uncovered) == (2, ["manifest/b"])
    # another reading that does not name the masks leaves the cells as they are
    before = set(cells_of(tmp_path))
    with_labels = (masked / "manifest.csv").read_text().replace("P0,nucleoplasm", "P0,er")
    (masked / "manifest.csv").write_text(with_labels)
    run(masked, tmp_path, masks=masked)
    assert {r["localizations"][0] for i, r in cells_of(tmp_path).items() if "/a/" in i} == {"er"}
    assert set(cells_of(tmp_path)) == before
    summary = run(masked, tmp_path, masks=masked, segmenter="builtin")
    assert not summary.segmented.uncovered
    assert set(summary.segmented.segmenters) != {"given"}


def test_cells_of_masks_stay_when_the_masks_are_not_named_again(masked: Path, tmp_path: Path) -> None:
    manifest = (masked / "manifest.csv").read_text().splitlines()
    (masked / "manifest.csv").write_text("\n".join(line.rpartition(",")[0] for line in manifest) + "\n")
    run(masked, tmp_path, masks=masked)
    before = versions(opened(tmp_path))
    assert run(masked, tmp_path, level=None, request=None).segmented.unchanged == 3
    assert versions(opened(tmp_path)) == before
    text = (masked / "manifest.csv").read_text().replace("P0,nucleoplasm", "P0,er")
    (masked / "manifest.csv").write_text(text)
    run(masked, tmp_path, level=None, request=None)
    assert cells_of(tmp_path)["manifest/a/3"]["localizations"] == ["er"]
    tifffile.imwrite(masked / "a.tif", pixels(55, edge_px=EDGE), imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match=r"found by given, not by builtin-.*name their masks again"):
        run(masked, tmp_path, level=None, request=None)


def test_what_a_table_of_cells_says_of_them_is_an_annotation_and_inherits_nothing(masked: Path, tmp_path: Path) -> None:
    table = tmp_path / "cells.csv"
    lines = ["fov,cell,top,left,bottom,right,localizations,annotated_by"]
    lines += ["a,one,1,1,11,11,vesicles;er,anna", "a,two,20,20,30,30,,", "b,1,5,5,25,25,,ben"]
    table.write_text("\n".join(lines) + "\n")
    manifest = (masked / "manifest.csv").read_text().splitlines()
    (masked / "manifest.csv").write_text("\n".join(line.rpartition(",")[0] for line in manifest) + "\n")
    run(masked, tmp_path, cells=table, level="cell")
    cells = cells_of(tmp_path)
    assert {i: (row["annotated"], row["annotated_by"]) for i, row in cells.items()} == {
        "manifest/a/one": (["er", "vesicles"], "anna"),
        "manifest/a/two": (None, None),
        "manifest/b/1": ([], "ben"),
    }
    assert cells["manifest/a/one"]["localizations"] == ["nucleoplasm"]
    assert cells["manifest/a/one"]["region"] is None
    before = versions(opened(tmp_path))
    run(masked, tmp_path, cells=table, level="cell")
    assert versions(opened(tmp_path)) == before


def test_indexing_again_leaves_what_was_imported_from_a_sheet(tmp_path: Path) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    tifffile.imwrite(folder / "0.tif", pixels(0), imagej=True, metadata={"axes": "CYX"})
    lines = ["id,path,channels,level,localizations,annotated_by", "0,0.tif,nucleus;protein,cell,er,anna"]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    run(folder, tmp_path, request=None, level=None)
    digest = cells_of(tmp_path)["manifest/0"]["source_digest"]
    sheet = f"id,picture,localizations,note,source_digest\nmanifest/0,,golgi,,{digest}\n"
    (tmp_path / "sheet.csv").write_text(sheet)
    import_annotations(tmp_path / "sheet.csv", atlas=tmp_path / "cells", annotator="anna", new_labels=True)
    run(folder, tmp_path, request=None, level=None)
    assert cells_of(tmp_path)["manifest/0"]["annotated"] == ["golgi"]


def test_annotated_cells_of_a_manifest_have_labels_of_their_own_only(tmp_path: Path) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    lines = ["id,path,channels,level,localizations,annotated_by"]
    for n, (labels, who) in enumerate([("er", "anna"), ("er;golgi", ""), ("", "anna;ben")]):
        tifffile.imwrite(folder / f"{n}.tif", pixels(n), imagej=True, metadata={"axes": "CYX"})
        lines.append(f"{n},{n}.tif,nucleus;protein,cell,{labels},{who}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    run(folder, tmp_path, request=None, level=None)
    assert {i: (r["localizations"], r["annotated"], r["annotated_by"]) for i, r in cells_of(tmp_path).items()} == {
        "manifest/0": ([], ["er"], "anna"),
        "manifest/1": (["er", "golgi"], None, None),
        "manifest/2": ([], [], "anna;ben"),
    }
    before = versions(opened(tmp_path))
    run(folder, tmp_path, request=None, level=None)
    assert versions(opened(tmp_path)) == before

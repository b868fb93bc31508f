"""Given cells: masks found by name, tables by field, digests that follow the bytes, and every line a user may see."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.annotation.sheet import AllowedLabels
from locatlas.indexer.cells.given import GivenCells
from locatlas.indexer.datasets import read_records
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.synthetic import make_collection

SIZE = {"height": 8, "width": 9}


@pytest.fixture
def mask(tmp_path: Path):
    """mask("masks/a_mask.png", {1: (0, 0, 2, 2)}): a label image with these boxes."""

    def write(name: str, boxes: dict[int, tuple[int, int, int, int]] | None = None, shape=(8, 9)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.zeros(shape, np.uint16)
        for number, (top, left, bottom, right) in (boxes or {}).items():
            array[top:bottom, left:right] = number
        Image.fromarray(array).save(path)
        return path

    return write


@pytest.fixture
def record(tmp_path: Path):
    def make(image_id: str = "opencell/a", *files: str, **fields) -> ImageRecord:
        names = files or (f"{image_id.split('/')[-1]}.tif",)
        sources = tuple(Source(tmp_path / "images" / name, (f"c{i}",)) for i, name in enumerate(names))
        return ImageRecord(id=image_id, level="fov", dataset=image_id.split("/")[0], sources=sources, **fields)

    return make


@pytest.fixture
def table(tmp_path: Path):
    def write(text: str) -> Path:
        (tmp_path / "cells.csv").write_text(text)
        return tmp_path / "cells.csv"

    return write


@pytest.mark.parametrize(
    ("name", "image_id", "files"),
    [
        ("a_cellmask.png", "opencell/a", ()),
        ("cellmask_a.png", "opencell/a", ()),
        ("a_mask.png", "opencell/a", ()),
        ("a.png", "opencell/a", ()),
        ("sub/a_cp_masks.png", "opencell/a", ()),
        ("OC-FOV_x_proj_mask.png", "opencell/FID1", ("OC-FOV_x_proj.tif",)),
        ("OC-FOV_x_mask.png", "opencell/FID1", ("OC-FOV_x_proj.tif",)),
        ("1_A1_1.png", "manifest/odd", ("1_A1_1_red.png", "1_A1_1_blue.png")),
        ("w1_cell_mask.png", "manifest/odd", ("w1_dapi.png", "w1_gfp.png")),
    ],
)
def test_masks_are_found_by_the_name_of_the_field(name: str, image_id: str, files, mask, record, tmp_path) -> None:
    path = mask(f"masks/{name}", {4: (1, 1, 3, 3)})
    given = GivenCells.find(masks=tmp_path / "masks")
    found = given.attach(record(image_id, *files))
    assert (found.mask_path, found.nucleus_mask_path) == (path, None)
    assert given.has(found)
    assert [region.name for region in given.regions(found, **SIZE)] == ["4"]
    assert given.notes() == []


def test_nuclei_are_found_beside_and_give_the_cells_their_centres(mask, record, tmp_path: Path) -> None:
    mask("masks/a_mask.png", {1: (0, 0, 4, 4), 2: (4, 4, 8, 9)})
    mask("masks/a_nuclei.png", {1: (1, 1, 3, 3)})
    given = GivenCells.find(masks=tmp_path / "masks")
    found = given.attach(record())
    assert found.nucleus_mask_path == tmp_path / "masks" / "a_nuclei.png"
    assert [r.place.nucleus_centroid for r in given.regions(found, **SIZE)] == [(1.5, 1.5), None]


def test_kaggles_two_folders_of_npz_are_told_apart(record, tmp_path: Path) -> None:
    for folder, number in (("hpa_cell_mask", 3), ("hpa_nuclei_mask", 3)):
        (tmp_path / "masks" / folder).mkdir(parents=True)
        array = np.zeros((8, 9), np.uint8)
        array[2 : 7 - (folder == "hpa_nuclei_mask"), 2:6] = number
        np.savez_compressed(tmp_path / "masks" / folder / "a.npz", array)
    given = GivenCells.find(masks=tmp_path / "masks")
    (cell,) = given.regions(given.attach(record()), **SIZE)
    assert (cell.name, cell.place.nucleus_centroid) == ("3", (3.5, 3.5))


def test_a_record_keeps_its_own_mask(mask, record, tmp_path: Path) -> None:
    mask("masks/a_mask.png")
    own = mask("own.png", {1: (0, 0, 2, 2)})
    assert GivenCells.find(masks=tmp_path / "masks").attach(record(mask_path=own)).mask_path == own


def test_two_files_that_could_be_meant_are_an_error(mask, record, tmp_path: Path) -> None:
    mask("masks/a_mask.png")
    mask("masks/a_cellmask.png")
    given = GivenCells.find(masks=tmp_path / "masks")
    reason = "opencell/a: its mask of cells could be a_(cell)?mask.png and a_(cell)?mask.png"
    with pytest.raises(ImageRejectedError, match=reason):
        given.attach(record())


def test_one_file_that_two_fields_mean_is_an_error(mask, record, tmp_path: Path) -> None:
    mask("masks/f_mask.png")
    given = GivenCells.find(masks=tmp_path / "masks")
    given.attach(record("m/one", "f.tif"))
    with pytest.raises(ImageRejectedError, match=r"f_mask.png: meant by two fields, m/one and m/two"):
        given.attach(record("m/two", "f.tif"))


def test_folders_in_a_fields_name_are_folders_of_its_mask(mask, record, tmp_path: Path) -> None:
    for plate in ("p1", "p2"):
        mask(f"masks/{plate}/f_mask.png", {int(plate[1]): (0, 0, 2, 2)})
    given = GivenCells.find(masks=tmp_path / "masks")
    for plate in ("p1", "p2"):
        assert given.attach(record(f"m/{plate}/f", "f.tif")).mask_path == tmp_path / "masks" / plate / "f_mask.png"


def test_an_image_is_not_its_own_mask(mask, record, tmp_path: Path) -> None:
    mask("images/a.png")
    given = GivenCells.find(masks=tmp_path / "images")
    assert given.attach(record("m/a", "a.png")).mask_path is None
    assert given.notes() == [f"{tmp_path / 'images'}: 1 of 1 masks belong to no field, e.g. a.png"]


def test_links_out_of_the_folder_are_refused(mask, record, tmp_path: Path) -> None:
    outside = mask("outside.png", {1: (0, 0, 2, 2)})
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a_mask.png").symlink_to(outside)
    with pytest.raises(ImageRejectedError, match=r"a_mask.png: lies outside the folders"):
        GivenCells.find(masks=tmp_path / "masks").attach(record())


def test_what_cannot_be_looked_through_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no label image"):
        GivenCells.find(masks=tmp_path / "empty")
    with pytest.raises(InputError, match="none: a folder of label images is needed"):
        GivenCells.find(masks=tmp_path / "none")
    with pytest.raises(InputError, match=r"cells.csv: no such file"):
        GivenCells.find(table=tmp_path / "cells.csv")


def test_nothing_given_gives_nothing(record) -> None:
    given = GivenCells.find()
    assert given.attach(record()) == record()
    assert not given.has(record())
    assert given.notes() == []
    with pytest.raises(ImageRejectedError, match="opencell/a: no mask and no row of a table gives its cells"):
        given.regions(record(), **SIZE)


def test_a_mask_of_another_size_names_the_file_and_both_sizes(mask, record) -> None:
    path = mask("m.png", {1: (0, 0, 2, 2)}, shape=(4, 4))
    with pytest.raises(ImageRejectedError) as raised:
        GivenCells.find().regions(record(mask_path=path), **SIZE)
    assert str(raised.value) == f"{path}: a mask of 4 x 4 px for an image of 8 x 9 px; the two must have one size"


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ({}, []),
        ({1: (0, 0, 8, 9)}, [("1", 72, True)]),
        ({5: (1, 1, 3, 3), 900: (3, 1, 5, 3)}, [("5", 4, False), ("900", 4, False)]),
    ],
    ids=["no cells", "one cell as large as the image", "touching cells with holes in the numbering"],
)
def test_masks_with_no_one_and_touching_cells(boxes, expected, mask, record) -> None:
    found = GivenCells.find().regions(record(mask_path=mask("m.png", boxes)), **SIZE)
    assert [(r.name, r.area_px, r.place.touches_border) for r in found] == expected


@pytest.mark.parametrize("called", ["opencell/a", "a", "OC-FOV_a_proj", "OC-FOV_a_proj.tif", "OC-FOV_a"])
def test_a_table_may_call_a_field_by_its_id_or_its_file(called: str, table, record) -> None:
    given = GivenCells.find(table=table(f"image,cell,y,x\n{called},7,1,2\nother,1,1,1\n"))
    mine = record("opencell/a", "OC-FOV_a_proj.tif")
    assert given.has(mine)
    assert [(r.name, r.place.centroid) for r in given.regions(mine, **SIZE)] == [("7", (1, 2))]
    assert not given.has(record("opencell/b"))
    assert given.notes() == [f"{given.table}: 1 of 2 fields are not in the data set, e.g. 'other'"]


def test_a_field_called_by_two_names_is_told(table, record) -> None:
    given = GivenCells.find(table=table("fov,y,x\na,1,2\nopencell/a,3,4\n"))
    with pytest.raises(ImageRejectedError, match=r"cells.csv: the field opencell/a is called opencell/a and a"):
        given.has(record())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ImageId,EncodedPixels\na,1 2\na,5 x\n",
         "{table} line 3: 'x' is not a whole number; 'start length start length ...' is needed (field opencell/a)"),
        ("ImageID,ImageWidth,ImageHeight,PredictionString\na,9,8,0 1 eNo=\n",
         "{table} line 2: PredictionString, encoding 1: cut off: the deflated bytes have no end (field opencell/a)"),
        ("ImageID,ImageWidth,ImageHeight,PredictionString\na,8,9,0 1 eNo=\n",
         "{table} line 2: made for a field of 9 x 8 px; the image has 8 x 9 px (field opencell/a)"),
        ("fov,cell,top,left,bottom,right\na,1,0,0,8,10\n",
         "{table} line 2, cell '1': its box (rows 0 to 8, columns 0 to 10) leaves the image of 8 x 9 px "
         "(field opencell/a)"),
        ("fov,cell,y,x\na,1,1,one\n", "{table} line 2, field 'a': x 'one' is not a number"),
    ],
)  # fmt: skip
def test_garbage_in_a_table_is_one_line_with_file_line_and_field(text: str, reason: str, table, record) -> None:
    path = table(text)
    with pytest.raises(ImageRejectedError) as raised:
        GivenCells.find(table=path).regions(record(), **SIZE)
    assert str(raised.value) == reason.format(table=path)


def test_a_table_can_say_what_the_cells_of_a_mask_are(mask, table, record) -> None:
    path = mask("m.png", {1: (0, 0, 2, 2), 2: (4, 4, 8, 9)})
    given = GivenCells.find(table=table("fov,cell,localizations,annotated_by\na,2,er,JD\n"))
    found = given.regions(record(mask_path=path), **SIZE)
    assert [(r.name, r.localizations, r.annotated_by) for r in found] == [("1", None, None), ("2", ("er",), "JD")]


def test_overlaps_are_told_once_for_the_table(table, record) -> None:
    given = GivenCells.find(table=table("ImageId,EncodedPixels\na,1 4\na,3 4\n"))
    assert [r.area_px for r in given.regions(record(), **SIZE)] == [4, 4]
    assert given.notes() == [f"{given.table}: cells overlap in 1 field (2 px); each keeps all of its pixels"]


def test_the_digest_follows_the_bytes_of_both_masks_and_the_rows_of_the_field(mask, table, record, tmp_path) -> None:
    def digest() -> str:
        given = GivenCells.find(masks=tmp_path / "masks", table=tmp_path / "cells.csv")
        return given.digest(given.attach(record()))

    path = mask("masks/a_mask.png", {1: (0, 0, 2, 2)})
    table("fov,cell,localizations,annotated_by\na,1,er,JD\n")
    seen = [digest()]
    os.utime(path, (1, 1))
    mask("masks/b_mask.png")
    table("fov,cell,localizations,annotated_by\nb,1,er,JD\na,1,er,JD\n")
    assert digest() == seen[0]
    for change in (
        lambda: mask("masks/a_mask.png", {1: (0, 0, 2, 3)}),
        lambda: mask("masks/a_nuclei.png", {1: (0, 0, 1, 1)}),
        lambda: table("fov,cell,localizations,annotated_by\na,1,golgi,JD\n"),
    ):
        change()
        seen.append(digest())
    assert len(set(seen)) == 4


def test_the_made_collection_gives_the_same_cells_by_masks_and_by_its_table(tmp_path: Path) -> None:
    make_collection(tmp_path, classes=("er",), proteins_per_class=1, hpa_proteins_per_class=1, opencell_px=160,
                    hpa_px=160, workers=1)  # fmt: skip
    n_cells = 0
    for source in ("opencell", "hpa"):
        by_mask = GivenCells.find(masks=tmp_path / source / "masks")
        by_table = GivenCells.find(table=tmp_path / source / "cells.csv")
        for item in read_records(source, tmp_path / source):
            assert isinstance(item, ImageRecord)
            one = by_mask.regions(by_mask.attach(item), height=160, width=160)
            other = by_table.regions(item, height=160, width=160)
            assert [(r.name, r.area_px, r.place.box, r.place.touches_border) for r in one] == [
                (r.name, r.area_px, r.place.box, r.place.touches_border) for r in other
            ]
            assert all(r.place.nucleus_centroid is not None for r in one)
            n_cells += len(one)
        assert by_mask.notes() == by_table.notes() == []
    assert n_cells > 3


def test_labels_of_a_table_that_are_not_usual_are_told_once_with_the_nearest(table) -> None:
    lines = ["x,1,1,er;Cytoskelton,anna", "x,2,2,Golgi,ben", "y,3,3,Cytoskelton,anna", "y,4,4,,ben", "y,5,5,er,ben"]
    path = table("\n".join(["image,y,x,localizations,annotated_by", *lines]) + "\n")
    given = GivenCells.find(table=path)
    usual = AllowedLabels(["er", "golgi", "cytoskeleton"], "these")
    kept = "2 labels of 3 cells not among these, kept as written"
    assert given.label_notes(usual) == [f"{path}: {kept}, e.g. line 2: 'Cytoskelton'; did you mean 'cytoskeleton'?"]
    far = AllowedLabels(["er", "Golgi", "z"], "these")
    assert given.label_notes(far) == [
        f"{path}: 1 label of 2 cells not among these, kept as written, e.g. line 2: 'Cytoskelton'"
    ]
    assert given.label_notes(AllowedLabels(["er", "Golgi", "Cytoskelton"], "these")) == []
    assert given.label_notes(AllowedLabels([], "these")) == []


def test_a_photograph_in_place_of_a_mask_names_the_mask(tmp_path: Path) -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(photograph).save(tmp_path / "a_mask.png")
    (tmp_path / "a.tif").touch()
    record = ImageRecord(id="d/a", level="fov", dataset="d", sources=(Source(tmp_path / "a.tif", ("nucleus",)),))
    given = GivenCells.find(masks=tmp_path)
    with pytest.raises(ImageRejectedError, match=r"a_mask\.png"):
        given.regions(given.attach(record), height=64, width=64)

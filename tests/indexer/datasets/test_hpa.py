"""HPA: the site's names, cells and fields, formats, both tables, and the real files."""

from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.files.images import read_image

RGB = ("microtubules", "protein", "nucleus")
IMAGES = """filename,if_plate_id,position,sample,status,locations,antibody,ensembl_ids,gene_names,atlas_name
/archive/1/1_A1_1_,1,A1,1,35,"Golgi apparatus,Vesicles",HPA000001,ENSG01,AAA,U-2 OS
/archive/1/1_A1_2_,1,A1,2,35,,HPA000002,"ENSG02,ENSG03","BBB,CCC",A-431
"""
GENES = """Gene\tGene name\tReliability\tMain location\tAdditional location\tExtracellular location
ENSG01\tAAA\tApproved\tCytosol\t\t
ENSG02\tBBB\tEnhanced\tNucleoplasm;Vesicles\tCytosol\t
"""


def stains(make, base: str, colours: str = "red green blue yellow", suffix: str = "png") -> None:
    for colour in colours.split():
        make(f"{base}_{colour}.{suffix}", np.zeros((4, 4), np.uint8))


def test_four_stains_make_one_field(read, make, tmp_path: Path) -> None:
    stains(make, "12_b7_3")
    (record,), rejected = read("hpa", tmp_path)
    assert (record.id, record.level, record.plate, record.well) == ("hpa/12_b7_3", "fov", "12", "B7")
    assert record.channels == (*RGB, "er")
    assert record.fov_id is None
    assert not rejected


def test_missing_yellow_and_red_are_fine(read, make, tmp_path: Path) -> None:
    stains(make, "1_A1_1", "blue green")
    (record,), rejected = read("hpa", tmp_path)
    assert record.channels == ("protein", "nucleus")
    assert not rejected


def test_masks_beside_the_images_are_those_of_the_field(read, make, tmp_path: Path) -> None:
    stains(make, "1/1_A1_1")
    stains(make, "1/1_A1_2")
    for name in ("1_A1_1_cellmask.png", "1_A1_1_nucleimask.png", "9_A1_1_cellmask.png"):
        make(f"1/{name}")
    (one, other), rejected = read("hpa", tmp_path)
    assert (one.mask_path, one.nucleus_mask_path) == (
        tmp_path / "1" / "1_A1_1_cellmask.png",
        tmp_path / "1" / "1_A1_1_nucleimask.png",
    )
    assert (other.mask_path, other.nucleus_mask_path) == (None, None)
    assert not rejected


def test_a_second_mask_of_a_field_is_told(read, make, tmp_path: Path) -> None:
    stains(make, "1_A1_1")
    make("1_A1_1_cellmask.png")
    make("1_A1_1_cellmask.tif")
    (record,), (rejected,) = read("hpa", tmp_path)
    assert record.mask_path == tmp_path / "1_A1_1_cellmask.png"
    assert (rejected.source, rejected.reason) == (
        "1_A1_1_cellmask.tif",
        "a second mask beside 1_A1_1_cellmask.png, which is kept",
    )


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ("green red yellow", "1_A1_1_blue.png"),
        ("blue", "1_A1_1_green.png"),
        ("red", "1_A1_1_blue.png and 1_A1_1_green.png"),
    ],
)
def test_a_missing_nucleus_or_protein_is_named(there: str, missing: str, read, make, tmp_path: Path) -> None:
    stains(make, "1_A1_1", there)
    stains(make, "1_A1_2")
    records, (rejected,) = read("hpa", tmp_path)
    assert len(records) == 1
    assert f"missing {missing}:" in rejected.reason


def test_a_cell_number_makes_a_cell_of_its_field(read, make, tmp_path: Path) -> None:
    stains(make, "A4GALT_1645_H1_6/1645_H1_6_cr57b5683c9a8ca_4")
    stains(make, "1645_H1_6_17")
    (plain, cropped), rejected = read("hpa", tmp_path)
    assert (plain.id, plain.level, plain.fov_id) == ("hpa/1645_H1_6/17", "cell", "hpa/1645_H1_6")
    assert cropped.id == "hpa/1645_H1_6_cr57b5683c9a8ca/4"
    assert cropped.fov_id == plain.fov_id  # a crop is a part of the field
    assert (cropped.protein, plain.protein) == ("A4GALT", None)
    assert plain.groups == cropped.groups == {"field": "1645_H1_6"}
    assert not rejected


def test_a_numeric_folder_is_the_antibody_unless_it_is_the_plate(read, make, tmp_path: Path) -> None:
    stains(make, "30741/800_A6_1")
    stains(make, "801/801_A6_1")
    (site, other), _ = read("hpa", tmp_path)
    assert (site.antibody, other.antibody) == ("30741", None)


def test_the_format_with_all_channels_and_most_bits_is_taken(read, make, tmp_path: Path) -> None:
    stains(make, "1_A1_1", suffix="jpg")
    stains(make, "1_A1_1", suffix="png")
    stains(make, "1_A1_1", "blue", suffix="tif")
    stains(make, "1_A1_2", "red green blue", suffix="tif")
    stains(make, "1_A1_2", suffix="jpg")
    (one, two), rejected = read("hpa", tmp_path)
    assert {s.path.suffix for s in one.sources} == {".png"}
    assert {s.path.suffix for s in two.sources} == {".jpg"}
    assert not rejected


def test_one_colour_image_has_three_channels(read, make, tmp_path: Path, rng) -> None:
    rgb = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    make("1_A1_1_blue_red_green.png", rgb)
    make("1_A1_2_red_green.png", rgb)
    (record,), (rejected,) = read("hpa", tmp_path)
    image, _ = read_image(record)
    assert image.channels == RGB
    np.testing.assert_array_equal(image.pixels, np.moveaxis(rgb, -1, 0))
    assert "missing 1_A1_2_blue.png" in rejected.reason


def test_names_that_only_end_like_its_own_are_rejected(read, make, tmp_path: Path, caplog) -> None:
    stains(make, "mixed_img0_0", "green")
    make("overview.png")
    with caplog.at_level("INFO"):
        records, (rejected,) = read("hpa", tmp_path)
    assert not records
    assert rejected.source == "mixed_img0_0_green.png"
    assert "1 image files of other names" in caplog.text


@pytest.mark.parametrize("given", [True, False])
def test_labels_of_the_image_go_before_those_of_the_gene(given: bool, read, make, tmp_path: Path) -> None:
    for fov in (1, 2, 3):
        stains(make, f"data/1_A1_{fov}")
    where = "else" if given else "data"
    table, genes = make(f"{where}/if.csv", IMAGES), make(f"{where}/subcellular_location.tsv", GENES)
    options = {"table": table, "subcellular": genes} if given else {}
    (one, two, three), rejected = read("hpa", tmp_path / "data", **options)
    assert one.localizations == ("Golgi apparatus", "Vesicles")
    assert (one.protein, one.ensembl_id, one.antibody, one.cell_line) == ("AAA", "ENSG01", "HPA000001", "U-2 OS")
    assert one.metadata["localizations_from"] == "if.csv"
    assert two.localizations == ("Cytosol", "Nucleoplasm", "Vesicles")
    assert two.metadata["localizations_from"] == "subcellular_location.tsv"
    assert (two.protein, two.metadata["gene_names"]) == ("BBB", "BBB,CCC")
    assert (three.protein, three.localizations) == (None, ())
    assert not rejected


def test_a_gene_folder_is_joined_by_name(read, make, tmp_path: Path) -> None:
    stains(make, "AAA_1_A1_1/1_A1_1")
    make("subcellular_location.tsv", GENES)
    (record,), _ = read("hpa", tmp_path)
    assert (record.protein, record.ensembl_id, record.localizations) == ("AAA", "ENSG01", ("Cytosol",))
    assert record.metadata["reliability"] == "Approved"


def test_an_image_listed_twice_with_other_content_is_told(read, make, tmp_path: Path) -> None:
    stains(make, "1_A1_1")
    make("if.csv", IMAGES + "x,1,A1,1,35,Cytosol,HPA9,ENSG9,ZZZ,HeLa\n")
    (record,), (rejected,) = read("hpa", tmp_path)
    assert record.protein == "AAA"
    assert (rejected.source, "listed twice" in rejected.reason) == ("if.csv line 4", True)


def test_only_full_fields_have_the_pixel_size(read, make, tmp_path: Path) -> None:
    for base, edge in (("1_A1_1", 2048), ("1_A1_2", 512), ("1_A1_1_3", 2048)):
        for colour in ("blue", "green"):
            make(f"{base}_{colour}.png", np.zeros((edge, edge), np.uint8))
    full, cell, reduced = read("hpa", tmp_path)[0]
    assert (full.pixel_size_um, cell.pixel_size_um, reduced.pixel_size_um) == (0.0800885, None, None)


class TestRealFiles:
    def test_six_cells_and_one_field(self, read, shared_data: Path) -> None:
        genes = shared_data / "opencell" / "tables" / "hpa_subcellular_location.tsv"
        records, rejected = read("hpa", shared_data / "hpa_named", subcellular=genes)
        assert not rejected
        *cells, field = records
        assert [r.level for r in records] == ["cell"] * 6 + ["fov"]
        for cell in cells:
            assert (cell.protein, cell.localizations) == ("A4GALT", ("Mitochondria",))  # the data's README
            assert (cell.metadata["reliability"], cell.plate, cell.well) == ("Uncertain", "1645", "H1")
            image, _ = read_image(cell)
            assert image.pixels.shape == (3, 128, 128)
            assert image.channels == RGB
        assert (field.id, field.pixel_size_um) == ("hpa/800_A6_1", 0.0800885)
        assert field.channels == (*RGB, "er")

    def test_the_gene_table_has_the_counted_rows(self, shared_data: Path) -> None:
        """Counts of the table as published."""
        from collections import Counter

        from locatlas.indexer.datasets.hpa_tables import Tables, _read_genes

        tables, rejected = Tables(), []
        table = shared_data / "opencell" / "tables" / "hpa_subcellular_location.tsv"
        _read_genes(table, tables, lambda source, _reason: rejected.append(source))
        genes = {key: a for key, a in tables.genes.items() if key == a.ensembl_id}
        assert not rejected
        assert not tables.unknown.counts
        assert len(genes) == 12813
        assert Counter(a.reliability for a in genes.values()) == {
            "Approved": 6591, "Supported": 4039, "Enhanced": 1463, "Uncertain": 720
        }  # fmt: skip
        assert len({label for a in genes.values() for label in a.localizations}) == 35

"""OpenCell: names, projections and stacks, both forms of the annotations, and the real fields."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.indexer.files.images import read_image

GRADED = """target_name,ensg_id,annotations_grade_3,annotations_grade_2,annotations_grade_1
HLA-A,ENSG1,nucleoplasm;cytoplasmic,vesicles,
NOGRADE3,ENSG2,,golgi,er;membrane
"""
FLAT = """ensg_id,target_name,annotation_name,annotation_grade
ENSG2,NOGRADE3,er,1
ENSG1,HLA-A,cytoplasmic,3
ENSG1,HLA-A,vesicles,2
ENSG2,NOGRADE3,golgi,2
ENSG1,HLA-A,nucleoplasm,3
ENSG2,NOGRADE3,membrane,1
"""
BOTH_FORMS = ("opencell-localization-annotations.csv", "2021-09-29-public-annotations-flat.csv")
PROTEINS_BY_CLASS = {  # grade 3, 2, 1, and exactly one of grade 3
    "big_aggregates": (22, 28, 11, 7),
    "cell_contact": (25, 21, 11, 5),
    "centrosome": (50, 14, 4, 19),
    "chromatin": (67, 48, 9, 47),
    "cytoplasmic": (483, 111, 93, 221),
    "cytoskeleton": (34, 12, 8, 13),
    "er": (96, 23, 21, 78),
    "focal_adhesions": (10, 1, 2, 7),
    "golgi": (64, 26, 13, 27),
    "membrane": (117, 38, 23, 41),
    "mitochondria": (11, 2, 0, 11),
    "nuclear_membrane": (32, 4, 2, 18),
    "nuclear_punctae": (77, 43, 21, 25),
    "nucleolus_fc_dfc": (22, 6, 4, 18),
    "nucleolus_gc": (76, 11, 10, 58),
    "nucleoplasm": (372, 113, 115, 133),
    "vesicles": (240, 59, 44, 140),
}
HLA_GRADES = (("cytoplasmic", 3), ("nucleoplasm", 3), ("vesicles", 2))


def name(gene: str, fov: int, kind: str = "proj", ensg: str = "ENSG1") -> str:
    return f"OC-FOV_{gene}_{ensg}_CID001_FID{fov:08}_{kind}.tif"


@pytest.mark.parametrize("gene", ["HLA-A", "AC093827.5", "H2AC_X", "C1orf43"])
def test_a_gene_may_hold_dashes_dots_and_underscores(gene: str, read, make) -> None:
    root = make(name(gene, 31234)).parent
    (record,), rejected = read("opencell", root)
    assert (record.id, record.protein, record.ensembl_id) == ("opencell/FID00031234", gene, "ENSG1")
    assert record.channels == ("nucleus", "protein")
    assert record.cell_line == "HEK293T"
    assert record.metadata["cell_line_id"] == "CID001"
    assert record.localizations == record.graded == ()
    assert not rejected


@pytest.mark.parametrize(
    ("file", "table"),
    [("opencell-localization-annotations.csv", GRADED), ("2021-09-29-public-annotations-flat.csv", FLAT)],
)
@pytest.mark.parametrize("place", ["tables", ".", "data"])
def test_both_forms_of_the_annotations_say_the_same(file, table, place, read, make, tmp_path: Path) -> None:
    make(f"data/{name('HLA-A', 1)}")
    make(f"data/{name('NOGRADE3', 2, ensg='ENSG9')}")
    make(f"data/{name('OTHER', 3)}")
    make(f"{place}/{file}" if place != "tables" else f"data/tables/{file}", table)
    (hla, lacking, other), rejected = read("opencell", tmp_path / "data")
    assert hla.localizations == ("cytoplasmic", "nucleoplasm")
    assert hla.graded == HLA_GRADES
    assert lacking.localizations == ()
    assert lacking.graded == (("er", 1), ("golgi", 2), ("membrane", 1))
    assert lacking.metadata["annotated_ensembl_id"] == "ENSG2"  # of the table; the file's name says ENSG9
    assert "annotated_ensembl_id" not in hla.metadata
    assert other.graded == ()
    assert not rejected


def test_annotations_given_by_option_win(read, make, tmp_path: Path) -> None:
    make(f"data/{name('HLA-A', 1)}")
    make("data/opencell-localization-annotations.csv", GRADED)
    given = make(
        "mine.csv",
        "﻿target_name,ensg_id,annotations_grade_3,annotations_grade_2,annotations_grade_1\r\n\r\nHLA-A,ENSG1,golgi,,\r\n",
    )
    (record,), _ = read("opencell", tmp_path / "data", annotations=given)
    assert record.localizations == ("golgi",)
    assert record.metadata["annotations"] == "mine.csv"


def test_a_projection_is_preferred_to_its_stack(read, make, tmp_path: Path) -> None:
    make(name("A", 1, "stack"))
    make(name("A", 1, "proj"))
    make(name("A", 2, "stack"))
    records, rejected = read("opencell", tmp_path)
    assert [r.metadata["file_kind"] for r in records] == ["proj", "stack"]
    assert not rejected


def test_a_stack_is_read_as_its_maximum(read, tmp_path: Path, rng) -> None:
    import tifffile

    stack = rng.integers(0, 65536, (6, 2, 12, 10), dtype=np.uint16)
    tifffile.imwrite(tmp_path / name("A", 1, "stack"), stack, imagej=True, metadata={"axes": "ZCYX"})
    (record,), _ = read("opencell", tmp_path)
    np.testing.assert_array_equal(read_image(record)[0].pixels, stack.max(axis=0))


def test_a_second_file_of_one_field_is_rejected_naming_both(read, make, tmp_path: Path) -> None:
    make(f"a/{name('A', 1)}")
    make(f"b/{name('A', 1)}")
    (record,), (rejected,) = read("opencell", tmp_path)
    assert record.sources[0].path.parent.name == "a"
    assert rejected.source == f"b/{name('A', 1)}"
    assert f"a/{name('A', 1)}" in rejected.reason


def test_its_own_files_with_broken_names_are_rejected_and_foreign_ones_left_alone(read, make, tmp_path, caplog) -> None:
    own = ["OC-FOV_A_ENSG1_CID1_proj.tif", "OC-FOV_A_ENSG1_CID1_FID1_max.tif", "OC-FOV_A_ENSG1_CID1_FID1_proj.tif.part"]
    for file in [*own, "nucleus_fov_uint16.tif", "._OC-FOV_A_ENSG1_CID1_FID1_proj.tif", "notes.txt"]:
        make(file, b"x")
    with caplog.at_level("INFO"):
        records, rejected = read("opencell", tmp_path)
    assert not records
    assert sorted(r.source for r in rejected) == sorted(own)
    assert "1 image files of other names" in caplog.text


@pytest.mark.parametrize(
    ("edge", "metadata", "expected"), [(600, {}, 0.206349), (344, {}, None), (344, {"unit": "um"}, 0.25)]
)
def test_the_pixel_size_is_known_for_bucket_files_or_stated(edge, metadata, expected, read, tmp_path: Path) -> None:
    import tifffile

    pixels = np.zeros((2, edge, edge), np.uint16)
    resolution = (4, 4) if metadata else (1, 1)
    tifffile.imwrite(
        tmp_path / name("A", 1), pixels, imagej=True, resolution=resolution, metadata={"axes": "CYX", **metadata}
    )
    (record,), _ = read("opencell", tmp_path)
    assert record.pixel_size_um == (None if expected is None else pytest.approx(expected))
    assert ("pixel_size_from" in record.metadata) == (expected is not None)


def test_bad_rows_of_the_annotations_are_told_and_the_rest_used(read, make, tmp_path: Path) -> None:
    make(name("HLA-A", 1))
    make("opencell-localization-annotations.csv", GRADED + "HLA-A,ENSG1,golgi,,\nX,ENSG3,er\n")
    (record,), rejected = read("opencell", tmp_path)
    assert record.graded == HLA_GRADES
    assert [(r.source.rpartition(" ")[2], r.reason[:12]) for r in rejected] == [
        ("4", "gene 'HLA-A'"),
        ("5", "3 cells, but"),
    ]


@pytest.mark.parametrize(
    "text", ["target_name,ensg_id,labels\nA,ENSG1,er\n", "gene,label\nA,er\n", "", "target_name;ensg_id\n", "\xff\xfe"]
)
def test_a_table_that_is_none_stops_with_its_name(text: str, read, make, tmp_path: Path) -> None:
    make(name("A", 1))
    make("opencell-localization-annotations.csv", text.encode("latin-1"))
    with pytest.raises(InputError, match=r"opencell-localization-annotations\.csv: "):
        read("opencell", tmp_path)


def test_labels_outside_the_vocabulary_are_kept_and_logged(read, make, tmp_path: Path, caplog) -> None:
    make(name("HLA-A", 1))
    make("opencell-localization-annotations.csv", GRADED.replace("vesicles", "cilia"))
    with caplog.at_level("WARNING"):
        (record,), _ = read("opencell", tmp_path)
    assert ("cilia", 2) in record.graded
    assert "'cilia'" in caplog.text


def annotated(table: Path) -> tuple[dict[str, tuple[tuple[str, int], ...]], list[str]]:
    """Graded labels by gene as the reader takes them from a table, and the rows that it rejected."""
    from locatlas.indexer.datasets.opencell import _annotations

    rejected: list[str] = []
    found = _annotations(table, lambda source, _reason: rejected.append(source))
    return {gene: one.graded for gene, one in found.items()}, rejected


class TestRealFields:
    @pytest.mark.parametrize("folder", ["opencell", "opencell/microscopy/raw"])
    def test_grade_3_counts_are_those_of_the_readme(self, folder: str, read, shared_data: Path) -> None:
        records, rejected = read("opencell", shared_data / folder)
        assert not rejected
        assert len(records) == 21
        assert Counter(label for r in records for label in r.localizations) == {
            "cytoskeleton": 10, "centrosome": 8, "cytoplasmic": 7, "membrane": 6, "nucleoplasm": 4, "golgi": 1
        }  # fmt: skip
        assert all(r.pixel_size_um is None for r in records)  # 344 px, and a tag of 1/1 without a unit

    def test_the_flat_form_gives_the_same(self, read, shared_data: Path) -> None:
        root = shared_data / "opencell"
        flat = root / "tables" / "2021-09-29-public-annotations-flat.csv"
        graded, _ = read("opencell", root)
        for one, other in zip(graded, read("opencell", root, annotations=flat)[0], strict=True):
            assert (one.localizations, one.graded) == (other.localizations, other.graded)

    def test_all_fields_read_as_two_uint16_planes(self, read, shared_data: Path) -> None:
        records, _ = read("opencell", shared_data / "opencell")
        for record in records:
            image, _ = read_image(record)
            assert image.pixels.shape[0] == 2
            assert image.pixels.shape[1] in (344, 345)
            assert image.pixels.dtype == np.uint16

    @pytest.mark.parametrize("file", BOTH_FORMS)
    def test_the_table_has_the_counted_labels(self, file: str, shared_data: Path) -> None:
        """Counts of the annotations as published, in either form: docs/protocols.md shows them."""
        annotations, rejected = annotated(shared_data / "opencell" / "tables" / file)
        assert not rejected
        by_number = Counter(sum(grade == 3 for _, grade in graded) for graded in annotations.values())
        assert by_number == {0: 4, 1: 868, 2: 389, 3: 44, 4: 5}
        assert {gene for gene, graded in annotations.items() if all(grade < 3 for _, grade in graded)} == {
            "CDK13", "CSE1L", "HSPB11", "IPO13"
        }  # fmt: skip
        assert sum(len(graded) == 1 for graded in annotations.values()) == 338
        assert Counter(grade for graded in annotations.values() for _, grade in graded) == {3: 1798, 2: 560, 1: 391}

    @pytest.mark.parametrize("file", BOTH_FORMS)
    def test_each_class_has_the_counted_proteins(self, file: str, shared_data: Path) -> None:
        annotations, _ = annotated(shared_data / "opencell" / "tables" / file)
        by_grade = Counter(pair for graded in annotations.values() for pair in graded)
        top = [[label for label, grade in graded if grade == 3] for graded in annotations.values()]
        single = Counter(labels[0] for labels in top if len(labels) == 1)
        found = {label: (*(by_grade[label, grade] for grade in (3, 2, 1)), single[label]) for label, _ in by_grade}
        assert found == PROTEINS_BY_CLASS
        assert (len(single), single.total()) == (17, 868)
        large = [n for n in single.values() if n >= 10]
        assert (len(large), sum(large)) == (14, 849)
        alone = [graded for graded, labels in zip(annotations.values(), top, strict=True) if len(labels) == 1]
        assert sum(all(grade != 2 for _, grade in graded) for graded in alone) == 513
        assert sum(len(graded) == 1 for graded in alone) == 336

    def test_the_page_of_the_protocols_shows_these_counts(self) -> None:
        page = (Path(__file__).resolve().parents[3] / "docs" / "protocols.md").read_text()
        for label, counts in PROTEINS_BY_CLASS.items():
            assert f"| {label} | {' | '.join(map(str, counts))} |" in page

"""Records to rows and back: paths below declared roots only, texts that can be stored only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import ImageRejectedError
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store.row_checks import check_rows
from locatlas.indexer.store.rows import METADATA_COLUMNS, described, image_rows, pairs, record_from_row
from locatlas.indexer.store.schema import FOVS

FROM_PIXELS = {"source_digest": "x", "qc": []}


def record(path: Path, **changes: Any) -> ImageRecord:
    values: dict[str, Any] = {
        "id": "d/a",
        "level": "fov",
        "dataset": "d",
        "sources": (Source(path, ("nucleus", "protein")),),
        "protein": "LMNB1",
        "localizations": ("nuclear_membrane",),
        "graded": (("nuclear_membrane", 3), ("chromatin", 1)),
        "groups": {"composite": "c1"},
        "metadata": {"dye": "x"},
        "pixel_size_um": 0.2,
    }
    return ImageRecord(**values | changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = (tmp_path / "root").resolve()
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.tif").write_bytes(b"abc")
    (tmp_path / "outside.tif").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize("level", ["fov", "cell"])
@pytest.mark.parametrize("row", [None, 4])
def test_a_record_comes_back_from_its_row(root: Path, level: str, row: int | None) -> None:
    first = record(root / "sub" / "a.tif", level=level, row=row, mask_path=root / "sub" / "a.tif")
    first = replace(first, fov_id="d/f", plate="p", well="A1") if level == "cell" else first
    said = described(first, roots={"r": root})
    stored = image_rows([said | FROM_PIXELS], level).to_pylist()[0]
    again = record_from_row(stored, level=level, roots={"r": root})
    assert again == replace(first, graded=tuple(sorted(first.graded)))
    assert described(again, roots={"r": root}) == said


def test_sources_are_stored_below_their_root(root: Path) -> None:
    said = described(record(root / "sub" / "a.tif"), roots={"other": root.parent / "none", "r": root})
    assert (said["root"], said["sources"]) == ("r", [{"path": "sub/a.tif", "channels": ["nucleus", "protein"]}])


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "linked folder", "mask", "second source"])
def test_a_record_outside_the_declared_roots_is_refused(root: Path, way: str) -> None:
    outside = root.parent / "outside.tif"
    inside = root / "sub" / "a.tif"
    (root / "link.tif").symlink_to(outside)
    (root / "folder").symlink_to(root.parent)
    refused = {
        "absolute": record(outside),
        "dots": record(root / "sub" / ".." / ".." / "outside.tif"),
        "link": record(root / "link.tif"),
        "linked folder": record(root / "folder" / "outside.tif"),
        "mask": record(inside, mask_path=outside),
        "second source": record(inside, sources=(Source(inside, ("nucleus",)), Source(outside, ("protein",)))),
    }[way]
    with pytest.raises(
        ImageRejectedError, match=r"\.tif: lies outside .*/root; declare the folder it is in with --root"
    ):
        described(refused, roots={"r": root})


@pytest.mark.parametrize("path", ["../outside.tif", "sub/../../outside.tif", "/etc/passwd", "link.tif"])
@pytest.mark.parametrize("what", ["sources", "mask"])
def test_a_row_does_not_lead_out_of_its_root(root: Path, path: str, what: str) -> None:
    (root / "link.tif").symlink_to(root.parent / "outside.tif")
    row = image_rows([described(record(root / "sub" / "a.tif"), roots={"r": root}) | FROM_PIXELS], "fov").to_pylist()[0]
    row[what] = path if what == "mask" else [{"path": path, "channels": ["nucleus", "protein"]}]
    with pytest.raises(ImageRejectedError, match=rf"d/a: '{path}' leaves its root"):
        record_from_row(row, level="fov", roots={"r": root})


def test_a_link_is_stored_by_its_own_place_and_may_lead_into_another_declared_root(root: Path, tmp_path: Path) -> None:
    links = tmp_path.resolve() / "links"
    links.mkdir()
    (links / "b.tif").symlink_to(root / "sub" / "a.tif")
    roots = {"r": root, "l": links}
    row = image_rows([described(record(links / "b.tif"), roots=roots) | FROM_PIXELS], "fov").to_pylist()[0]
    assert (row["root"], row["sources"][0]["path"]) == ("l", "b.tif")
    assert record_from_row(row, level="fov", roots=roots).sources[0].path.read_bytes() == b"abc"
    with pytest.raises(ImageRejectedError, match=r"d/a: 'b\.tif' leaves its root"):
        record_from_row(row, level="fov", roots={"l": links})
    with pytest.raises(ImageRejectedError, match=r"b\.tif: lies outside .*/links; declare"):
        described(record(links / "b.tif"), roots={"l": links})
    row["sources"][0]["path"] = "../root/sub/a.tif"  # a place in another root is not one of its own
    with pytest.raises(ImageRejectedError, match="leaves its root"):
        record_from_row(row, level="fov", roots=roots)


def test_a_root_that_became_a_link_still_holds_its_files(root: Path) -> None:
    row = image_rows([described(record(root / "sub" / "a.tif"), roots={"r": root}) | FROM_PIXELS], "fov").to_pylist()[0]
    moved = root.rename(root.parent / "moved")
    root.symlink_to(moved)
    assert record_from_row(row, level="fov", roots={"r": root}).sources[0].path.read_bytes() == b"abc"


def test_a_row_without_image_or_of_an_unknown_root_is_refused_by_id(root: Path) -> None:
    row = image_rows([described(record(root / "sub" / "a.tif"), roots={"r": root}) | FROM_PIXELS], "fov").to_pylist()[0]
    with pytest.raises(ImageRejectedError, match="d/a: its root 'r' is not declared; known: q"):
        record_from_row(row, level="fov", roots={"q": root})
    with pytest.raises(ImageRejectedError, match=r"d/a: has no image \(its vector was imported\)"):
        record_from_row(row | {"sources": []}, level="fov", roots={"r": root})


@pytest.mark.parametrize(
    "changes",
    [
        {"protein": "LMN\udcff"},
        {"metadata": {"x": "\udcff"}},
        {"groups": {"\udcff": "x"}},
        {"pixel_size_um": float("nan")},
    ],
)
def test_texts_and_numbers_that_cannot_be_stored_reject_the_image_and_not_the_run(
    root: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ImageRejectedError, match=r"a\.tif: cannot be stored") as caught:
        described(record(root / "sub" / "a.tif", **changes), roots={"r": root})
    str(caught.value).encode()


@pytest.mark.parametrize("bad", ["", "d/\n", "d/\x7f", "d/\x85"])
def test_an_id_that_no_table_takes_rejects_the_image_and_not_the_run(root: Path, bad: str) -> None:
    with pytest.raises(ImageRejectedError, match="is empty or has control characters"):
        described(record(root / "sub" / "a.tif", id=bad), roots={"r": root})


def test_ids_are_normalised_and_labels_are_sorted_once_each(root: Path) -> None:
    said = described(
        record(
            root / "sub" / "a.tif", id="d/e\u0301", localizations=("b", "a", "b"), graded=(("b", 3), ("a", 1), ("b", 3))
        ),
        roots={"r": root},
    )
    assert (said["id"], said["localizations"]) == ("d/é", ["a", "b"])
    assert said["graded"] == [{"localization": "a", "grade": 1}, {"localization": "b", "grade": 3}]


def test_all_that_a_reader_says_is_compared_or_is_the_key(root: Path) -> None:
    said = described(record(root / "sub" / "a.tif"), roots={"r": root})
    assert set(said) - {"id"} == set(METADATA_COLUMNS)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)


@given(st.dictionaries(texts, texts, max_size=5))
def test_pairs_are_sorted_by_name_and_lose_nothing(values: dict[str, str]) -> None:
    listed = pairs(values)
    assert {p["name"]: p["value"] for p in listed} == values
    assert [p["name"] for p in listed] == sorted(values)


@given(protein=texts, metadata=st.dictionaries(texts, texts, max_size=3))
def test_any_text_survives_the_table(protein: str, metadata: dict[str, str]) -> None:
    row = {"id": "d/a", "dataset": "d", "protein": protein, "metadata": pairs(metadata), "channels": [], "sources": []}
    row |= {"localizations": [], "graded": [], "groups": [], **FROM_PIXELS}
    table = image_rows([row], "fov")
    check_rows(table, FOVS, table="fovs")
    assert table["protein"][0].as_py() == protein
    assert table["metadata"][0].as_py() == pairs(metadata)

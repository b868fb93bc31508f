"""The data sets by name; what all readers have in common."""

import subprocess
import sys
from pathlib import Path

import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.datasets import get_dataset, list_datasets, read_records
from locatlas.indexer.labels import get_vocabulary

NAMES = ["cytoself", "dino4cells", "hpa", "hpa-kaggle", "manifest", "opencell", "scportrait", "synthetic"]


def test_the_list_is_sorted_and_complete() -> None:
    assert [spec.name for spec in list_datasets()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_declares_what_a_user_must_know(name: str) -> None:
    spec = get_dataset(name)
    assert all((spec.title, spec.license, spec.source, spec.layout))
    assert spec.level in ("fov", "cell", "both")
    if spec.vocabulary:
        assert get_vocabulary(spec.vocabulary).labels
    assert (spec.channels == ()) == (name in ("manifest", "scportrait"))


def test_an_unknown_data_set_or_option_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="opencell"):
        list(read_records("open-cell", tmp_path))
    with pytest.raises(UnknownNameError, match=r"annotation.*annotations"):
        list(read_records("opencell", tmp_path, options={"annotation": "x"}))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_root_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no such file or folder"):
        list(read_records(name, tmp_path / "none"))


@pytest.mark.parametrize("name", ["opencell", "hpa", "hpa-kaggle", "cytoself"])
def test_an_empty_folder_holds_nothing_and_a_file_is_no_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    assert list(read_records(name, folder)) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a folder is needed"):
        list(read_records(name, tmp_path / "file"))


def test_a_given_pixel_size_overrides_and_must_be_positive(read, make) -> None:
    root = make("OC-FOV_A_ENSG1_CID1_FID1_proj.tif").parent
    records, _ = read("opencell", root, pixel_size_um=0.2)
    assert [r.pixel_size_um for r in records] == [0.2]
    for bad in (0, -1, "x", float("nan"), float("inf")):
        with pytest.raises(InputError, match="positive"):
            read("opencell", root, pixel_size_um=bad)


def test_an_option_that_names_no_file_is_an_error(read, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="annotations"):
        read("opencell", tmp_path, annotations=tmp_path / "none.csv")


def test_links_out_of_the_root_are_refused_unless_declared(read, make, tmp_path: Path) -> None:
    name = "OC-FOV_A_ENSG1_CID1_FID1_proj.tif"
    outside = make(f"elsewhere/{name}")
    root = tmp_path / "root"
    root.mkdir()
    (root / name).symlink_to(outside)
    records, rejected = read("opencell", root)
    assert not records
    assert "outside the folders" in rejected[0].reason
    assert rejected[0].source == name
    records, rejected = read("opencell", root, roots=[outside.parent])
    assert len(records) == 1
    assert not rejected


def test_broken_and_looping_links_and_fifos_are_refused(read, tmp_path: Path) -> None:
    import os

    names = [f"OC-FOV_A_ENSG1_CID1_FID{i}_proj.tif" for i in range(3)]
    (tmp_path / names[0]).symlink_to(tmp_path / "none")
    (tmp_path / names[1]).symlink_to(tmp_path / names[1])
    os.mkfifo(tmp_path / names[2])
    os.mkfifo(tmp_path / "table.csv")
    records, rejected = read("opencell", tmp_path)
    assert not records
    assert [r.source for r in rejected] == names
    for name in NAMES:
        if name not in ("manifest", "dino4cells", "synthetic"):
            read(name, tmp_path)


def test_looking_at_the_list_loads_no_heavy_library() -> None:
    code = (
        "import sys; from locatlas.indexer.datasets import list_datasets; list_datasets();"
        "print([m for m in ('torch', 'lancedb', 'pyarrow', 'tifffile', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "[]"

"""The manifest: every column, round trips, confinement, and one clear line for what cannot be used."""

import csv
import io
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from locatlas.errors import InputError
from locatlas.indexer.datasets import read_records
from locatlas.indexer.files.images import read_image
from locatlas.indexer.records import ImageRecord


def test_all_columns_of_a_file_per_image(read, make, tmp_path: Path) -> None:
    for file in ("img/a.tif", "img/a_mask.png"):
        make(file)
    make(
        "m.csv",
        "id,path,channels,protein,ensembl_id,localizations,group_plate,group_batch,pixel_size_um,mask_path,antibody,"
        "cell_line,plate,well,treatment\n"
        "a01,img/a.tif,protein;nucleus,LMNB1,ENSG1,nuclear_membrane; er;er,P1,,0.206,img/a_mask.png,HPA1,"
        "HeLa,P1,A1,DMSO\n",
    )
    (record,), rejected = read("manifest", tmp_path / "m.csv")
    assert not rejected
    assert (record.id, record.level, record.channels) == ("manifest/a01", "fov", ("protein", "nucleus"))
    assert (record.protein, record.ensembl_id, record.antibody) == ("LMNB1", "ENSG1", "HPA1")
    assert (record.cell_line, record.plate, record.well) == ("HeLa", "P1", "A1")
    assert record.localizations == ("er", "nuclear_membrane")
    assert record.groups == {"plate": "P1"}  # an empty group is no group
    assert record.metadata == {"treatment": "DMSO"}
    assert record.pixel_size_um == 0.206
    assert record.mask_path == tmp_path / "img" / "a_mask.png"
    assert read_image(record)[0].pixels.shape == (2, 4, 4)


def test_a_cell_says_who_annotated_it_and_a_field_may_not(read, make, tmp_path: Path) -> None:
    make("a.tif")
    make("m.csv", "id,path,channels,level,localizations,annotated_by\n"
         "a,a.tif,nucleus;protein,cell,er,JD\nb,a.tif,nucleus;protein,cell,er,\n"
         "c,a.tif,nucleus;protein,fov,er,JD\n")  # fmt: skip
    records, (rejected,) = read("manifest", tmp_path / "m.csv")
    assert [(r.localizations, r.annotated_by) for r in records] == [(("er",), "JD"), (("er",), None)]
    assert rejected.reason == "annotated_by is for rows of level cell"


def test_masks_of_nuclei_are_confined_like_those_of_cells(read, make, tmp_path: Path) -> None:
    for file in ("root/a.tif", "root/nuclei.png", "out.png"):
        make(file)
    make("root/m.csv", "id,path,channels,nucleus_mask_path\n"
         "a,a.tif,nucleus;protein,nuclei.png\nb,a.tif,nucleus;protein,../out.png\n")  # fmt: skip
    (record,), (rejected,) = read("manifest", tmp_path / "root" / "m.csv")
    assert record.nucleus_mask_path == tmp_path / "root" / "nuclei.png"
    assert rejected.reason.startswith("nucleus_mask_path '../out.png': lies outside the folders")


def test_a_file_per_channel_and_rows_without_some(read, make, tmp_path: Path) -> None:
    for file in ("a_dapi.png", "a_gfp.png", "b_gfp.png"):
        make(file)
    make("m.tsv", "path_nucleus\tpath_protein\tlevel\tfov_id\na_dapi.png\ta_gfp.png\t\t\n\tb_gfp.png\tcell\tf1\n")
    (a, b), rejected = read("manifest", tmp_path / "m.tsv")
    assert not rejected
    assert (a.id, a.channels, a.level) == ("manifest/a", ("nucleus", "protein"), "fov")
    assert (b.id, b.channels, b.level, b.fov_id) == ("manifest/b_gfp", ("protein",), "cell", "manifest/f1")


def test_a_folder_is_read_by_its_manifest(read, make, tmp_path: Path) -> None:
    make("a.tif")
    with pytest.raises(InputError, match=r"holds none of manifest\.csv"):
        read("manifest", tmp_path)
    make("manifest.csv", "path,channels\na.tif,nucleus;protein\n")
    assert len(read("manifest", tmp_path)[0]) == 1
    make("manifest.tsv", "path\tchannels\n")
    with pytest.raises(InputError, match=r"manifest.csv and manifest.tsv; name the manifest's file"):
        read("manifest", tmp_path)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (("cell_1_blue.png", "cell_1_black.png"), "cell_1"),
        (("a.b-nuc.tif", "a.b-pro.tif"), "a.b"),
        (("x.tif.gz",), "x"),
        (("x.png", "x_2.png"), "x"),
        (("img 7 dapi.png", "img 7 gfp.png"), "img 7"),
    ],
)
def test_without_an_id_the_file_names_give_one(names, name: str, read, make, tmp_path: Path) -> None:
    for file in names:
        make(file, b"x")
    header = ",".join(f"path_c{i}" for i in range(len(names)))
    make("m.csv", f"{header}\n{','.join(names)}\n")
    (record,), _ = read("manifest", tmp_path / "m.csv")
    assert record.id == f"manifest/{name}"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("none.tif,nucleus,,fov,", "path 'none.tif': no such file"),
        (",nucleus,,fov,", "path is empty"),
        ("a.tif,,,fov,", "channels is empty"),
        ("a.tif,nucleus;nucleus,,fov,", "named twice"),
        ("a.tif,nuc leus,,fov,", "is no name"),
        ("a.tif,nucleus,abc,fov,", "pixel_size_um 'abc'"),
        ('a.tif,nucleus,"0,2",fov,', "pixel_size_um '0,2'"),
        ("a.tif,nucleus,-1,fov,", "not a positive number"),
        ("a.tif,nucleus,nan,fov,", "not a positive number"),
        ("a.tif,nucleus,,image,", "neither fov nor cell"),
        ("a.tif,nucleus,,fov,none.png", "mask_path 'none.png': no such file"),
        ("sub,nucleus,,fov,", "not a plain file"),
        ("../out.tif,nucleus,,fov,", "outside the folders"),
        ("sub/../../out.tif,nucleus,,fov,", "outside the folders"),
        ("/etc/passwd,nucleus,,fov,", "outside the folders"),
        ("link.tif,nucleus,,fov,", "outside the folders"),
        ("linked/out.tif,nucleus,,fov,", "outside the folders"),
        ("a.tif,nucleus,,fov,../out.tif", "outside the folders"),
        ("~/a.tif,nucleus,,fov,", "no such file"),
        ("a\0.tif,nucleus,,fov,", "NUL"),
        (f"{'x' * 300}.tif,nucleus,,fov,", "cannot be looked at"),
        ("a.tif,nucleus", "2 cells, but the header has 5"),
    ],
)
def test_a_bad_row_is_rejected_and_the_next_one_read(row: str, reason: str, read, make, tmp_path: Path) -> None:
    make("out.tif")
    make("root/a.tif")
    make("root/good.tif")
    (tmp_path / "root/sub").mkdir()
    (tmp_path / "root/link.tif").symlink_to(tmp_path / "out.tif")
    (tmp_path / "root/linked").symlink_to(tmp_path)
    make("root/m.csv", f"path,channels,pixel_size_um,level,mask_path\n{row}\ngood.tif,nucleus;protein,,,\n")
    (record,), (rejected,) = read("manifest", tmp_path / "root" / "m.csv")
    assert record.id == "manifest/good"
    assert rejected.source.startswith("m.csv line 2")
    assert reason in rejected.reason


def test_declared_roots_open_other_folders(read, make, tmp_path: Path) -> None:
    outside = make("elsewhere/a.tif")
    make("root/m.csv", f"path,channels\n{outside},nucleus;protein\n../elsewhere/a.tif,nucleus;protein\n")
    records, rejected = read("manifest", tmp_path / "root" / "m.csv", roots=[tmp_path / "elsewhere"])
    assert [r.sources[0].path for r in records] == [outside]
    assert "already that of" in rejected[0].reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("path", "'path' needs a column 'channels'"),
        ("id,protein", "missing column path"),
        ("path,channels,path_nucleus", "both 'path' and 'path_nucleus'"),
        ("path_nucleus,channels", "belongs to 'path'"),
        ("Path,channels", "must be written 'path'"),
        ("path,channels,Localizations", "must be written 'localizations'"),
        ("path,channels,pixel size um", "must be written 'pixel_size_um'"),
        ("path,channels,group_", "names nothing"),
        ("path,channels,id,id", "appears 2 times"),
        ("path;channels", "semicolons"),
        ("", "empty"),
    ],
)
def test_a_table_that_cannot_be_used_stops_in_one_line(header: str, reason: str, read, make, tmp_path: Path) -> None:
    make("m.csv", f"{header}\n")
    with pytest.raises(InputError, match=rf"m\.csv: .*{re.escape(reason)}"):
        read("manifest", tmp_path / "m.csv")


def test_ids_are_normalised_and_compared_so(read, make, tmp_path: Path) -> None:
    make("a.tif")
    make("m.csv", "id,path,channels\né,a.tif,nucleus;protein\né,a.tif,nucleus;protein\n")
    (record,), (rejected,) = read("manifest", tmp_path / "m.csv")
    assert record.id == "manifest/é"
    assert "already that of" in rejected.reason


def test_control_characters_cannot_be_an_id(read, make, tmp_path: Path) -> None:
    make("a.tif")
    make("m.csv", 'id,path,channels\n"a\nb",a.tif,nucleus;protein\n')
    records, (rejected,) = read("manifest", tmp_path / "m.csv")
    assert not records
    assert "control characters" in rejected.reason


def test_parquet_with_lists_reads_as_the_csv(read, make, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    make("a.tif")
    columns = {"id": ["x"], "path": ["a.tif"], "channels": [["nucleus", "protein"]], "localizations": [["er", "golgi"]]}
    pq.write_table(pa.table({**columns, "pixel_size_um": [0.5], "dose": [3]}), tmp_path / "m.parquet")
    make("m.csv", "id,path,channels,localizations,pixel_size_um,dose\nx,a.tif,nucleus;protein,golgi;er,0.5,3\n")
    assert read("manifest", tmp_path / "m.parquet") == read("manifest", tmp_path / "m.csv")


plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=8)
label = plain.filter(lambda s: ";" not in s)
row = st.fixed_dictionaries(
    {
        "protein": plain,
        "localizations": st.sets(label, max_size=3),
        "group_a_b": plain,
        "pixel_size_um": st.none() | st.floats(1e-3, 1e3),
        "note": plain,
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    rows=st.lists(row, min_size=1, max_size=4),
    delimiter=st.sampled_from(",\t"),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_comes_back(rows, delimiter: str, newline: str) -> None:
    import unicodedata

    names = ["id", "path", "channels", *rows[0]]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline)
    writer.writerow(names)
    for i, values in enumerate(rows):
        size = values["pixel_size_um"]
        text = {
            **values,
            "localizations": ";".join(values["localizations"]),
            "pixel_size_um": "" if size is None else repr(size),
        }
        writer.writerow([f"r{i}", "a.npy", "nucleus", *(text[name] for name in names[3:])])
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "a.npy"), np.zeros((2, 2)))
        Path(folder, "m.csv").write_bytes(b"\xef\xbb\xbf" + out.getvalue().encode())
        records = list(read_records("manifest", Path(folder, "m.csv")))
    assert len(records) == len(rows)
    for record, values in zip(records, rows, strict=True):
        assert isinstance(record, ImageRecord)
        assert record.protein == values["protein"]
        assert record.localizations == tuple(sorted({unicodedata.normalize("NFC", v) for v in values["localizations"]}))
        assert record.groups == {"a_b": values["group_a_b"]}
        assert record.pixel_size_um == values["pixel_size_um"]
        assert record.metadata == {"note": values["note"]}


def test_the_page_documents_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    from locatlas.indexer.datasets import manifest

    page = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text(encoding="utf-8")
    for column in (*manifest.KNOWN, "path_<channel>", "group_<name>"):
        assert f"`{column}`" in page


def test_the_pages_script_makes_a_manifest_of_the_real_cells(read, shared_data: Path, tmp_path, monkeypatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    cells = tmp_path / "cells"
    cells.mkdir()
    for path in (shared_data / "hpa_cells").iterdir():
        (cells / path.name).symlink_to(path)
    monkeypatch.chdir(cells)
    exec(compile(script, "docs/manifest.md", "exec"), {})
    records, rejected = read("manifest", cells / "manifest.csv", roots=[shared_data])
    assert not rejected
    assert len(records) == 485
    assert len({r.groups["composite"] for r in records}) == 54
    assert {r.level for r in records} == {"cell"}
    by_label = [sum(r.localizations == (name,) for r in records) for name in ("Cytosol", "Nucleoplasm", "Mitochondria")]
    assert by_label == [198, 188, 18]
    image, _ = read_image(records[0])
    assert image.pixels.shape == (4, 256, 256)
    assert image.channels == ("microtubules", "protein", "nucleus", "er")

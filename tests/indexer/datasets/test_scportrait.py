"""scPortrait's files: rows read one at a time, masks left out, nothing read that lies in other files."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.files.images import read_image, source_digest
from locatlas.indexer.index import index
from locatlas.indexer.store.tables import Store

N_CELLS, EDGE = 4, 8


@pytest.fixture
def images(rng) -> np.ndarray:
    """Two masks and three channels, float16."""
    out = rng.random((N_CELLS, 5, EDGE, EDGE)).astype(np.float16)
    out[:, :2] = out[:, :2] > 0.5
    return out


@pytest.fixture
def write(tmp_path: Path, images):
    """A file as scPortrait 1.8.0 writes it (io/h5sc.py, numpy_to_h5sc): AnnData's groups, then the images."""

    def make(name: str = "single_cells.h5sc", channels=("DAPI", "GFP", "TRITC"), ids=None, change=None, **columns):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            obs = file.create_group("obs")
            obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            obs.attrs["column-order"] = np.array(["cell_id", *columns], dtype=object)
            obs["_index"] = [str(i) for i in range(N_CELLS)]
            obs["cell_id"] = np.array(ids or [11, 12, 15, 17], dtype=np.uint64)
            for column, values in columns.items():
                if isinstance(values, dict):
                    for part, array in values.items():
                        obs.create_group(column) if column not in obs else None
                        obs[column][part] = array
                else:
                    obs[column] = values
            container = file.create_dataset(
                "obsm/single_cell_images", data=images, chunks=(1, 1, EDGE, EDGE), compression="gzip"
            )
            names = ["seg_all_nucleus", "seg_all_cytosol", *channels]
            kinds = ["mask"] * 2 + ["image_channel"] * len(channels)
            container.attrs.update({"n_cells": N_CELLS, "n_channels": len(names), "n_masks": 2})
            container.attrs["channel_names"] = np.array([n.encode() for n in names])
            container.attrs["channel_mapping"] = np.array([k.encode() for k in kinds])
            if change:
                change(file)
        return path

    return make


def test_each_row_is_a_cell_without_its_masks(read, write, images, tmp_path: Path) -> None:
    path = write("project/extraction/data/single_cells.h5sc")
    records, rejected = read("scportrait", tmp_path, channels="nucleus,protein,-")
    assert not rejected
    assert [r.id for r in records] == [
        f"scportrait/project/extraction/data/single_cells/{n}" for n in (11, 12, 15, 17)
    ]  # fmt: skip
    for record in records:
        assert (record.level, record.channels) == ("cell", ("nucleus", "protein"))
        image, digest = read_image(record)
        np.testing.assert_array_equal(image.pixels, images[record.row, 2:4].astype(np.float32))
        row = hashlib.blake2b(images[record.row].tobytes(), digest_size=16).hexdigest()
        assert digest == source_digest(record) == row
        assert record.sources[0].path == path


def test_channels_that_have_our_names_need_no_option(read, write, images, tmp_path: Path) -> None:
    write(channels=("er", "protein", "nucleus"))
    records, _ = read("scportrait", tmp_path)
    assert {r.channels for r in records} == {("er", "protein", "nucleus")}
    np.testing.assert_array_equal(read_image(records[0])[0].pixels, images[0, 2:].astype(np.float32))


def test_a_file_alone_is_read_too(read, write) -> None:
    records, _ = read("scportrait", write("a.h5sc"), channels="nucleus,protein,er")
    assert [r.id for r in records] == [f"scportrait/a/{n}" for n in (11, 12, 15, 17)]


def test_columns_of_obs_in_all_of_anndatas_encodings(read, write, tmp_path: Path) -> None:
    write(
        protein={"categories": np.array([b"LMNB1", b"NPM1"]), "codes": np.array([0, 1, -1, 0], np.int8)},
        localizations=np.array([b"er;golgi", b"", b"er", b"er"]),
        annotated_by={"values": np.array([b"JD", b"JD", b"x", b"JD"]), "mask": np.array([0, 0, 1, 0], bool)},
        group_donor=np.array([1.0, 2.0, np.nan, 2.5]),
        fov_id=np.array([b"f1"] * 4),
        treated=np.array([True, False, True, True]),
    )
    records, rejected = read("scportrait", tmp_path, channels="nucleus,protein,er")
    assert not rejected
    assert [r.protein for r in records] == ["LMNB1", "NPM1", None, "LMNB1"]
    assert [(r.localizations, r.annotated_by) for r in records] == [
        (("er", "golgi"), "JD"), ((), "JD"), (("er",), None), (("er",), "JD")
    ]  # fmt: skip
    assert [dict(r.groups) for r in records] == [{"donor": "1"}, {"donor": "2"}, {}, {"donor": "2.5"}]
    assert {r.fov_id for r in records} == {"scportrait/f1"}
    assert [r.metadata for r in records] == [{"treated": t} for t in ("True", "False", "True", "True")]


def test_rows_that_were_never_extracted_are_told(read, write, tmp_path: Path) -> None:
    write(ids=[11, 0, 0, 17])
    records, (rejected,) = read("scportrait", tmp_path, channels="nucleus,protein,er")
    assert [r.row for r in records] == [0, 3]
    assert rejected.reason == "2 of 4 rows have cell_id 0: no cell was extracted"


def test_channels_without_a_meaning_are_asked_for(read, write, tmp_path: Path) -> None:
    write()
    records, (rejected,) = read("scportrait", tmp_path)
    assert not records
    assert rejected.source == "single_cells.h5sc"
    assert rejected.reason == (
        "its image channels are called 'DAPI', 'GFP', 'TRITC'; say what they are with the option channels, "
        "e.g. channels=nucleus,protein (- leaves one out)"
    )
    _, (rejected,) = read("scportrait", tmp_path, channels="nucleus,protein")
    assert rejected.reason == "3 image channels (DAPI, GFP, TRITC), but the option channels names 2"
    for wrong in ("nucleus,nucleus,er", "-,-,-", "nucleus,,er"):
        with pytest.raises(InputError, match="name each image channel once"):
            read("scportrait", tmp_path, channels=wrong)


def external(file: h5py.File) -> None:
    del file["obsm/single_cell_images"]
    file["obsm/single_cell_images"] = h5py.ExternalLink("/elsewhere.h5", "/x")


def external_obs(file: h5py.File) -> None:
    file["obs/secret"] = h5py.ExternalLink("/elsewhere.h5", "/x")


def raw_elsewhere(file: h5py.File) -> None:
    del file["obsm/single_cell_images"]
    file.create_dataset("obsm/single_cell_images", (4, 5, 8, 8), "u1", external=[("/etc/passwd", 0, 1280)])


def virtual(file: h5py.File) -> None:
    del file["obsm/single_cell_images"]
    layout = h5py.VirtualLayout((4, 5, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("/elsewhere.h5", "x", (4, 5, 8, 8))
    file["obsm"].create_virtual_dataset("single_cell_images", layout)


def huge(file: h5py.File) -> None:
    del file["obsm/single_cell_images"]
    file.create_dataset("obsm/single_cell_images", (4, 5, 1 << 20, 1 << 20), "f2", chunks=(1, 1, 64, 64))


def emptied(name: str):
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def unnamed(file: h5py.File) -> None:
    del file["obsm/single_cell_images"].attrs["channel_names"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (external, "single_cell_images is a link to elsewhere, which is not followed"),
        (external_obs, "secret is a link to elsewhere, which is not followed"),
        (raw_elsewhere, "single_cell_images is kept in other files, which are not read"),
        (virtual, "single_cell_images is kept in other files, which are not read"),
        (huge, "too large"),
        (emptied("obsm"), "no scPortrait file: obsm is missing in '/'"),
        (emptied("obs/cell_id"), "obs has no column cell_id"),
        (unnamed, "5 channels, but 0 channel_names and 5 entries of channel_mapping"),
    ],
)
def test_what_is_no_scportrait_file_or_refers_to_others_is_refused(change, reason: str, read, write, tmp_path) -> None:
    write("bad.h5sc", change=change)
    write("good.h5sc")
    records, (rejected,) = read("scportrait", tmp_path, channels="nucleus,protein,er")
    assert {r.sources[0].path.name for r in records} == {"good.h5sc"}
    assert rejected.source == "bad.h5sc"
    assert rejected.reason.startswith(reason)


def test_other_bytes_and_cut_off_files_are_refused(read, write, tmp_path: Path) -> None:
    whole = write("a.h5sc").read_bytes()
    (tmp_path / "cut.h5sc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5sc").write_bytes(b"no HDF5")
    records, rejected = read("scportrait", tmp_path, channels="nucleus,protein,er")
    assert len(records) == N_CELLS
    assert [(r.source, r.reason.split(":")[0]) for r in rejected] == [
        ("cut.h5sc", "cannot be decoded"), ("text.h5sc", "not an HDF5 file")
    ]  # fmt: skip


def test_a_row_that_is_gone_names_the_file_once(read, write, tmp_path: Path) -> None:
    path = write()
    records, _ = read("scportrait", tmp_path, channels="nucleus,protein,er")
    with h5py.File(path, "a") as file:
        del file["obsm/single_cell_images"]
        file["obsm/single_cell_images"] = np.zeros((2, 5, 8, 8), np.float16)
    with pytest.raises(ImageRejectedError) as raised:
        read_image(records[3])
    assert str(raised.value) == f"{path}: has no image 3: 2 cells"


def test_an_atlas_of_it_is_done_in_one_run(plain, write, tmp_path: Path) -> None:
    write("source/a.h5sc")
    for embedded, skipped in ((N_CELLS, 0), (0, N_CELLS)):
        summary = index(tmp_path / "source", atlas=tmp_path / "atlas", dataset="scportrait",
                        options={"channels": "nucleus,protein,er"})  # fmt: skip
        assert (summary.embedded, summary.skipped) == (embedded, skipped)
    rows = Store.open(tmp_path / "atlas").read("cells").to_pylist()
    assert {tuple(row["channels"]) for row in rows} == {("nucleus", "protein", "er")}
    assert [row["row"] for row in sorted(rows, key=lambda row: row["id"])] == [0, 1, 2, 3]

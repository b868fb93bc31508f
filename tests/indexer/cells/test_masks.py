"""Label images: every format gives the numbers as they are, and what is no label image is refused in one line."""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.masks import read_label_image
from locatlas.indexer.cells.regions import regions_of

LABELS = np.array([[0, 0, 7, 7], [3, 0, 7, 0], [3, 3, 0, 200]])  # holes in the numbering


def png(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    if mode == "P":
        image = Image.fromarray(array.astype(np.uint8)).convert("L")
        image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(path)
    return path


def read(path: Path, shape: tuple[int, int] = LABELS.shape, **options: bool) -> np.ndarray:
    return read_label_image(path, height=shape[0], width=shape[1], **options)


def refused(path: Path, reason: str, shape: tuple[int, int] = LABELS.shape) -> None:
    with pytest.raises(ImageRejectedError, match=reason) as raised:
        read(path, shape)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("m.tif", t) for t in ("uint8", "uint16", "uint32", "int32", "float32")),
        *(("m.npy", t) for t in ("uint8", "int32", "int64", "uint64", "float64", ">u2")),
        ("m.npz", "int32"),
        ("m.png", "uint8"),
        ("m.png", "uint16"),
        ("palette.png", "uint8"),
        ("grey as colour.png", "uint8"),
        ("grey as colour.tif", "uint8"),
    ],
)
def test_numbers_are_read_as_they_stand(name: str, dtype: str, tmp_path: Path) -> None:
    path, array = tmp_path / name, LABELS.astype(dtype)
    if "colour" in name:
        array = np.repeat(array[..., None], 3, axis=-1)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 else "minisblack")
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, array)
    else:
        png(path, array, "P" if "palette" in name else None)
    found = read(path)
    np.testing.assert_array_equal(found, LABELS)
    assert found.dtype.kind in "ui"
    assert [region.name for region in regions_of(found)] == ["3", "7", "200"]


@given(
    npst.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 2, 3, 60000])),
    st.sampled_from([".png", ".tif", ".npy", ".npz"]),
)
@settings(max_examples=60)
def test_any_label_image_comes_back(array: np.ndarray, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"m{suffix}")
        {".png": png, ".tif": tifffile.imwrite, ".npy": np.save, ".npz": np.savez}[suffix](path, array)
        np.testing.assert_array_equal(read(path, array.shape), array)


def test_an_inverted_display_and_axes_of_one_do_not_change_the_numbers(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "inverted.tif", LABELS.astype(np.uint8), photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "inverted.tif"), LABELS)
    np.save(tmp_path / "three.npy", LABELS[None, ..., None])
    np.testing.assert_array_equal(read(tmp_path / "three.npy"), LABELS)


def test_a_mask_of_another_size_is_told_with_both_sizes(tmp_path: Path) -> None:
    refused(
        png(tmp_path / "m.png", LABELS.astype(np.uint8)),
        "a mask of 3 x 4 px for an image of 600 x 400 px; the two must have one size",
        (600, 400),
    )


def test_a_mask_of_background_only_has_no_cells(tmp_path: Path) -> None:
    found = read(png(tmp_path / "m.png", np.zeros(LABELS.shape, np.uint16)))
    assert regions_of(found) == []


def test_one_cell_as_large_as_the_image(tmp_path: Path) -> None:
    (cell,) = regions_of(read(png(tmp_path / "m.png", np.full((5, 6), 1, np.uint8)), (5, 6)))
    assert (cell.name, cell.area_px, cell.place.box) == ("1", 30, (0, 0, 5, 6))
    assert cell.place.touches_border


def test_touching_cells_stay_apart(tmp_path: Path) -> None:
    array = np.zeros((4, 6), np.uint8)
    array[:, :3], array[:, 3:] = 1, 2
    cells = regions_of(read(png(tmp_path / "m.png", array), (4, 6)))
    assert [(c.name, c.area_px, c.place.box) for c in cells] == [("1", 12, (0, 0, 4, 3)), ("2", 12, (0, 3, 4, 6))]


@pytest.mark.parametrize(
    ("value", "corners", "why"),
    [
        (255, [(0, 0), (5, 5)], r"holds only 0 and 255 \(2 pieces\): it tells foreground from background"),
        (255, [(2, 2)], r"holds only 0 and 255 \(1 piece\)"),
        (1, [(0, 0), (5, 5)], r"holds only 0 and 1 \(2 pieces\).*give a label image with a number for each cell"),
        (1, [(2, 2)], None),  # what a field with one cell looks like
        (17, [(0, 0), (5, 5)], None),  # one cell in two parts, by its number
    ],
)
def test_a_foreground_mask_is_no_label_image(value: int, corners, why: str | None, tmp_path: Path) -> None:
    array = np.zeros((8, 8), np.uint8)
    for row, column in corners:
        array[row : row + 2, column : column + 2] = value
    path = png(tmp_path / "m.png", array)
    if why is None:
        assert [cell.name for cell in regions_of(read(path, (8, 8)))] == [str(value)]
    else:
        refused(path, why, (8, 8))
        np.testing.assert_array_equal(read(path, (8, 8), binary=True), array)  # nuclei are looked up in the cells


def test_cells_that_touch_at_a_corner_are_one_piece_of_foreground(tmp_path: Path) -> None:
    path = png(tmp_path / "m.png", np.eye(6, dtype=np.uint8))
    assert len(regions_of(read(path, (6, 6)))) == 1


def test_bits_are_a_foreground_mask(tmp_path: Path) -> None:
    corners = np.zeros((6, 6), dtype=bool)
    corners[0, 0] = corners[5, 5] = True
    np.save(tmp_path / "m.npy", corners)
    refused(tmp_path / "m.npy", "holds only 0 and 1", (6, 6))


def colour(path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 4, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="png")


def jpeg(path: Path) -> None:
    Image.fromarray(LABELS.astype(np.uint8)).save(path, format="jpeg")


def two_arrays(path: Path) -> None:
    np.savez(path, cells=LABELS, nuclei=LABELS)


def pickled(path: Path) -> None:
    np.savez(path, np.array([{"run": "me"}], dtype=object))


def bomb(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: colour(p, "RGB"), r"in colour \(3 samples a pixel\), so the numbers of the cells are lost"),
        (lambda p: colour(p, "RGBA"), r"in colour \(4 samples"),
        (lambda p: tifffile.imwrite(p, np.arange(36, dtype=np.uint8).reshape(3, 4, 3), photometric="rgb"), "in colour"),
        (jpeg, "a JPEG, which changes the numbers of cells"),
        (lambda p: tifffile.imwrite(p, np.zeros((2, 3, 4), np.uint16), photometric="minisblack"), r"shape \(2, 3, 4\)"),
        (lambda p: np.save(p.with_suffix(""), np.zeros((2, 3, 4))), "no such file"),
        (
            lambda p: tifffile.imwrite(p, LABELS + np.float32(0.5)),
            r"not whole or too large, e.g. 0.5 at row 0, column 0",
        ),
        (lambda p: tifffile.imwrite(p, np.full((3, 4), np.nan, np.float32)), "not whole"),
        (lambda p: tifffile.imwrite(p, LABELS.astype(np.int32) - 1), "holds -1; cells have positive numbers"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: p.write_bytes(b"GIF89a"), r"not a mask that can be read \(PNG, TIFF, npy or npz\)"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30)), "image is empty"),
        (two_arrays, r"an archive of 2 files \(cells.npy, nuclei.npy\); an npz of one array is needed"),
        (pickled, "Object arrays cannot be loaded"),
        (bomb, "too large"),
    ],
)
def test_what_is_no_label_image_is_refused_in_one_line(make, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mask"
    if make in (two_arrays, pickled):
        path = tmp_path / "mask.npz"
    make(path)
    refused(path, reason)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".npz"])
def test_damaged_files_are_refused_or_read_but_never_break(suffix: str, tmp_path: Path) -> None:
    good, bad = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
    {".png": png, ".tif": tifffile.imwrite, ".npy": np.save, ".npz": np.savez_compressed}[suffix](
        good, LABELS.astype(np.uint16)
    )
    whole, rng, messages = good.read_bytes(), np.random.default_rng(1), []
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: int(rng.integers(1, len(whole)))]
        else:
            for at in rng.integers(0, len(whole), 4):
                damaged[at] = int(rng.integers(0, 256))
        bad.write_bytes(damaged)
        try:
            read(bad)
        except ImageRejectedError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(message.startswith(f"{bad}: ") and "\n" not in message for message in messages)

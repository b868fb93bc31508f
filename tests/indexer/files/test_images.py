"""Real files of every kind read as what they are."""

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.images import image_header, read_image, source_digest
from locatlas.indexer.records import ImageRecord, Source

TWO = ("nucleus", "protein")
FOUR = ("microtubules", "protein", "nucleus", "er")


def record(*sources: tuple[Path, tuple[str, ...]], row: int | None = None) -> ImageRecord:
    return ImageRecord(
        id="made/x", level="fov", dataset="made", sources=tuple(Source(p, c) for p, c in sources), row=row
    )


def pixels_of(path: Path, channels: tuple[str, ...] = TWO, row: int | None = None) -> NDArray[np.generic]:
    return read_image(record((path, channels), row=row))[0].pixels


@pytest.fixture
def noise(rng: np.random.Generator) -> NDArray[np.uint16]:
    return rng.integers(0, 65536, (4, 40, 50), dtype=np.uint16)


def tiff_bytes(array: NDArray[np.generic], **how: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **how)
    return out.getvalue()


class TestGoodFiles:
    @pytest.mark.parametrize(
        "how",
        [
            {"imagej": True, "metadata": {"axes": "CYX"}},
            {"ome": True, "metadata": {"axes": "CYX"}},
            {"metadata": None, "photometric": "minisblack"},
            {"photometric": "minisblack", "compression": "zlib"},
            {"photometric": "minisblack", "tile": (16, 16), "compression": "lzw"},
            {"bigtiff": True, "photometric": "minisblack"},
            {"byteorder": ">", "photometric": "minisblack"},
            {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unspecified"]},
        ],
        ids=str,
    )
    def test_four_planes_come_back_in_order_however_the_tiff_was_written(self, how, noise, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise, **how)
        image, digest = read_image(record((path, FOUR)))
        np.testing.assert_array_equal(image.pixels, noise)
        assert image.pixels.dtype == np.uint16
        assert image.channels == FOUR
        assert digest == hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()

    def test_gzipped_tiff_reads_as_the_tiff(self, noise, tmp_path: Path) -> None:
        path = tmp_path / "a.tif.gz"
        path.write_bytes(gzip.compress(tiff_bytes(noise[0])))
        np.testing.assert_array_equal(pixels_of(path, ("protein",)), noise[:1])

    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("how", ["imagej", "ome"])
    def test_a_stack_is_projected_by_maximum(self, how, compression, rng, tmp_path: Path) -> None:
        stack = rng.integers(0, 65536, (5, 2, 30, 20), dtype=np.uint16)
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, stack, **{how: True}, metadata={"axes": "ZCYX"}, compression=compression)
        np.testing.assert_array_equal(pixels_of(path), stack.max(axis=0))

    def test_a_stack_with_channels_outside_is_projected_too(self, rng, tmp_path: Path) -> None:
        stack = rng.integers(0, 65536, (2, 5, 30, 20), dtype=np.uint16)
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, stack, ome=True, metadata={"axes": "CZYX"})
        np.testing.assert_array_equal(pixels_of(path), stack.max(axis=1))

    def test_a_stack_is_never_held_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, np.ones((9, 2, 16, 16), np.uint16), imagej=True, metadata={"axes": "ZCYX"})

        def forbidden(*_args: object, **_kwargs: object) -> None:
            raise AssertionError("the whole stack was read")

        monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", forbidden)
        assert pixels_of(path).shape == (2, 16, 16)

    @pytest.mark.parametrize("edge", [1, 2, 17])
    def test_tiny_images_are_legal(self, edge: int, tmp_path: Path) -> None:
        path = tmp_path / "tiny.tif"
        tifffile.imwrite(path, np.full((edge, edge), 7, np.uint16))
        assert pixels_of(path, ("protein",)).shape == (1, edge, edge)

    def test_a_constant_image_of_3072_px_is_legal(self, tmp_path: Path) -> None:
        path = tmp_path / "flat.tif"
        tifffile.imwrite(path, np.zeros((3072, 3072), np.uint16), compression="zlib")
        assert path.stat().st_size * 200 < 3072 * 3072 * 2  # more than the ratio allowed for large files
        assert pixels_of(path, ("protein",)).shape == (1, 3072, 3072)

    @pytest.mark.parametrize(
        ("stored", "read"), [("uint8", "uint8"), ("uint16", "uint16"), ("float32", "float32"), ("float64", "float32")]
    )
    def test_intensities_keep_their_values(self, stored: str, read: str, tmp_path: Path) -> None:
        values = (np.arange(12).reshape(3, 4) / (16 if stored.startswith("f") else 1)).astype(stored)
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, values)
        found = pixels_of(path, ("protein",))
        assert found.dtype == np.dtype(read)
        np.testing.assert_array_equal(found[0], values.astype(read))

    def test_nan_pixels_are_read_as_they_are(self, tmp_path: Path) -> None:
        path = tmp_path / "nan.tif"
        tifffile.imwrite(path, np.array([[np.nan, 1.0]], np.float32))
        np.testing.assert_array_equal(pixels_of(path, ("protein",)), [[[np.nan, 1.0]]])

    def test_white_is_zero_is_turned_round(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.array([[0, 255, 10]], np.uint8), photometric="miniswhite")
        assert pixels_of(path, ("protein",)).tolist() == [[[255, 0, 245]]]

    def test_content_decides_and_not_the_name(self, rng, tmp_path: Path) -> None:
        grey = rng.integers(0, 256, (8, 9), dtype=np.uint8)
        path = tmp_path / "a.jpg"
        Image.fromarray(grey).save(path, "PNG")
        np.testing.assert_array_equal(pixels_of(path, ("protein",))[0], grey)
        as_jpeg = tmp_path / "b.png"
        Image.fromarray(grey).save(as_jpeg, "JPEG")
        with Image.open(as_jpeg) as decoded:
            np.testing.assert_array_equal(pixels_of(as_jpeg, ("protein",))[0], np.asarray(decoded))

    def test_png_keeps_16_bits_in_grey_and_in_colour(self, noise, tmp_path: Path) -> None:
        import imagecodecs

        grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
        Image.fromarray(noise[0]).save(grey)
        np.testing.assert_array_equal(pixels_of(grey, ("protein",))[0], noise[0])
        colour.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(np.moveaxis(noise, 0, -1))))
        np.testing.assert_array_equal(pixels_of(colour, FOUR), noise)

    def test_a_colour_file_of_three_declared_channels_gives_its_planes(self, rng, tmp_path: Path) -> None:
        rgb = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        png, tif = tmp_path / "a.png", tmp_path / "a.tif"
        Image.fromarray(rgb).save(png)
        tifffile.imwrite(tif, rgb, photometric="rgb")
        for path in (png, tif):
            np.testing.assert_array_equal(pixels_of(path, FOUR[:3]), np.moveaxis(rgb, -1, 0))

    def test_npy_reads_one_image_or_the_row_asked_for(self, noise, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, noise)
        np.testing.assert_array_equal(pixels_of(path, FOUR), noise)
        np.testing.assert_array_equal(pixels_of(path, ("protein",), row=2)[0], noise[2])

    def test_mixed_integer_types_become_fractions_of_their_range(self, tmp_path: Path) -> None:
        a, b = tmp_path / "a.tif", tmp_path / "b.tif"
        tifffile.imwrite(a, np.array([[0, 255]], np.uint8))
        tifffile.imwrite(b, np.array([[13107, 65535]], np.uint16))
        image, _ = read_image(record((a, ("nucleus",)), (b, ("protein",))))
        np.testing.assert_allclose(image.pixels, [[[0, 1]], [[0.2, 1]]], rtol=1e-6)
        assert image.pixels.dtype == np.float32


class TestDigest:
    def test_several_sources_combine_in_order_and_without_decoding(self, noise, tmp_path: Path) -> None:
        paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
        for path, plane in zip(paths, noise, strict=False):
            tifffile.imwrite(path, plane)
        both = record((paths[0], ("nucleus",)), (paths[1], ("protein",)))
        swapped = record((paths[1], ("nucleus",)), (paths[0], ("protein",)))
        raw = b"".join(hashlib.blake2b(p.read_bytes(), digest_size=16).digest() for p in paths)
        assert read_image(both)[1] == source_digest(both) == hashlib.blake2b(raw, digest_size=16).hexdigest()
        assert read_image(swapped)[1] != read_image(both)[1]

    def test_rows_of_one_array_have_their_own(self, noise, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, noise)
        digests = [source_digest(record((path, ("protein",)), row=row)) for row in range(4)]
        assert len(set(digests)) == 4
        assert digests[1] == read_image(record((path, ("protein",)), row=1))[1]

    def test_any_flipped_bit_changes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        data = bytearray(tiff_bytes(np.zeros((4, 4), np.uint8)))
        path.write_bytes(data)
        before = source_digest(record((path, ("protein",))))
        data[-1] ^= 1
        path.write_bytes(data)
        assert source_digest(record((path, ("protein",)))) != before


class TestColoursOfAStain:
    @pytest.mark.parametrize(
        ("channel", "planes_of_stain"), [("microtubules", [0]), ("protein", [1]), ("nucleus", [2]), ("er", [0, 1])]
    )
    def test_each_stain_is_taken_from_its_colour(self, channel, planes_of_stain, tmp_path: Path) -> None:
        rgb = np.full((4, 4, 3), 2, np.uint8)  # what JPEG lets through
        rgb[1:3, 1:3, planes_of_stain] = 201
        path = tmp_path / "a.png"
        Image.fromarray(rgb).save(path)
        expected = np.full((4, 4), 2)
        expected[1:3, 1:3] = 201
        np.testing.assert_array_equal(pixels_of(path, (channel,))[0], expected)

    def test_grey_saved_as_colour_is_read_for_any_channel(self, rng, tmp_path: Path) -> None:
        grey = rng.integers(0, 256, (5, 5), dtype=np.uint8)
        path = tmp_path / "a.png"
        Image.fromarray(np.stack([grey] * 3 + [np.full_like(grey, 255)], axis=-1)).save(path)
        np.testing.assert_array_equal(pixels_of(path, ("actin",))[0], grey)

    def test_a_stain_in_the_colour_of_another_is_refused(self, tmp_path: Path) -> None:
        rgb = np.zeros((4, 4, 3), np.uint8)
        rgb[..., 0] = 90
        path = tmp_path / "a_green.png"
        Image.fromarray(rgb).save(path)
        with pytest.raises(
            ImageRejectedError, match=r"a_green\.png: channel 'protein' is expected in G.*brightest in R"
        ):
            pixels_of(path, ("protein",))

    def test_a_colour_of_unknown_meaning_is_refused(self, rng, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).save(path)
        with pytest.raises(ImageRejectedError, match="one channel 'actin'"):
            pixels_of(path, ("actin",))

    def test_transparency_is_refused(self, rng, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(rng.integers(0, 256, (5, 5, 4), dtype=np.uint8)).save(path)
        with pytest.raises(ImageRejectedError, match="transparency"):
            pixels_of(path, ("protein",))


class TestHeader:
    def test_a_resolution_without_a_unit_is_no_pixel_size(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.zeros((2, 6, 5), np.uint16), imagej=True, resolution=(1, 1), metadata={"axes": "CYX"})
        assert image_header(path) == (6, 5, None)

    def test_imagejs_micron_is_one(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        metadata = {"axes": "CYX", "unit": "um"}
        tifffile.imwrite(path, np.zeros((2, 6, 5), np.uint16), imagej=True, resolution=(5, 5), metadata=metadata)
        header = image_header(path)
        assert header is not None
        assert header[2] == pytest.approx(0.2)

    def test_png_and_jpeg_have_a_size(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(path)
        assert image_header(path) == (6, 5, None)


class TestRealImages:
    def test_a_camera_field_is_one_uint16_plane(self, shared_data: Path) -> None:
        path = shared_data / "opencell" / "nucleus_fov_uint16.tif"
        found = pixels_of(path, ("nucleus",))
        assert found.shape == (1, 1024, 1024)
        assert (int(found.min()), int(found.max())) == (288, 9640)  # the data's README
        with pytest.raises(ImageRejectedError, match=r"1 plane .*2 channels"):
            pixels_of(path, TWO)

    def test_hpas_jpegs_give_the_plane_of_their_stain(self, shared_data: Path) -> None:
        folder = shared_data / "hpa_named"
        colours = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}
        sources = [(folder / f"800_A6_1_{colour}.jpg", (stain,)) for stain, colour in colours.items()]
        image, _ = read_image(record(*sources))
        assert image.pixels.shape == (4, 2048, 2048)
        for plane, (path, (stain,)) in zip(image.pixels, sources, strict=True):
            with Image.open(path) as jpeg:
                rgb = np.asarray(jpeg).astype(int)
            expected = (
                (rgb[..., 0] + rgb[..., 1] + 1) // 2 if stain == "er" else rgb[..., {"m": 0, "p": 1, "n": 2}[stain[0]]]
            )
            np.testing.assert_array_equal(plane, expected)

    def test_float_cells_stay_in_the_unit_range(self, shared_data: Path) -> None:
        for path in sorted((shared_data / "hpa_named").glob("*/*.tif")):
            found = pixels_of(path, ("protein",))
            assert found.dtype == np.float32
            assert 0 <= float(found.min()) < float(found.max()) <= 1

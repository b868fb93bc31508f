"""Real files of every kind read as what they are, and a corpus of bad ones refused with a reason."""

import gzip
import hashlib
import io
import os
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


def bad(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


class TestBadFiles:
    @pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
    def test_a_truncated_tiff_never_reads_as_a_smaller_one(self, compression, share, rng, tmp_path: Path) -> None:
        whole = tiff_bytes(
            rng.integers(0, 256, (4, 64, 64), dtype=np.uint8), compression=compression, photometric="minisblack"
        )
        path = bad(tmp_path, "cut.tif", whole[: int(len(whole) * share)])
        for channels in (FOUR, ("protein",)):  # one channel: the count alone would let (64, 64) through
            with pytest.raises(ImageRejectedError, match=r"cut\.tif: "):
                pixels_of(path, channels)

    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("how", [{"imagej": True}, {"ome": True}, {}], ids=str)
    def test_a_truncated_stack_never_reads_as_a_shorter_one(self, how, compression, rng, tmp_path: Path) -> None:
        """One channel is declared, so that only the missing slices can tell."""
        stack = rng.integers(0, 65536, (6, 20, 20), dtype=np.uint16)
        whole = tiff_bytes(stack, photometric="minisblack", compression=compression, metadata={"axes": "ZYX"}, **how)
        for share in (0.1, 0.2, 0.4, 0.6):
            path = bad(tmp_path, "cut.tif", whole[: int(len(whole) * share)])
            with pytest.raises(ImageRejectedError, match=r"cut\.tif: "):
                pixels_of(path, ("protein",))
        for cut in range(1, len(whole) // 3, 101):
            path = bad(tmp_path, "cut.tif", whole[:-cut])
            try:
                found = pixels_of(path, ("protein",))
            except ImageRejectedError:
                continue
            # ImageJ's pixels stand before the list of pages, so they can be whole in a file that is not
            np.testing.assert_array_equal(found[0], stack.max(axis=0))
        np.testing.assert_array_equal(pixels_of(bad(tmp_path, "x.tif", whole), ("protein",))[0], stack.max(axis=0))

    def test_a_damaged_file_read_beside_good_ones_harms_only_itself(self, rng, tmp_path: Path) -> None:
        """tifffile's log is shared by all threads."""
        from concurrent.futures import ThreadPoolExecutor

        whole = tiff_bytes(
            rng.integers(0, 256, (2, 64, 64), dtype=np.uint8), photometric="minisblack", compression="zlib"
        )
        paths = [bad(tmp_path, f"{i}.tif", whole[: len(whole) // 2] if i % 3 == 0 else whole) for i in range(60)]

        def outcome(path: Path) -> bool:
            try:
                return pixels_of(path).shape == (2, 64, 64)
            except ImageRejectedError:
                return False

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(outcome, paths)) == [i % 3 != 0 for i in range(60)]

    @pytest.mark.parametrize("share", [0.01, 0.2, 0.6, 0.95])
    @pytest.mark.parametrize("kind", ["png", "jpeg", "gz", "npy"])
    def test_other_truncated_files_are_refused(self, kind: str, share: float, rng, tmp_path: Path) -> None:
        grey, out = rng.integers(0, 256, (64, 64), dtype=np.uint8), io.BytesIO()
        if kind == "gz":
            out.write(gzip.compress(tiff_bytes(grey)))
        elif kind == "npy":
            np.save(out, grey)
        else:
            Image.fromarray(grey).save(out, kind)
        path = bad(tmp_path, "cut", out.getvalue()[: int(len(out.getvalue()) * share)])
        with pytest.raises(ImageRejectedError, match="cut: "):
            pixels_of(path, ("protein",))

    @pytest.mark.parametrize(
        ("array", "how", "channels", "reason"),
        [
            (np.zeros((3, 8, 8), np.uint16), {"photometric": "minisblack"}, TWO, "3 planes.*2 channels"),
            (np.zeros((8, 8), np.uint16), {}, TWO, "1 plane .*2 channels"),
            (np.zeros((2, 8, 8), np.uint16), {"photometric": "minisblack"}, ("protein",), "2 planes.*1 channel "),
            (np.zeros((5, 2, 8, 8), np.uint16), {"imagej": True, "metadata": {"axes": "TCYX"}}, TWO, "5 time points"),
            (np.zeros((2, 8, 8), np.uint16), {"ome": True, "metadata": {"axes": "ZYX"}}, TWO, "1 plane .*ZYX"),
            (np.zeros((2, 2, 8, 8), np.uint16), {"photometric": "minisblack"}, TWO, "ambiguous axes QQYX"),
            (np.zeros((8, 8), np.complex64), {}, ("protein",), "not intensities"),
            (np.array([[-5, 3]], np.int16), {}, ("protein",), "from -5 to 3 do not fit"),
            (np.array([[70000]], np.uint32), {}, ("protein",), "do not fit uint16"),
        ],
    )
    def test_what_does_not_fit_its_declaration_is_refused(self, array, how, channels, reason, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, array, **how)
        with pytest.raises(ImageRejectedError, match=reason):
            pixels_of(path, channels)

    def test_two_images_of_different_size_in_one_tiff_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as out:
            out.write(np.zeros((8, 8), np.uint8))
            out.write(np.zeros((4, 4), np.uint8))
        with pytest.raises(ImageRejectedError, match="2 images of different kinds"):
            pixels_of(path, ("protein",))

    def test_channels_of_different_size_are_refused_naming_both(self, tmp_path: Path) -> None:
        a, b = tmp_path / "a.tif", tmp_path / "b.tif"
        tifffile.imwrite(a, np.zeros((8, 8), np.uint8))
        tifffile.imwrite(b, np.zeros((8, 9), np.uint8))
        with pytest.raises(ImageRejectedError, match=r"b\.tif: 8 x 9 pixels, but a\.tif has 8 x 8"):
            read_image(record((a, ("nucleus",)), (b, ("protein",))))

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "empty"),
            (b"hello world", "not an image"),
            (b"II*\0", "cannot be decoded"),
            (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
            (b"\xff\xd8\xff", "cannot be decoded"),
            (b"GIF89a" + bytes(20), "not an image"),
            (b"PK\x03\x04" + bytes(20), "not an image"),
            (gzip.compress(b"hello", mtime=0), "not a TIFF"),
        ],
    )
    def test_what_is_no_image_is_named(self, data: bytes, reason: str, tmp_path: Path) -> None:
        with pytest.raises(ImageRejectedError, match=rf"x\.tif: .*{reason}"):
            pixels_of(bad(tmp_path, "x.tif", data))

    def test_folders_fifos_and_missing_files_are_refused_without_waiting(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo.tif"
        os.mkfifo(fifo)
        for path, reason in ((tmp_path, "folder"), (fifo, "plain file"), (tmp_path / "none.tif", "no such file")):
            with pytest.raises(ImageRejectedError, match=reason):
                pixels_of(path)
            assert image_header(path) is None

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_without_permission_is_refused(self, tmp_path: Path) -> None:
        path = bad(tmp_path, "x.tif", tiff_bytes(np.zeros((4, 4), np.uint8)))
        path.chmod(0)
        with pytest.raises(ImageRejectedError, match="may not be read"):
            pixels_of(path)

    def test_object_arrays_are_not_unpickled(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.array([{"a": 1}], dtype=object))
        with pytest.raises(ImageRejectedError, match="Python objects"):
            pixels_of(path)

    def test_a_row_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.zeros((3, 4, 4), np.uint8))
        with pytest.raises(ImageRejectedError, match="no image 3"):
            pixels_of(path, ("protein",), row=3)

    def test_random_damage_is_refused_or_read_with_all_channels(self, noise, tmp_path: Path) -> None:
        """Never another exception, never another number of planes."""
        rng = np.random.default_rng(7)
        wholes = [
            tiff_bytes(noise[:2], imagej=True, metadata={"axes": "CYX"}),
            tiff_bytes(noise[:2], ome=True, metadata={"axes": "CYX"}),
            tiff_bytes(noise[:2], compression="zlib", photometric="minisblack"),
        ]
        outcomes = set()
        for whole in wholes:
            for _ in range(60):
                data = bytearray(whole)
                data[rng.integers(0, 400)] = rng.integers(0, 256)
                path = bad(tmp_path, "x.tif", bytes(data))
                try:
                    outcomes.add(str(pixels_of(path).shape[0]))
                except ImageRejectedError as error:
                    outcomes.add("refused" if "x.tif: " in str(error) and "\n" not in str(error) else str(error))
        assert outcomes == {"refused", "2"}


class TestLimits:
    def test_a_header_of_a_huge_image_is_refused_before_allocating(self, tmp_path: Path) -> None:
        data = bytearray(tiff_bytes(np.zeros((8, 8), np.uint8), metadata=None))
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as tif:
            offsets = [tif.pages[0].tags[tag].valueoffset for tag in ("ImageWidth", "ImageLength", "RowsPerStrip")]
        for offset in offsets:
            data[offset : offset + 2] = (60000).to_bytes(2, "little")
        with pytest.raises(ImageRejectedError, match=r"too large: 60000 x 60000"):
            pixels_of(bad(tmp_path, "bomb.tif", bytes(data)), ("protein",))

    def test_a_png_header_of_a_huge_image_is_refused(self, tmp_path: Path) -> None:
        out = io.BytesIO()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(out, "PNG")
        data = bytearray(out.getvalue())
        data[16:24] = (40000).to_bytes(4, "big") * 2
        with pytest.raises(ImageRejectedError, match="too large"):
            pixels_of(bad(tmp_path, "bomb.png", bytes(data)), ("protein",))

    def test_expansion_beyond_the_ratio_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        flat = np.zeros((1000, 1000), np.uint8)
        tif, gz = tmp_path / "a.tif", tmp_path / "a.tif.gz"
        tifffile.imwrite(tif, flat, compression="zlib")
        gz.write_bytes(gzip.compress(tiff_bytes(flat)))
        assert pixels_of(tif, ("protein",)).shape == pixels_of(gz, ("protein",)).shape
        monkeypatch.setenv("LOCATLAS_LIMITS", "ratio_free_bytes=1000")
        for path in (tif, gz):
            with pytest.raises(ImageRejectedError, match="decompression bomb"):
                pixels_of(path, ("protein",))


class TestReferencesToOtherFiles:
    def test_an_ome_tiff_that_names_another_file_is_read_alone(self, tmp_path: Path) -> None:
        """tifffile would open the named file and mix both."""
        secret = tmp_path / "secret.tif"
        tifffile.imwrite(secret, np.full((16, 16), 99, np.uint8))
        folder = tmp_path / "root"
        folder.mkdir()
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="16" SizeY="16" '
            'SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            '<Channel ID="Channel:0:1" SamplesPerPixel="1"/><TiffData IFD="0" FirstC="0" PlaneCount="1">'
            '<UUID FileName="../secret.tif">urn:uuid:b</UUID></TiffData><TiffData IFD="0" FirstC="1" PlaneCount="1">'
            '<UUID FileName="a.ome.tif">urn:uuid:a</UUID></TiffData></Pixels></Image></OME>'
        )
        path = folder / "a.ome.tif"
        tifffile.imwrite(path, np.full((16, 16), 7, np.uint8), description=xml, metadata=None)
        assert 99 in tifffile.imread(path)  # the danger is real: the library alone follows the reference
        np.testing.assert_array_equal(pixels_of(path, ("protein",)), np.full((1, 16, 16), 7))
        with pytest.raises(ImageRejectedError, match="1 plane "):
            pixels_of(path, TWO)


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

"""A corpus of bad files, refused with a reason: damaged, undeclared, too large, leading elsewhere."""

import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files.images import image_header, read_image
from tests.indexer.files.test_images import FOUR, TWO, noise, pixels_of, record, tiff_bytes

__all__ = ["noise"]


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

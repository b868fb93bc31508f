"""Images that no reader must trust, made by code, a few KB each. Each says what becomes of it. Pure.

Rows are those of docs/reliability.md.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from tests.hostile.raw_tiff import (
    BITS,
    DEFLATE,
    DESCRIPTION,
    RGB,
    ROWS_PER_STRIP,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    TILE_COUNTS,
    TILE_LENGTH,
    TILE_OFFSETS,
    TILE_WIDTH,
    grey_page,
    raw_tiff,
)

ONE, TWO = ("protein",), ("nucleus", "protein")


@dataclass(frozen=True)
class Hostile:
    """A file and what is said of it.

    Attributes:
        name: What it is.
        row: Of docs/reliability.md.
        suffix: Of its name.
        data: Its bytes.
        says: Part of the reason for its quarantine, a regular expression.
        channels: Declared for it.
    """

    name: str
    row: int
    suffix: str
    data: bytes
    says: str
    channels: tuple[str, ...] = ONE


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def tiff(array: np.ndarray, **how: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **{"photometric": "minisblack", **how})
    return out.getvalue()


def picture(array: np.ndarray | Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(out, kind, **how)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, before: bytes = b"", rows: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + before + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def ome(size: str, planes: str, extra: str = "", root: str = "") -> bytes:
    """An OME-TIFF of one 16 x 16 page whose description is as given."""
    xml = (
        f'<?xml version="1.0"?>{extra}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:a">{root}<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f"{size}>{planes}</Pixels></Image></OME>"
    )
    pixels = noise(16, 16).tobytes()
    return raw_tiff(grey_page(16, 16, pixels, description=xml.encode() + b"\0"), pixels)


ONE_PLANE = '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData/>'
SIZE_16 = 'SizeX="16" SizeY="16" SizeC="{c}" SizeZ="{z}" SizeT="1"'


def truncated() -> Iterator[Hostile]:
    """Row 18: files that end too soon."""
    flat, stack = noise(2, 48, 48), noise(6, 32, 32)
    for compression in (None, "zlib", "lzw"):
        whole = tiff(flat, compression=compression)
        for share in (5, 50, 95):
            yield Hostile(
                f"{compression or 'plain'} TIFF cut at {share} percent",
                18,
                ".tif",
                whole[: len(whole) * share // 100],
                "cannot be decoded|damaged TIFF|holds . plane",
                TWO,
            )
    for kind in ({"imagej": True}, {"ome": True}):
        whole = tiff(stack, metadata={"axes": "ZYX"}, **kind)
        yield Hostile(
            f"{next(iter(kind))} stack cut at half", 18, ".tif", whole[: len(whole) // 2], "damaged TIFF: .*offset"
        )
    for kind, suffix in (("PNG", ".png"), ("JPEG", ".jpg")):
        whole = picture(noise(48, 48), kind)
        yield Hostile(f"{kind} cut at half", 18, suffix, whole[: len(whole) // 2], "cannot be decoded: .*trunc")
    zipped = gzip.compress(tiff(noise(32, 32)), mtime=0)
    yield Hostile("gzip cut at half", 18, ".tif.gz", zipped[: len(zipped) // 2], "ended before the end-of-stream")
    yield Hostile("npy cut at half", 18, ".npy", npy(noise(32, 32))[:600], "not an npy file that can be read")


def other_layouts() -> Iterator[Hostile]:
    """Row 19: whole files that do not hold what is declared."""
    yield Hostile("three planes for two channels", 19, ".tif", tiff(noise(3, 16, 16)), "3 planes.*2 channels", TWO)
    yield Hostile("one plane for two channels", 19, ".tif", tiff(noise(16, 16)), "1 plane .*2 channels", TWO)
    yield Hostile("two planes for one channel", 19, ".tif", tiff(noise(2, 16, 16)), "2 planes.*1 channel ")
    times = tiff(noise(5, 2, 16, 16), imagej=True, metadata={"axes": "TCYX"})
    yield Hostile("time points", 19, ".tif", times, "5 time points", TWO)
    slices = tiff(noise(2, 16, 16), ome=True, metadata={"axes": "ZYX"})
    yield Hostile("slices where channels are declared", 19, ".tif", slices, "1 plane .*ZYX", TWO)
    yield Hostile("axes without names", 19, ".tif", tiff(noise(2, 2, 16, 16)), "ambiguous axes QQYX", TWO)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(noise(16, 16))
        writer.write(noise(8, 8))
    yield Hostile("two images of different size", 19, ".tif", out.getvalue(), "2 images of different kinds")
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    yield Hostile("stain in another's colour", 19, ".jpg", picture(red, "JPEG"), "expected in G.*brightest in R")
    clear = np.dstack([noise(16, 16, 3), np.full((16, 16), 9, np.uint8)])
    yield Hostile("transparent PNG", 19, ".png", picture(clear, "PNG"), "has transparency")
    cmyk = Image.fromarray(noise(16, 16, 4), "CMYK")
    yield Hostile("CMYK JPEG", 19, ".jpg", picture(cmyk, "JPEG"), "mode CMYK are not intensities")
    frames = [Image.fromarray(noise(16, 16)), Image.fromarray(255 - noise(16, 16))]
    moving = picture(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield Hostile("animated PNG", 19, ".png", moving, "an animation of 2 frames")
    palette = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    coloured = tiff(noise(16, 16), photometric="palette", colormap=palette)
    yield Hostile("palette whose numbers mean nothing", 19, ".tif", coloured, "colour palette")
    yield Hostile("npy of four axes", 19, ".npy", npy(noise(2, 2, 8, 8)), r"shape \(2, 2, 8, 8\)", TWO)


def other_pixels() -> Iterator[Hostile]:
    """Row 21: numbers that are no intensities."""
    for name, value in (("NaN", np.nan), ("infinite", np.inf)):
        plane = np.full((40, 40), 0.5, np.float32)
        plane[3, 4] = value
        yield Hostile(f"{name} pixel", 21, ".tif", tiff(plane), "1 NaN or infinite pixels of 1600")
    huge = np.full((40, 40), 1e300)
    huge[0, 0] = 0
    yield Hostile("pixels beyond float32", 21, ".tif", tiff(huge), "1599 NaN or infinite pixels")
    yield Hostile("complex pixels", 21, ".tif", tiff(noise(40, 40).astype(np.complex64)), "not intensities")
    yield Hostile("negative pixels", 21, ".tif", tiff(np.full((9, 9), -5, np.int16)), "from -5 to -5 do not fit uint16")
    yield Hostile("pixels of 32 bits", 21, ".tif", tiff(np.full((9, 9), 2**31, np.uint32)), "do not fit uint16")
    pixels = noise(16, 16).tobytes()
    odd = raw_tiff(grey_page(16, 16, pixels, bits=65), pixels)
    yield Hostile("pixels of 65 bits", 21, ".tif", odd, "pixels of 65 bits")
    yield Hostile("npy of objects", 21, ".npy", npy(np.array([[{}]], dtype=object)), "holds Python objects")
    yield Hostile("npy of text", 21, ".npy", npy(np.array([["a", "b"]])), "not intensities")


def bombs() -> Iterator[Hostile]:
    """Row 22: small files that ask for much."""
    yield from tiff_bombs()
    yield from ome_bombs()
    yield from png_bombs()
    jpeg = bytearray(picture(noise(16, 16), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65500, 65500)
    yield Hostile("JPEG of 65500 x 65500", 22, ".jpg", bytes(jpeg), "4290250000 pixels. exceeds limit")
    zeros = gzip.compress(bytes(2**20), mtime=0)
    begins = gzip.compress(b"II*\0", mtime=0)
    yield Hostile("gzip of zeros, many members", 22, ".tif.gz", begins + zeros * 300, "decompression bomb")
    twice = gzip.compress(gzip.compress(tiff(noise(8, 8)), mtime=0), mtime=0)
    yield Hostile("gzip in gzip", 22, ".tif.gz", twice, "gzip of something that is not a TIFF")
    for name, shape, says in (
        ("that promises 10^18 pixels", "(1000000000, 1000000000)", "mmap length is greater than file size"),
        ("of a negative size", "(-1, 8)", "negative dimensions are not allowed"),
        ("whose header is code", "(__import__('os').getpid(), 8)", "not an npy file that can be read|Python objects"),
        ("of nested brackets", "(" * 40 + ")" * 40, "not an npy file that can be read"),
    ):
        yield Hostile(f"npy {name}", 22, ".npy", npy_header(shape), says)


def tiff_bombs() -> Iterator[Hostile]:
    """Sizes, counts and offsets that lie."""
    few = bytes(64)

    def page(name: str, says: str, width: int = 8, length: int = 8, *, tags: Any = None, **more: Any) -> Hostile:
        how = {key: more.pop(key) for key in ("next_ifd", "counts") if key in more}
        data = raw_tiff(grey_page(width, length, few, **more) if tags is None else tags, few, **how)
        return Hostile(f"TIFF {name}", 22, ".tif", data, says)

    yield page("of 200000 x 200000", "too large: 200000 x 200000", 200_000, 200_000)
    yield page("of 2^32-1 x 2^32-1", "too large", 2**32 - 1, 2**32 - 1)
    yield page("of 0 x 0", "the image is empty", 0, 0)
    yield page("of no rows a strip", "the image is empty", rows_per_strip=0)
    yield page("of 65535 samples a pixel", "failed to read 4194240 bytes", samples=65535, photometric=RGB)
    yield page("of pages in a circle", "circular reference", next_ifd=8)
    yield page("of a next page beyond the file", "invalid page offset", next_ifd=2**31)
    yield page("with a tag of 2^32-1 values", "invalid value offset", counts={BITS: 2**32 - 1})
    text = {"description": b"ImageJ=1.5\n" + bytes(9), "counts": {DESCRIPTION: 2**32 - 1}}
    yield page("with a text of 2^32-1 bytes", "invalid value offset", **text)
    big = b"II+\0\x08\0\0\0" + b"\xff" * 8
    yield Hostile("BigTIFF of a page beyond the file", 22, ".tif", big, "holds no image")
    strip = zlib.compress(bytes(2**20), 9)
    n_strips = 400  # all at the same place: 1 KB is decoded 400 times
    shared = grey_page(1024, 1024 * n_strips, strip, compression=DEFLATE, rows_per_strip=1024)
    shared |= {STRIP_OFFSETS: ["here"] * n_strips, STRIP_COUNTS: [len(strip)] * n_strips}
    yield Hostile("TIFF of deflated strips in one place", 22, ".tif", raw_tiff(shared, strip), "decompression bomb")
    tile = {c: v for c, v in grey_page(64, 64, few).items() if c not in (STRIP_OFFSETS, STRIP_COUNTS, ROWS_PER_STRIP)}
    for edge in (2**20, 2**32 - 16):
        tags = tile | {TILE_WIDTH: edge, TILE_LENGTH: edge, TILE_OFFSETS: "here", TILE_COUNTS: len(few)}
        yield page(f"of 64 px with a tile of {edge}", "too large", tags=tags)
    for says, description in (
        ("too large: .* in 4294967296 slices", b'{"shape": [4294967296, 8, 8], "axes": "ZYX"}'),
        ("ImageJ series metadata invalid", b"ImageJ=1.54\nimages=1000000000\nslices=1000000000\n"),
        ("ImageJ series metadata invalid", b"ImageJ=1.54\nimages=1000000000\nchannels=1000000000\nhyperstack=true\n"),
    ):
        yield page(f"described as {description[:36].decode()!r}", says, description=description + b"\0")


def ome_bombs() -> Iterator[Hostile]:
    """Planes that are announced and not there: a list of them would be made first."""
    for c, z in ((1, 2**28), (2**28, 1), (2**31 - 1, 2**31 - 1)):
        data = ome(SIZE_16.format(c=c, z=z), ONE_PLANE)
        yield Hostile(f"OME of {c} channels and {z} slices", 22, ".ome.tif", data, f"announces {c * z} planes")


def png_bombs() -> Iterator[Hostile]:
    """Sizes that lie, and chunks beside the pixels."""
    yield Hostile("PNG of 200000 x 200000", 22, ".png", png(200_000, 200_000), "too large")
    wide = png(2**31 - 1, 2**31 - 1, bits=16, colour=6)
    yield Hostile("PNG of 16-bit colours, 2^31-1 px", 22, ".png", wide, "too large")
    flat = png(20_000, 20_000, rows=bytes(2**20))
    yield Hostile("PNG that expands 400-fold", 22, ".png", flat, "decompression bomb")
    runs = zlib.compressobj(9, strategy=zlib.Z_RLE)
    packed = runs.compress(bytes(2**27)) + runs.flush()
    for kind, name in ((b"zTXt", "text"), (b"iCCP", "a profile")):
        chunk = png_chunk(kind, b"a\0\0" + packed)
        data = png(8, 8, before=chunk, rows=bytes(9 * 8))
        says = "Decompressed data too large" if kind == b"zTXt" else "1 plane, but 2 channels|too large"
        yield Hostile(f"PNG with {name} of 128 MiB", 22, ".png", data, says, TWO)


def references() -> Iterator[Hostile]:
    """Rows 23 and 24: descriptions that expand, or that name other files."""
    nested = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<!DOCTYPE OME [<!ENTITY e0 "ha">{nested}]>'
    size = SIZE_16.format(c=1, z=1)
    data = ome(size, ONE_PLANE, extra=laughs, root="<Description>&e11;</Description>")
    yield Hostile("entities that expand 10^11-fold", 23, ".ome.tif", data, "limit on input amplification")
    outside = '<!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    data = ome(size, ONE_PLANE, extra=outside, root="<Description>&x;</Description>")
    yield Hostile("entity that names a file", 23, ".ome.tif", data, "undefined entity")
    for named in ("../secret.tif", "/etc/passwd", "secret.tif", "\\\\host\\share\\secret.tif"):
        both = (
            '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><Channel ID="Channel:0:1" SamplesPerPixel="1"/>'
            f'<TiffData IFD="0" FirstC="0" PlaneCount="1"><UUID FileName="{named}">urn:uuid:b</UUID></TiffData>'
            '<TiffData IFD="0" FirstC="1" PlaneCount="1"><UUID FileName="x.ome.tif">urn:uuid:a</UUID></TiffData>'
        )
        data = ome(SIZE_16.format(c=2, z=1), both)
        yield Hostile(f"OME that names {named}", 24, ".ome.tif", data, "1 plane .*2 channels", TWO)
    xml = b'<OME><BinaryOnly MetadataFile="../secret.companion.ome" UUID="urn:uuid:a"/></OME>\0'
    pixels = noise(16, 16).tobytes()
    data = raw_tiff(grey_page(16, 16, pixels, description=xml), pixels)
    yield Hostile("OME whose text is elsewhere", 24, ".ome.tif", data, "1 plane .*2 channels", TWO)


def no_images() -> Iterator[Hostile]:
    """Row 25: whatever else lies in folders."""
    for name, data, says in (
        ("empty file", b"", "the file is empty"),
        ("text", b"hello world", "not an image"),
        ("TIFF of four bytes", b"II*\0", "cannot be decoded"),
        ("PNG of eight bytes", b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        ("JPEG of three bytes", b"\xff\xd8\xff", "cannot be decoded"),
        ("zip", b"PK\x03\x04" + bytes(20), "not an image"),
        ("zeros", bytes(2000), "not an image"),
        ("pickle", b"\x80\x04\x95" + bytes(20), "not an image"),
        ("gzip of text", gzip.compress(b"hello", mtime=0), "gzip of something that is not a TIFF"),
    ):
        yield Hostile(name, 25, ".tif", data, says)


GROUPS: tuple[Callable[[], Iterator[Hostile]], ...] = (
    truncated,
    other_layouts,
    other_pixels,
    bombs,
    references,
    no_images,
)


def corpus() -> list[Hostile]:
    """All of them, names once each."""
    return [one for group in GROUPS for one in group()]

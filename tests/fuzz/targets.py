"""What the fuzzer feeds: each takes bytes and fails on anything but a refusal of one line. Writes temporary files."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from locatlas.errors import ImageRejectedError, InputError, LocatlasError, WeightsError

LIMITS = "pixels=4M,bytes=16M,stack_bytes=64M,ratio_free_bytes=16M,counts_bytes=1M,decoder_seconds=5"
"""Small enough that a refused bomb and one that got through differ in memory."""


@contextlib.contextmanager
def refusals(*kinds: type[LocatlasError], named: str = "") -> Iterator[None]:
    """Let nothing through but these errors, in one line that names the file."""
    try:
        yield
    except kinds as error:
        said = str(error)
        assert "\n" not in said, said
        assert named in said, said


def _file(data: bytes, name: str) -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


_FOLDER = Path(tempfile.mkdtemp(prefix="locatlas-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def image(data: bytes) -> None:
    """An image file of any format, by content."""
    from locatlas.indexer.files.images import image_header, read_image
    from locatlas.indexer.records import ImageRecord, Source

    channels = ("nucleus", "protein")[: 1 + (data[:1] > b"\x7f")]
    path = _file(data[1:], "image")
    record = ImageRecord(id="x/x", level="fov", dataset="x", sources=(Source(path, channels),))
    with refusals(ImageRejectedError, named=str(path)):
        found, _ = read_image(record)
        assert found.pixels.shape[0] == len(channels)
    with refusals(ImageRejectedError, named=str(path)):
        image_header(path)


def mask(data: bytes) -> None:
    """A label image of any format, by content."""
    from locatlas.indexer.cells.masks import read_label_image

    path = _file(data, "mask")
    with refusals(ImageRejectedError, named=str(path)):
        assert read_label_image(path, height=16, width=16).min() >= 0


def runs(data: bytes) -> None:
    """Run-length encodings as Kaggle has them."""
    from locatlas.indexer.cells.rle import decode_coco, decode_runs, mask_of, split_prediction

    text = data[1:].decode("utf-8", "surrogateescape")
    decode = (decode_runs, decode_coco)[data[:1] > b"\x7f"]
    with refusals(ImageRejectedError):
        split_prediction(text)
    with refusals(ImageRejectedError):
        found = decode(text, n_pixels=256)
        if len(found[0]):
            assert mask_of(found, height=16, width=16)[1].any()


def vectors(data: bytes) -> None:
    """Parquet, npz and DINO4Cells feature files."""
    from locatlas.indexer.importing.files import read_vector_file

    suffix = (".parquet", ".npz", ".pth")[data[0] % 3] if data else ".npz"
    path = _file(data[1:], f"vectors{suffix}")
    with refusals(InputError, named=str(path)):
        found = read_vector_file(path)
        assert len(found.ids) == len(found.vectors)


def manifest(data: bytes) -> None:
    """The manifest of one's own images, and the sheet of annotations."""
    from locatlas.indexer.annotation.sheet import read_sheet
    from locatlas.indexer.datasets import read_records

    suffix = (".csv", ".tsv", ".parquet")[data[0] % 3] if data else ".csv"
    path = _file(data[1:], f"manifest{suffix}")
    _file(b"", "a.tif")
    with refusals(InputError, named=str(path)):
        for found in read_records("manifest", path):
            reason = getattr(found, "reason", "")
            assert reason.isprintable(), reason
    with refusals(InputError, named=str(path)):
        read_sheet(path)


def weights(data: bytes) -> None:
    """Checkpoints, from the file to the layout."""
    from locatlas.models.weights import load_state

    suffix = (".safetensors", ".pth")[data[0] % 2] if data else ".pth"
    path = _file(data[1:], f"weights{suffix}")
    with refusals(WeightsError, named=str(path)):
        load_state(path)


def cells(data: bytes) -> None:
    """scPortrait's HDF5, in a decoder: on some bytes libhdf5 never ends."""
    from locatlas.indexer.files.decoding import read_cell_file, read_image
    from locatlas.indexer.records import ImageRecord, Source

    path = _file(data, "cells.h5sc")
    with refusals(ImageRejectedError, named=str(path)):
        read_cell_file(path)
    record = ImageRecord(id="x/x", level="cell", dataset="x", sources=(Source(path, ("a",)),), row=0)
    with refusals(ImageRejectedError, named=str(path)):
        read_image(record)


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (image, mask, runs, vectors, manifest, weights, cells)
}


def prepare() -> None:
    """Limits for this process."""
    os.environ["LOCATLAS_LIMITS"] = LIMITS

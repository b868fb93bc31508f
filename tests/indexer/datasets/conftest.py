"""Made files and tables for the readers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from locatlas.indexer.datasets import read_records
from locatlas.indexer.records import ImageRecord, RejectedSource

Read = Callable[..., tuple[list[ImageRecord], list[RejectedSource]]]


@pytest.fixture
def read() -> Read:
    """read(name, root, **options): records and rejected sources, apart."""

    def split(name: str, root: Path, **options: object) -> tuple[list[ImageRecord], list[RejectedSource]]:
        items = list(read_records(name, root, options=options))
        records = [item for item in items if isinstance(item, ImageRecord)]
        rejected = [item for item in items if isinstance(item, RejectedSource)]
        assert items == records + rejected
        assert [r.id for r in records] == sorted({r.id for r in records})
        assert all(r.dataset == name and r.id.startswith(f"{name}/") for r in records)
        assert all("\n" not in r.source + r.reason for r in rejected)
        return records, rejected

    return split


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make("a/b.tif"): a small image of that kind below tmp_path; make(name, text): a text file."""

    def write(name: str, content: str | bytes | np.ndarray | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_bytes(content.encode())
        elif path.suffix == ".npy":
            np.save(path, content)
        elif path.suffix in (".tif", ".tiff"):
            pixels = np.zeros((2, 4, 4), np.uint16) if content is None else content
            axes = "CYX"[-pixels.ndim :]
            tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": axes})
        else:
            Image.fromarray(np.zeros((4, 4), np.uint8) if content is None else content).save(path)
        return path

    return write

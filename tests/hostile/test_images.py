"""Every image of the corpus ends in quarantine with its reason; none ends the run, reads elsewhere or takes memory."""

import csv
import os
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from locatlas.errors import ImageRejectedError
from locatlas.indexer.files import decoding, images
from locatlas.indexer.index import index
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store.tables import Store
from locatlas.models.qc import check_usable
from tests.hostile.images import ONE, Hostile, corpus, noise
from tests.indexer.made import PlainEncoder, versions

CORPUS = corpus()
MEMORY = "ratio_free_bytes=64M,decoder_bytes=192M,decoder_seconds=60"


def record(path: Path, channels: tuple[str, ...]) -> ImageRecord:
    return ImageRecord(id="x/x", level="fov", dataset="x", sources=(Source(path, channels),))


def read(path: Path, channels: tuple[str, ...]) -> None:
    """Read and check as the pipeline does."""
    image, _ = decoding.read_image(record(path, channels))
    try:
        check_usable(image, unit_range=False)
    except ImageRejectedError as error:
        raise ImageRejectedError(f"{path}: {error}") from error


def refused(path: Path, channels: tuple[str, ...]) -> str:
    with pytest.raises(ImageRejectedError) as caught:
        read(path, channels)
    return str(caught.value)


def test_the_corpus_is_small_and_names_are_unique() -> None:
    assert len({one.name for one in CORPUS}) == len(CORPUS)
    assert max(len(one.data) for one in CORPUS) < 512 * 1024
    assert {one.row for one in CORPUS} == {18, 19, 21, 22, 23, 24, 25}


@pytest.mark.parametrize("one", CORPUS, ids=lambda one: f"row {one.row}: {one.name}")
def test_a_hostile_image_is_refused_with_its_reason_in_little_memory(
    one: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel holds the decoder to 192 MiB, so that a larger allocation would be the reason instead."""
    monkeypatch.setenv("LOCATLAS_LIMITS", MEMORY)
    path = tmp_path / f"image{one.suffix}"
    path.write_bytes(one.data)
    said = refused(path, one.channels)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert re.search(one.says, said), said
    assert not any(word in said for word in ("memory", "decoder was ended", "decoder ended", "takes longer")), said


def test_a_file_that_an_ome_tiff_names_is_not_even_opened(tmp_path: Path) -> None:
    """tifffile alone would open the named file and mix both."""
    folder = tmp_path / "root"
    folder.mkdir()
    opened: list[str] = []
    watching = [True]  # a hook cannot be taken away

    def watch(event: str, given: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.append(str(given[0]))

    sys.addaudithook(watch)
    for one in (one for one in CORPUS if one.row in (23, 24)):
        for secret in (tmp_path / "secret.tif", folder / "secret.tif"):
            tifffile.imwrite(secret, np.full((16, 16), 99, np.uint8))
        path = folder / "x.ome.tif"
        path.write_bytes(one.data)
        opened.clear()
        with pytest.raises(ImageRejectedError):
            images.read_image(record(path, one.channels))  # in this process, where it can be seen
        assert not [name for name in opened if "secret" in name or "passwd" in name]
    opened.clear()
    tifffile.TiffFile(path.parent / "secret.tif").close()
    watching.clear()
    assert any("secret" in name for name in opened)  # the hook sees what is opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All of the corpus, things that are no files, links that lead out, and four good images, with a manifest."""
    root = tmp_path / "root"
    root.mkdir()
    lines = []
    for n, one in enumerate(CORPUS):
        (root / f"bad{n:03d}{one.suffix}").write_bytes(one.data)
        lines.append((f"bad{n:03d}{one.suffix}", one.channels))
    tifffile.imwrite(tmp_path / "outside.tif", noise(40, 40))
    (root / "out.tif").symlink_to(tmp_path / "outside.tif")
    (root / "nowhere.tif").symlink_to(tmp_path / "none.tif")
    (root / "loop.tif").symlink_to(root / "loop.tif")
    (root / "zero.tif").symlink_to("/dev/zero")
    (root / "folder.tif").mkdir()
    (root / "linked").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "fifo.tif")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "socket.tif"))
    odd = ["out", "nowhere", "loop", "zero", "folder", "fifo", "socket"]
    lines += [(f"{name}.tif", ONE) for name in odd]
    lines += [(path, ONE) for path in ("../outside.tif", str(tmp_path / "outside.tif"), "linked/outside.tif")]
    lines += [(path, ONE) for path in ("a\0b.tif", "x" * 300 + ".tif", ".", "../", "")]
    for n in range(4):
        tifffile.imwrite(root / f"good{n}.tif", noise(40, 40) // (n + 1))
        lines.append((f"good{n}.tif", ONE))
    with (root / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "channels", "id", "protein"])
        table.writerows([path, ";".join(channels), f"i{n}", "P"] for n, (path, channels) in enumerate(lines))
    return root


def test_a_folder_of_hostile_files_is_indexed_and_only_good_ones_get_in(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", MEMORY)
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    summary = index(folder / "manifest.csv", atlas=tmp_path / "atlas", dataset="manifest")
    store = Store.open(tmp_path / "atlas")
    sources = [source["path"] for row in store.read("fovs", ["sources"]).to_pylist() for source in row["sources"]]
    assert sorted(sources) == [f"good{n}.tif" for n in range(4)]
    rejected = store.read("quarantine").to_pylist()
    assert len(rejected) == len(summary.quarantined) == len(CORPUS) + 7 + 3 + 5
    assert all(row["reason"].isprintable() for row in rejected)
    before = versions(store)
    index(folder / "manifest.csv", atlas=tmp_path / "atlas", dataset="manifest")
    assert versions(store) == before

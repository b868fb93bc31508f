"""Images of an atlas as training takes them: the same pixels that are embedded, and nothing left out in silence."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.files.fields import SharedFields
from locatlas.indexer.index import index
from locatlas.indexer.reading import cut_cell
from locatlas.indexer.store.rows import record_from_row
from locatlas.indexer.store.tables import Store
from locatlas.indexer.training.images import StoredImages, default_cache_bytes
from locatlas.models import registry
from locatlas.models.crops import CropPlan
from locatlas.models.training.planes import training_planes
from tests.indexer.made import id_of, name_of, pixels, write_field
from tests.indexer.made_cells import write_cells

SPEC = registry.get("locatlas_pico.untrained").with_changes(input_px=32)
IDS = [id_of(n) for n in range(6)]


def loaded(store: Store, **options: int) -> StoredImages:
    return StoredImages.load(store, "fov", IDS, SPEC, **options)


def test_planes_are_those_of_the_image_files_in_the_order_asked_for(store: Store) -> None:
    images = StoredImages.load(store, "fov", IDS[::-1], SPEC)
    assert images.ids == tuple(IDS[::-1])
    assert images.channels == ("protein", "nucleus")
    assert (len(images), images.n_kept, images.left_out) == (6, 6, {})
    # OpenCell's planes are nucleus, protein
    raw = pixels(5)
    low, high = np.percentile(raw[1], SPEC.percentiles)
    stretched = torch.from_numpy(np.clip((raw[1] - low) / (high - low), 0, 1).astype(np.float32))
    mine = torch.nn.functional.interpolate(stretched[None, None], (32, 32), mode="bilinear", antialias=True)[0, 0]
    torch.testing.assert_close(images.planes(0)[0], mine, atol=1e-3, rtol=0)
    assert images.planes(0).dtype == torch.float32


def test_memory_decides_nothing_and_neither_do_threads(store: Store) -> None:
    kept = loaded(store, threads=1)
    size = kept.planes(0).numel() * 2
    some = loaded(store, cache_bytes=2 * size + 1, threads=3)
    none = loaded(store, cache_bytes=0)
    assert (kept.n_kept, some.n_kept, none.n_kept) == (6, 2, 0)
    with ThreadPoolExecutor(4) as pool:
        for images in (some, none):
            for i, planes in enumerate(pool.map(images.planes, range(6))):
                assert torch.equal(planes, kept.planes(i))


def test_a_part_has_the_images_of_its_ids_without_reading_them_again(store: Store, source: Path) -> None:
    images = loaded(store)
    for n in range(6):
        (source / name_of(n)).unlink()
    part = images.part([IDS[4], "opencell/none", IDS[1]])
    assert (part.ids, part.channels) == ((IDS[4], IDS[1]), images.channels)
    assert torch.equal(part.planes(0), images.planes(4))
    assert torch.equal(part.planes(1), images.planes(1))


def test_what_cannot_be_used_is_left_out_with_its_reason(store: Store, source: Path) -> None:
    write_field(source, 1, pixels(77))
    (source / name_of(2)).unlink()
    (source / name_of(3)).write_bytes(b"II*\0 cut off")
    images = StoredImages.load(store, "fov", [*IDS, "opencell/none"], SPEC)
    assert images.ids == (IDS[0], IDS[4], IDS[5])
    reasons = images.left_out
    assert sorted(reasons) == sorted([IDS[1], IDS[2], IDS[3], "opencell/none"])
    assert "changed since it was indexed" in reasons[IDS[1]]
    assert name_of(2) in reasons[IDS[2]]
    assert name_of(3) in reasons[IDS[3]]
    assert reasons["opencell/none"] == "opencell/none: not in the atlas"
    with pytest.raises(InputError, match=r"none of 1 images can be trained on, e\.g\. .*changed since"):
        StoredImages.load(store, "fov", [IDS[1]], SPEC)


def test_a_file_that_changes_during_training_is_not_trained_on(store: Store, source: Path) -> None:
    images = loaded(store, cache_bytes=0)
    write_field(source, 0, pixels(50))
    with pytest.raises(ImageRejectedError, match="changed since it was indexed"):
        images.planes(0)


def test_images_that_lack_a_channel_of_the_encoder_are_left_out(store: Store) -> None:
    spec = SPEC.with_changes(stains=("er",))
    with pytest.raises(InputError, match="lacks channel er"):
        StoredImages.load(store, "fov", IDS, spec)


def test_images_of_fewer_channels_take_part_with_what_they_have_or_are_left_out(atlas: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", pixels(9, channels=3), imagej=True, metadata={"axes": "CYX"})
    (folder / "manifest.csv").write_text("id,path,channels\na,a.tif,nucleus;protein;er\n")
    index(folder, atlas=atlas, dataset="manifest", name="more")
    store = Store.open(atlas)
    both = StoredImages.load(store, "fov", [*IDS, "more/a"], SPEC, mixed=True)
    assert both.channels == ("protein", "nucleus", "er")
    assert [both.channels_of(i) for i in (0, 6)] == [("protein", "nucleus"), ("protein", "nucleus", "er")]
    assert [len(both.planes(i)) for i in (0, 6)] == [2, 3]
    assert both.part(["more/a"]).channels_of(0) == both.channels
    most = StoredImages.load(store, "fov", [*IDS, "more/a"], SPEC)
    assert (most.channels, most.left_out, len(most.planes(6))) == (("protein", "nucleus"), {}, 2)
    few = StoredImages.load(store, "fov", [IDS[0], "more/a"], SPEC)
    assert (few.channels, few.ids) == (("protein", "nucleus", "er"), ("more/a",))
    assert "lacks channel er" in few.left_out[IDS[0]]


def test_cells_are_cut_as_they_are_for_embedding(tmp_path: Path) -> None:
    store = write_cells(tmp_path)
    spec = SPEC.with_changes(crop=CropPlan(size_px=20, blank=True), pooling="spread", input_px=0)
    rows = store.read("cells").to_pylist()
    images = StoredImages.load(store, "cell", [row["id"] for row in rows], spec, cache_bytes=0, threads=2)
    roots = {"images": tmp_path / "images"}
    for i, row in enumerate(rows):
        cell = cut_cell(record_from_row(row, level="cell", roots=roots), row, SharedFields(), spec.crop)
        assert torch.equal(images.planes(i), training_planes(cell, images.channels, spec).float())
    dropped = StoredImages.load(store, "cell", [rows[0]["id"], rows[1]["id"]],
                                SPEC.with_changes(crop=CropPlan(size_px=8))).left_out  # fmt: skip
    assert dropped == {}
    with pytest.raises(InputError, match="has no crop"):
        StoredImages.load(store, "cell", [rows[0]["id"]], SPEC)
    with pytest.raises(InputError, match="meets the border"):
        StoredImages.load(store, "cell", [rows[0]["id"]], SPEC.with_changes(crop=CropPlan(size_px=30, border="drop")))


def test_the_memory_for_planes_is_a_share_of_the_machine() -> None:
    assert 2**20 < default_cache_bytes() < 2**44

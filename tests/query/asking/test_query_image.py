"""A new image file as a query: a cell cut out of it, and files that the atlas has already."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import locatlas
from locatlas.errors import InputError
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.models.crops import CropPlan
from locatlas.query.answers import tables as answers
from locatlas.query.asking.query_image import cut_at
from locatlas.query.atlas import Atlas
from locatlas.types import ChannelImage
from tests.indexer.made import PlainEncoder
from tests.indexer.masked import write_masked

EDGE = 21
CHANNELS = ("nucleus", "protein")


class _Encoder(PlainEncoder):
    def encode(self, images: list[ChannelImage], *, batch_size: int) -> NDArray[np.float32]:
        return self.encode_prepared([self.prepare(image) for image in images])


@pytest.fixture
def fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", _Encoder)
    monkeypatch.setattr("locatlas.query.asking.query_image._encoder", _Encoder)
    return write_masked(tmp_path / "fields")


def opened(fields: Path, *, level: str = "both", crop: CropPlan | None = None) -> Atlas:
    request = EncoderRequest(crop=crop or CropPlan(size_px=EDGE))
    index(fields, atlas=fields.parent / "atlas", dataset="manifest", level=level, request=request)
    return locatlas.open(fields.parent / "atlas")


def hits(atlas: Atlas, **asked: Any) -> dict[str, float]:
    table = atlas.neighbors(channels=CHANNELS, **asked)
    return dict(zip(table["id"].to_pylist(), table["similarity"].to_pylist(), strict=True))


def field(edge_px: int = 40, pixel_size_um: float | None = None) -> ChannelImage:
    pixels = np.random.default_rng(0).integers(1, 60000, (2, edge_px, edge_px), dtype=np.uint16)
    return ChannelImage(pixels, CHANNELS, pixel_size_um)


@pytest.mark.parametrize("at", [(20, 20), (0, 0), (39, 3), (12, 38)])
def test_the_square_around_a_point_is_a_slice_of_the_padded_image(at: tuple[int, int]) -> None:
    image = field()
    half = EDGE // 2
    padded = np.pad(image.pixels, ((0, 0), (half, half), (half, half)))
    expected = padded[:, at[0] : at[0] + EDGE, at[1] : at[1] + EDGE]
    found = cut_at(image, at, CropPlan(size_px=EDGE), name="new.tif")
    np.testing.assert_array_equal(found.pixels, expected)
    in_um = cut_at(field(pixel_size_um=0.5), at, CropPlan(size_um=EDGE / 2), name="new.tif")
    np.testing.assert_array_equal(in_um.pixels, expected)


@pytest.mark.parametrize(
    ("at", "plan", "said"),
    [
        ((40, 3), CropPlan(size_px=9), r"at 40,3 \(y,x\) is outside of the image of 40 x 40"),
        ((3, -1), CropPlan(size_px=9), "outside"),
        ((float("nan"), 3), CropPlan(size_px=9), "outside"),
        ((20, 20), CropPlan(size_px=9, blank=True), "needs the cell's mask, and a point has none"),
        ((20, 20), CropPlan(size_um=4), "--pixel-size-um"),
        ((2, 20), CropPlan(size_px=9, border="drop"), "leaves the image"),
    ],
    ids=("below", "left", "nan", "blanked", "no pixel size", "dropped"),
)
def test_a_point_that_cannot_be_cut_gets_a_line_that_names_the_file(
    at: tuple[float, float], plan: CropPlan, said: str
) -> None:
    with pytest.raises(InputError, match=f"^new.tif: .*{said}"):
        cut_at(field(), at, plan, name="new.tif")


def test_a_cell_cut_out_of_its_own_file_is_the_one_in_the_atlas_and_meets_none_of_its_field(fields: Path) -> None:
    atlas = opened(fields)
    # the middle of the box (10, 10, 20, 22) of cell 3 of field a
    here: dict[str, Any] = {"image": fields / "a.tif", "at": (14.5, 15.5)}
    everything = hits(atlas, exclude="none", k=4, **here)
    assert next(iter(everything)) == "manifest/a/3"
    assert everything["manifest/a/3"] == pytest.approx(1, abs=1e-6)
    assert everything == pytest.approx(hits(atlas, exclude="none", k=4, id="manifest/a/3"), abs=1e-6)
    for exclude in ("self", "fov", "protein"):
        assert list(hits(atlas, exclude=exclude, **here)) == ["manifest/b/1"]
    # the file under another name and in another place is the same file
    other = fields.parent / "other.tif"
    other.write_bytes((fields / "a.tif").read_bytes())
    assert list(hits(atlas, image=other, at=(14.5, 15.5))) == ["manifest/b/1"]


@pytest.mark.parametrize(
    ("exclude", "said"),
    [
        pytest.param("none", "under --exclude none it may meet itself", marks=pytest.mark.slow),
        ("self", "it is left out of its own answer"),
        pytest.param("fov", "its field is left out of its own answer", marks=pytest.mark.slow),
        ("protein", "it is left out of its own answer, with all other images of P0"),
        pytest.param(
            "dataset", "it is left out of its own answer, with all of the same dataset", marks=pytest.mark.slow
        ),
    ],
)
def test_a_file_that_the_atlas_has_already_is_told_with_what_is_left_out(fields: Path, exclude: str, said: str) -> None:
    atlas = opened(fields)
    asked: dict[str, Any] = {"level": "fov", "image": fields / "a.tif", "channels": CHANNELS, "exclude": exclude}
    expected = f"the image is in the atlas already, as manifest/a: {said}"
    found = atlas.neighbors(k=1, **asked)
    assert expected in answers.context(found)["notes"]
    assert (found["id"].to_pylist() == ["manifest/a"]) == (exclude == "none")
    if exclude in ("self", "fov"):
        assert expected in answers.context(atlas.classify(k=1, **asked))["notes"]
    assert not [n for n in answers.context(atlas.neighbors(id="manifest/a", k=1))["notes"] if "already" in n]
    new = fields / "new.tif"
    tifffile.imwrite(new, field().pixels)
    assert not [
        n
        for n in answers.context(atlas.neighbors(**asked | {"image": new, "exclude": "self"}))["notes"]
        if "already" in n
    ]


def test_a_whole_field_as_the_crop_of_one_cell_does_not_meet_its_own_cells_and_says_what_it_is_taken_as(
    fields: Path,
) -> None:
    atlas = opened(fields, level="cell")
    table = atlas.neighbors(image=fields / "a.tif", channels=CHANNELS)
    assert table["id"].to_pylist() == ["manifest/b/1"]
    [note] = [n for n in answers.context(table)["notes"] if "taken as the crop of one cell" in n]
    assert f"cut at {EDGE} px around the cell" in note
    cut = atlas.neighbors(image=fields / "a.tif", channels=CHANNELS, at=(14.5, 15.5))
    assert not [n for n in answers.context(cut)["notes"] if "taken as" in n]
    assert answers.context(cut)["query"]["at"] == [14.5, 15.5]


def test_a_cell_of_a_new_image_is_asked_of_cells_where_the_atlas_has_fields_too(fields: Path) -> None:
    atlas = opened(fields)
    asked: dict[str, Any] = {"image": fields / "a.tif", "channels": CHANNELS, "at": (14.5, 15.5)}
    assert answers.context(atlas.neighbors(**asked))["level"] == "cell"
    assert answers.context(atlas.neighbors(level="protein", **asked))["profile"]["of"] == "cell"
    [voted] = atlas.classify(k=1, exclude="fov", **asked).to_pylist()
    assert (voted["protein"], voted["neighbors"]) == ("P0", ["manifest/b/1"])
    with pytest.raises(InputError, match="level cell needed, not fov"):
        atlas.neighbors(level="fov", **asked)
    with pytest.raises(InputError, match="an image needed"):
        atlas.neighbors(id="manifest/a/3", at=(1, 2))


def test_a_point_is_refused_where_cells_are_images_of_their_own(fields: Path) -> None:
    lines = (fields / "manifest.csv").read_text().splitlines()
    lines = [f"{line.rsplit(',', 1)[0]},{level}" for line, level in zip(lines, ("level", *["cell"] * 3), strict=True)]
    (fields / "manifest.csv").write_text("\n".join(lines) + "\n")
    index(fields, atlas=fields.parent / "own", dataset="manifest", level="cell")
    atlas = locatlas.open(fields.parent / "own")
    with pytest.raises(InputError, match="nothing is cut out of them"):
        atlas.neighbors(image=fields / "a.tif", channels=CHANNELS, at=(14.5, 15.5))
    assert "manifest/a" not in hits(atlas, image=fields / "a.tif")


def test_an_image_of_several_files_is_known_by_any_of_them(fields: Path) -> None:
    lines = ["id,path_nucleus,path_protein,protein,mask_path"]
    for n, name in enumerate("ab"):
        planes = tifffile.imread(fields / f"{name}.tif")
        for channel, plane in zip(CHANNELS, planes, strict=True):
            tifffile.imwrite(fields / f"{name}_{channel}.tif", plane)
        lines.append(f"{name},{name}_nucleus.tif,{name}_protein.tif,P{n},{name}_mask.tif")
    (fields / "manifest.csv").write_text("\n".join(lines) + "\n")
    atlas = opened(fields)
    at = (14.5, 15.5)
    for channels in (CHANNELS, CHANNELS[::-1], ("protein",)):
        files = [fields / f"a_{channel}.tif" for channel in channels]
        assert atlas.neighbors(image=files, channels=channels, at=at)["id"].to_pylist() == ["manifest/b/1"]
        assert atlas.neighbors(image=files, channels=channels, level="fov")["id"].to_pylist() == ["manifest/b"]
    # the same bytes elsewhere are known where all channels are there, in their order
    for channel in CHANNELS:
        (fields.parent / f"{channel}.tif").write_bytes((fields / f"a_{channel}.tif").read_bytes())
    copies = [fields.parent / f"{channel}.tif" for channel in CHANNELS]
    assert atlas.neighbors(image=copies, channels=CHANNELS, level="fov")["id"].to_pylist() == ["manifest/b"]

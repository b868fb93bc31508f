"""Cellpose through a stand-in with the signatures of cellpose 4.2.1.1: what it is asked, what becomes of its answer."""

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.errors import ImageRejectedError, InputError
from locatlas.indexer.cells import cellpose as adapter
from locatlas.indexer.cells.segmenters import SegmenterSpec, get_segmenter, segment
from locatlas.types import ChannelImage
from tests.indexer.drawn_nuclei import discs, field, plane


class StandIn:
    """Threshold and connected parts where Cellpose has a network; numbers run backward."""

    made: ClassVar[list["StandIn"]] = []
    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(
        self,
        gpu: bool = False,
        pretrained_model: str = "cpsam_v2",
        model_type: str | None = None,
        diam_mean: float | None = None,
        device: object = None,
        nchan: int | None = None,
        use_bfloat16: bool = True,
    ) -> None:
        if Path(pretrained_model).read_bytes() == b"damaged":
            raise RuntimeError("PytorchStreamReader failed\nand more")
        assert not use_bfloat16
        self.made.append(self)

    def eval(
        self,
        x: NDArray[np.float32],
        batch_size: int = 8,
        resample: bool = True,
        channels: object = None,
        channel_axis: int | None = None,
        z_axis: int | None = None,
        normalize: bool = True,
        rescale: float | None = None,
        diameter: float | None = None,
        flow_threshold: float = 0.4,
        cellprob_threshold: float = 0.0,
        do_3D: bool = False,
        anisotropy: float | None = None,
        flow3D_smooth: float = 0,
        stitch_threshold: float = 0.0,
        min_size: int = 15,
        max_size_fraction: float = 0.4,
        niter: int | None = None,
        augment: bool = False,
        tile_overlap: float = 0.1,
        bsize: int | None = None,
        compute_masks: bool = True,
        progress: object = None,
    ) -> tuple[NDArray[np.uint16], list[object], NDArray[np.float32]]:
        assert channel_axis == 0
        assert x.ndim == 3
        self.asked.append(
            {"planes": len(x), "diameter": diameter, "flow": flow_threshold, "prob": cellprob_threshold, "top": x.max()}
        )
        labels, n = ndimage.label(x[0] > 1500)
        return np.where(labels > 0, n + 1 - labels, 0).astype(np.uint16).squeeze(), [], np.zeros(256, np.float32)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Cellpose is installed and its folder of models has weights; the folder."""
    package, models = ModuleType("cellpose"), ModuleType("cellpose.models")
    models.CellposeModel = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cellpose", package)
    monkeypatch.setitem(sys.modules, "cellpose.models", models)
    monkeypatch.setattr(adapter, "version_of", {"cellpose": "4.2.1.1"}.__getitem__)
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(StandIn, "asked", [])
    monkeypatch.setattr(adapter, "_named", {})
    monkeypatch.setenv("LOCATLAS_OFFLINE", "1")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "cpsam_v2").write_bytes(b"weights")
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(folder))
    adapter._network.cache_clear()
    yield folder
    adapter._network.cache_clear()


TRUE = discs((120, 160), [(40, 40, 30), (80, 110, 30)])
NUCLEUS = plane(TRUE)


def test_the_weights_are_recorded_by_their_digest_and_the_package_by_its_version(installed: Path) -> None:
    spec = get_segmenter("cellpose", {"diameter_px": "30", "cellprob_threshold": "-1"})
    assert dict(spec.parameters) == {
        "diameter_px": 30.0,
        "flow_threshold": 0.4,
        "cellprob_threshold": -1.0,
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        "cellpose": "4.2.1.1",
    }
    assert str(installed) not in spec.to_json()
    (installed / "cpsam_v2").write_bytes(b"weights, trained on")
    assert get_segmenter("cellpose", {"diameter_px": "30", "cellprob_threshold": "-1"}).id != spec.id


def test_nuclei_are_those_of_the_nucleus_channel_and_cells_those_around(installed: Path) -> None:
    er = plane(discs((120, 160), [(40, 40, 60), (80, 110, 50)]), seed=1)
    spec = get_segmenter("cellpose", {"diameter_px": "30", "flow_threshold": "0.3"})
    found = segment(field(NUCLEUS, protein=np.zeros_like(er), er=er), SegmenterSpec.from_json(spec.to_json()))
    assert [(one["planes"], one["diameter"], one["flow"], one["prob"]) for one in StandIn.asked] == [
        (1, 30.0, 0.3, 0.0),
        (2, 30.0, 0.3, 0.0),
    ]
    assert found.n_cells == 2
    assert found.cells.dtype == found.nuclei.dtype == np.int32
    for number, diameter in ((1, 60), (2, 50)):
        assert (found.cells == number).sum() == pytest.approx(np.pi / 4 * diameter**2, rel=0.1)
        assert (found.cells[found.nuclei == number] == number).all()
        assert (found.nuclei == number)[number == TRUE].mean() > 0.9


def test_cells_without_an_outlining_stain_end_half_a_diameter_beyond_their_nuclei(installed: Path) -> None:
    found = segment(field(NUCLEUS, protein=NUCLEUS), get_segmenter("cellpose", {}))
    assert len(StandIn.asked) == 1
    for number in (1, 2):
        assert (found.cells == number).sum() == pytest.approx(np.pi * 30**2, rel=0.1)


def test_a_network_is_built_once(installed: Path) -> None:
    spec = get_segmenter("cellpose", {})
    for _ in range(3):
        segment(field(NUCLEUS), spec)
    assert len(StandIn.made) == 1


def test_dim_floats_are_stretched_since_cellpose_takes_what_spans_a_thousandth_for_empty(installed: Path) -> None:
    spec = get_segmenter("cellpose", {})
    segment(field(NUCLEUS), spec)
    segment(field((NUCLEUS / 1e8).astype(np.float32)), spec)
    assert [one["top"] for one in StandIn.asked] == [NUCLEUS.max(), 65535]


def test_a_field_of_one_line_keeps_its_shape(installed: Path) -> None:
    line = NUCLEUS[40:41]
    assert segment(field(line), get_segmenter("cellpose", {})).cells.shape == line.shape


def test_a_field_without_nuclei_has_no_cells(installed: Path, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 100, (40, 50)).astype(np.uint16)
    assert segment(field(noise), get_segmenter("cellpose", {})).n_cells == 0


def test_images_without_usable_nuclei_are_refused_before_anything_is_loaded(installed: Path) -> None:
    spec = get_segmenter("cellpose", {})
    with pytest.raises(ImageRejectedError, match="no channel nucleus among er"):
        segment(ChannelImage(NUCLEUS[None], ("er",)), spec)
    with pytest.raises(ImageRejectedError, match="channel nucleus is flat"):
        segment(field(np.zeros((9, 9), np.uint8)), spec)
    assert StandIn.made == []


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(adapter, "version_of", missing)
    with pytest.raises(InputError) as error:
        get_segmenter("cellpose", {})
    assert str(error.value) == "segmenter cellpose needs the package cellpose: pip install 'locatlas[cellpose]'"


def test_an_old_package_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "version_of", {"cellpose": "3.1.1"}.__getitem__)
    with pytest.raises(InputError, match=r"cellpose 3\.1\.1 is too old, 4\.2 or later needed"):
        get_segmenter("cellpose", {})


def test_another_version_than_the_cells_are_of_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = get_segmenter("cellpose", {})
    monkeypatch.setattr(adapter, "version_of", {"cellpose": "4.3"}.__getitem__)
    with pytest.raises(InputError, match=r"cells are of cellpose 4\.2\.1\.1, installed is 4\.3.*--resegment"):
        segment(field(NUCLEUS), spec)


def test_without_network_one_line_says_which_file_to_put_where(installed: Path, home: Path) -> None:
    (installed / "cpsam_v2").unlink()
    with pytest.raises(InputError) as error:
        get_segmenter("cellpose", {})
    line = str(error.value)
    assert "\n" not in line
    assert "could not be downloaded (LOCATLAS_OFFLINE is set)" in line
    assert f"put https://huggingface.co/mouseland/cellpose-sam/resolve/main/cpsam_v2 at {home}/weights/cpsam_v2" in line
    (home / "weights").mkdir()
    (home / "weights" / "cpsam_v2").write_bytes(b"weights")
    assert segment(field(NUCLEUS), get_segmenter("cellpose", {})).n_cells == 2


def test_weights_of_a_users_own_are_taken_and_later_found_by_their_digest(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    with pytest.raises(InputError, match="own: no such file"):
        get_segmenter("cellpose", {"weights": str(own)})
    own.write_bytes(b"own weights")
    spec = get_segmenter("cellpose", {"weights": str(own)})
    assert segment(field(NUCLEUS), spec).n_cells == 2
    monkeypatch.setattr(adapter, "_named", {})  # as in another process
    with pytest.raises(InputError, match=r"sha256 [0-9a-f]{12}\.\.\. are neither in .* nor in .*weights=FILE"):
        segment(field(NUCLEUS), spec)
    own.rename(installed / "own")
    assert segment(field(NUCLEUS), spec).n_cells == 2


def test_weights_that_cannot_be_read_are_named(installed: Path) -> None:
    (installed / "cpsam_v2").write_bytes(b"damaged")
    with pytest.raises(InputError) as error:
        segment(field(NUCLEUS), get_segmenter("cellpose", {}))
    assert (
        str(error.value) == f"{installed / 'cpsam_v2'}: cellpose cannot use these weights (PytorchStreamReader failed)"
    )

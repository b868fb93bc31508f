"""What napari is given: pixels, meanings, contrast, scale, and the cell; and what napari makes of it."""

import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.napari_layers import COLORMAPS, add_layers, image_layers, open_viewer
from tests.cli.asking import document, run
from tests.indexer.made_cells import write_cells
from tests.query.made_atlas import row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_cells(tmp_path, 1)


def test_a_cell_is_shown_in_its_field(store: Store) -> None:
    cell = store.read_rows("cells", ["x/f0/4"]).to_pylist()[0]
    pixels = tifffile.imread(Path(store.folder.root_path(cell["root"])) / cell["sources"][0]["path"])
    layers = image_layers(store, "x/f0/4")
    by_name = {layer.options["name"]: layer for layer in layers}
    for number, channel in enumerate(cell["channels"]):
        layer = by_name[channel]
        assert np.array_equal(layer.data, pixels[number])
        low, high = layer.options["contrast_limits"]
        assert low < high
        assert layer.options["colormap"] == COLORMAPS[channel]
        assert layer.options["scale"] == (0.5, 0.5)
    box = by_name["cell x/f0/4"]
    top, left, bottom, right = cell["box"]
    assert box.data.tolist() == [[top, left], [top, right], [bottom, right], [bottom, left]]
    mask = by_name["mask"]
    assert mask.data.shape == (bottom - top, right - left)
    assert mask.options["translate"] == (top * 0.5, left * 0.5)


def test_napari_takes_every_layer_and_looks_at_the_cell(store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        try:
            components = importlib.import_module("napari.components")
        except ModuleNotFoundError:
            pytest.skip("napari is not installed")
        viewer = components.ViewerModel()
        layers = image_layers(store, "x/f0/4")
        add_layers(viewer, layers)
    assert [layer.name for layer in viewer.layers] == [layer.options["name"] for layer in layers]
    box = next(layer for layer in layers if layer.kind == "shapes").data
    assert tuple(viewer.camera.center)[-2:] == pytest.approx(tuple(box.mean(axis=0) * 0.5))


def test_a_field_has_no_box(store: Store) -> None:
    assert {layer.kind for layer in image_layers(store, "x/f0")} == {"image"}


def test_what_cannot_be_shown_is_said_in_one_line(store: Store) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown image 'x/nothing'.* known: .*x/f0"):
        image_layers(store, "x/nothing")
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([row("d/vector-only")], "fov"))
    with pytest.raises(InputError, match="d/vector-only: "):
        image_layers(store, "d/vector-only")
    field = store.read_rows("fovs", ["x/f0"]).to_pylist()[0]
    path = Path(store.folder.root_path(field["root"])) / field["sources"][0]["path"]
    tifffile.imwrite(path, tifffile.imread(path) + 1, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="changed since it was indexed; index it again"):
        image_layers(store, "x/f0/4")


def test_without_napari_or_a_screen_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(InputError, match=r"napari is not installed: pip install 'locatlas\[napari\]'"):
        open_viewer([])
    monkeypatch.setitem(sys.modules, "napari", type(sys)("napari"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match="napari needs a screen"):
        open_viewer([])


def test_the_command_says_what_it_would_show(store: Store) -> None:
    atlas = store.folder.path
    found = document("napari", "x/f0/4", "--atlas", atlas, "--dry-run")
    assert [layer["kind"] for layer in found["layers"]][-2:] == ["labels", "shapes"]
    assert found["opened"] is False
    told = run("napari", "x/f0", "--atlas", atlas, "--dry-run").stdout
    assert "nucleus" in told
    assert "blue" in told
    assert run("napari", "x/nothing", "--atlas", atlas, "--dry-run").exit_code == 1

"""Where images are prepared and encoded, from the command line to the ledger."""

import json
from pathlib import Path

import numpy as np
import pytest

from locatlas.cli import main
from locatlas.indexer.store.tables import Store
from tests.indexer.made import contents, name_of, write_collection

PICO = "locatlas_pico.untrained"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fields, one of which is none, and one of another size."""
    folder = write_collection(tmp_path_factory.mktemp("source"), range(9))
    (folder / name_of(7)).write_bytes(b"no image")
    return folder


def index(source: Path, target: Path, *options: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["index", str(source), "--atlas", str(target), "--dataset", "opencell", "--encoder", PICO, *options])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def indexed(source: Path, target: Path, *options: str) -> Store:
    assert index(source, target, *options) == 0
    return Store.open(target)


def device_of(store: Store) -> str:
    [run] = store.read("runs").to_pylist()
    found: str = json.loads(run["versions"])["device"]
    return found


def test_what_the_device_prepared_differs_in_rounding_alone_and_the_ledger_says_so(
    source: Path, tmp_path: Path
) -> None:
    here = indexed(source, tmp_path / "here", "--device", "cpu")
    there = indexed(source, tmp_path / "there", "--device", "cpu", "--prepare", "device")
    assert (device_of(here), device_of(there)) == ("cpu", "cpu, which prepares")
    wanted, found = contents(here), contents(there)
    [table] = [name for name in wanted if name.startswith("emb_")]
    vectors = [
        np.array([np.frombuffer(v, np.float32) for _, _, v in held.pop(table)], np.float64) for held in (wanted, found)
    ]
    assert found == wanted  # ids, rows and quarantine, and the encoder with its fingerprint
    assert vectors[0].shape == (8, 192)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-4 * np.abs(vectors[0]).max())


def test_a_number_of_images_at_once_is_kept_with_the_run(source: Path, tmp_path: Path) -> None:
    store = indexed(source, tmp_path / "atlas", "--device", "cpu", "--batch", "3")
    assert device_of(store) == "cpu, 3 images at once"
    assert store.count("fovs") == 8


@pytest.mark.parametrize(
    "options",
    [
        ("--batch", "0"),
        ("--batch", "257"),
        ("--batch", "many"),
        ("--device", "cpu,cpu", "--runtime", "openvino"),
        ("--device", "cpu", "--workers", "2"),
    ],
)
def test_wrong_usage(source: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert index(source, tmp_path / "atlas", *options) == 2
    assert not (tmp_path / "atlas").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "cpu,"), "a name between the commas"),
        (("--device", "cpu,cpu", "--profile-time"), "a profile: for one machine"),
        (("--device", "cuda:77"), "device 'cuda:77' cannot be used here"),
        (("--device", "nonsense"), "device 'nonsense' cannot be used here"),
        (("--device", "meta"), "device 'meta' cannot be used here"),
        (("--engine", "ray", "--device", "cpu"), "device cpu: for one machine"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert index(source, tmp_path / "atlas", *options) == 1
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "Traceback" not in told

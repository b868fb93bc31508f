"""Converted networks that are kept: the same bits without converting, damage, room, and what is another network."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from locatlas.models import converted, encode, runtimes, vit
from locatlas.models.converted import Entry, entry_of
from locatlas.models.encode import load_encoder, resolve
from locatlas.models.spec import EncoderSpec
from tests.forking import Forks
from tests.models.test_runtimes import images

NEEDS_OPENVINO = "OpenVINO is not installed: pip install 'locatlas[openvino]'"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCATLAS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def spec() -> EncoderSpec:
    return resolve("locatlas_pico.untrained").with_changes(input_px=64)


def refuse(*_: Any, **__: Any) -> None:
    pytest.fail("not to be done again")


class FakeOpenVino:
    """Writes a model of so many bytes."""

    def save_model(self, model: int, path: Path, *, compress_to_fp16: bool) -> None:
        assert not compress_to_fp16
        path.write_text("xml")
        path.with_suffix(".bin").write_bytes(bytes(model))


class FakeCore:
    def read_model(self, path: Path) -> int:
        return len(path.with_suffix(".bin").read_bytes())


def test_a_kept_network_gives_the_same_bits_without_weights_or_converting(
    home: Path, spec: EncoderSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason=NEEDS_OPENVINO)
    wanted = load_encoder(spec, runtime="openvino").encode(images(11))
    assert list((home / "openvino").iterdir())
    monkeypatch.setattr(runtimes, "_converted", refuse)
    monkeypatch.setattr(encode, "_fill", refuse)
    np.testing.assert_array_equal(load_encoder(spec, runtime="openvino").encode(images(11)), wanted)


def test_batches_of_a_shape_that_was_not_compared_are(home: Path, spec: EncoderSpec) -> None:
    pytest.importorskip("openvino", reason=NEEDS_OPENVINO)
    load_encoder(spec, runtime="openvino").encode(images(3))
    filled: list[EncoderSpec] = []
    with pytest.MonkeyPatch.context() as patch:
        real = encode._fill
        patch.setattr(encode, "_fill", lambda network, spec: (filled.append(spec), real(network, spec)))
        for batch_size, times in ((None, 0), (1, 1), (1, 1), (None, 1)):
            load_encoder(spec, runtime="openvino").encode(images(3), batch_size=batch_size)
            assert len(filled) == times


def test_a_kept_network_that_was_never_compared_is_refused_if_it_is_another(home: Path, spec: EncoderSpec) -> None:
    """Another network in the place of the right one, with digests that hold."""
    pytest.importorskip("openvino", reason=NEEDS_OPENVINO)
    other = spec.with_changes(weights_sha256="seed:7")
    for one in (spec, other):
        load_encoder(one, runtime="openvino").encode(images(1))
    version = runtimes._openvino().get_version()
    right, wrong = (entry_of(one, vit.build(one), version).folder for one in (spec, other))
    for name in ("model.xml", "model.bin", "entry.json"):
        (right / name).write_bytes((wrong / name).read_bytes())
    (right / "compared.json").unlink()
    with pytest.raises(runtimes.InputError, match="this runtime's vectors differ from torch's"):
        load_encoder(spec, runtime="openvino").encode(images(1))


def test_a_damaged_network_is_told_of_and_converted_again(
    home: Path, spec: EncoderSpec, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino", reason=NEEDS_OPENVINO)
    wanted = load_encoder(spec, runtime="openvino").encode(images(2))
    [file] = (home / "openvino").glob("*/model.bin")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_encoder(spec, runtime="openvino").encode(images(2)), wanted)
    assert [r for r in caplog.messages if "damaged (its digest is another)" in r] == caplog.messages != []
    data[len(data) // 2] ^= 1
    assert file.read_bytes() == data


def test_where_nothing_can_be_kept_the_network_is_used_and_it_is_told(
    home: Path, spec: EncoderSpec, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino", reason=NEEDS_OPENVINO)
    (home / "openvino").write_text("a file in the place of the folder")
    with caplog.at_level(logging.WARNING):
        assert load_encoder(spec, runtime="openvino").encode(images(1)).shape == (1, 192)
    assert len(caplog.messages) == 1
    assert "cannot be kept (" in caplog.messages[0]


def test_openvino_reports_nothing_of_its_use(forks: Forks) -> None:
    there = Path(pytest.importorskip("openvino", reason=NEEDS_OPENVINO).__file__).parents[1]
    done = forks.run(
        "import sys\n"
        "from locatlas.models.runtimes import _openvino\n"
        "_openvino().convert_model\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__, [n for n in sys.modules if 'openvino_telemetry' in n])",
        paths=[there],
    )
    assert (done.returncode, done.stdout.strip()) == (0, "openvino.tools.ovc.telemetry_stub []"), done.stderr


def test_whatever_decides_the_network_is_another_entry(home: Path, spec: EncoderSpec, make_spec: Callable) -> None:
    network = vit.build(spec)
    folders = [
        entry_of(spec, network, "2026.4").folder,
        entry_of(spec, network, "2026.5").folder,
        entry_of(spec.with_changes(weights_sha256="seed:1"), network, "2026.4").folder,
        entry_of(spec, torch.nn.Sequential(network), "2026.4").folder,
    ]
    assert len(set(folders)) == len(folders)
    assert entry_of(spec, vit.build(spec), "2026.4").folder == folders[0]
    assert folders[0].parent == home / "openvino"


@pytest.mark.parametrize("name", ["locatlas", "timm", "torch"])
def test_another_version_is_another_entry(spec: EncoderSpec, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = entry_of(spec, torch.nn.Identity(), "1").folder
    if name == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9")
    else:
        real = converted.version
        monkeypatch.setattr(converted, "version", lambda package: "9.9" if package == name else real(package))
    assert entry_of(spec, torch.nn.Identity(), "1").folder != before


def test_what_was_not_used_for_longest_makes_room_and_the_entry_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted, "KEPT_BYTES", 2500)
    entries = [Entry(tmp_path / name) for name in "abcd"]
    for second, entry in enumerate(entries[:2]):
        entry.write(FakeOpenVino(), 1000)
        os.utime(entry.folder / "entry.json", (second, second))
    assert entries[0].read(FakeCore()) == 1000  # used last
    entries[2].write(FakeOpenVino(), 1000)
    assert [bool(entry) for entry in entries] == [True, False, True, False]
    entries[3].write(FakeOpenVino(), 9000)
    assert [bool(entry) for entry in entries] == [False, False, False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_what_a_killed_write_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    for name, hours in (("old", 2), ("new", 0)):
        (tmp_path / f".{name}" / "entry").mkdir(parents=True)
        when = time.time() - 3600 * hours
        os.utime(tmp_path / f".{name}", (when, when))
    Entry(tmp_path / "a").write(FakeOpenVino(), 1000)
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".new"}


def test_what_is_left_of_a_removal_that_was_cut_short_is_replaced_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes(bytes(5000))
    monkeypatch.setattr(converted, "KEPT_BYTES", 2500)
    sealed, entry = Entry(tmp_path / "c"), Entry(tmp_path / "a")
    sealed.write(FakeOpenVino(), 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.bin").write_bytes(bytes(5000))
    entry.write(FakeOpenVino(), 1000)
    assert entry.read(FakeCore()) == 1000
    assert sealed.read(FakeCore()) == 1000


@pytest.mark.parametrize("module", ["plain_vit", "pooling", "subcell", "stem", "vit", "architectures"])
def test_other_source_of_what_computes_a_network_is_another_entry(
    spec: EncoderSpec, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entry_of(spec, torch.nn.Identity(), "1").folder
    real = converted.inspect.getsource
    changed = f"locatlas.models.{module}"
    monkeypatch.setattr(
        converted.inspect, "getsource", lambda m: real(m) + ("# changed" if m.__name__ == changed else "")
    )
    converted._source.cache_clear()
    try:
        assert entry_of(spec, torch.nn.Identity(), "1").folder != before
    finally:
        converted._source.cache_clear()


def test_an_entry_that_another_process_wrote_stays_as_it_is(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "a")
    entry.write(FakeOpenVino(), 10)
    entry.compared("here")
    entry.write(FakeOpenVino(), 20)
    assert entry.read(FakeCore()) == 10
    assert entry.was_compared("here")
    assert not entry.was_compared("elsewhere")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_noted_of_a_network_that_is_not_kept(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "a")
    entry.compared("here")
    assert not entry.was_compared("here")
    assert not entry.folder.exists()

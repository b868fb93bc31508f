"""How many images at once: the choice by made-up times, what is kept, and encoders that were told a number."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from locatlas.errors import InputError
from locatlas.models import batches
from locatlas.models.batches import best_batch, kept, measured
from locatlas.models.encode import load_encoder, resolve
from locatlas.types import ChannelImage

SPEC = resolve("locatlas_pico.untrained").with_changes(input_px=32)


def images(n: int) -> list[ChannelImage]:
    rng = np.random.default_rng(0)
    return [ChannelImage(rng.integers(0, 999, (2, 40, 40)).astype(np.uint16), ("nucleus", "protein")) for _ in range(n)]


@pytest.mark.parametrize(
    ("start_s", "per_image_s", "fits", "wanted"),
    [
        (1.0, 0.01, 256, 256),  # starting costs most: each doubling gains much
        (1.0, 0.1, 64, 64),  # more do not fit
        (0.0, 0.1, 256, 32),  # nothing is gained
        (1.0, 0.1, 256, 128),  # 256 images in 26.6 s are 3.7 % more a second than 128 in 13.8 s
        (1.0, 0.1, 0, 32),  # not even the usual number: it is halved when it is met
    ],
)
def test_the_size_beyond_which_little_is_gained(start_s: float, per_image_s: float, fits: int, wanted: int) -> None:
    def seconds(size: int) -> float:
        if size > fits:
            raise torch.OutOfMemoryError
        return start_s + per_image_s * size

    assert best_batch(seconds, batches.SIZES["cuda"]) == wanted


def test_a_trial_passes_whole_batches_of_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[tuple[int, ...]] = []
    clock = [0.0]

    def passed(batch: torch.Tensor) -> None:
        met.append(tuple(batch.shape))
        clock[0] += 1.0 + 0.01 * len(batch)

    monkeypatch.setattr(batches.time, "perf_counter", lambda: clock[0])
    assert measured(passed, torch.zeros(2, 3, 8, 8), torch.device("cpu")) == 32
    assert met == [(size, 2, 3, 8, 8) for size in batches.SIZES["cpu"] for _ in range(1 + batches.ROUNDS)]


def test_what_was_chosen_is_kept_so_that_a_continued_run_makes_the_same_vectors(home: Path) -> None:
    cpu, asked = torch.device("cpu"), list[int]()

    def measure() -> int:
        asked.append(1)
        return 8

    assert [kept(SPEC, cpu, "torch", measure) for _ in range(3)] == [8, 8, 8]
    assert len(asked) == 1
    assert kept(SPEC.with_changes(precision="bf16"), cpu, "torch", lambda: 16) == 16
    assert kept(SPEC, cpu, "compiled", lambda: 32) == 32
    assert sorted(json.loads((home / "batches.json").read_text()).values()) == [8, 16, 32]
    for damaged in ("", "[]", '{"x": "y"}', "{"):
        (home / "batches.json").write_text(damaged)
        assert kept(SPEC, cpu, "torch", lambda: 4) == 4
    (home / "batches.json").write_text(json.dumps(dict.fromkeys(json.loads((home / "batches.json").read_text()), -7)))
    assert kept(SPEC, cpu, "torch", lambda: 4) == 4


@pytest.mark.usefixtures("home")
def test_of_two_that_measure_at_once_one_takes_what_the_other_found() -> None:
    both = threading.Barrier(2)

    def measure(size: int) -> int:
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)  # they meet here if both measure
        return size

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda size: kept(SPEC, torch.device("cpu"), "torch", lambda: measure(size)), (8, 16)))
    assert len(set(found)) == 1
    assert both.broken


def test_a_home_that_cannot_be_written_is_no_obstacle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.rmdir()
    home.write_text("a file")
    assert kept(SPEC, torch.device("cpu"), "torch", lambda: 8) == 8
    home.unlink()


def test_the_kind_of_gpu_is_part_of_what_is_kept(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert kept(SPEC, torch.device("cuda", 0), "torch", lambda: 64) == 64
    assert kept(SPEC, torch.device("cuda", 1), "torch", lambda: 128) == 128
    assert kept(SPEC, torch.device("cuda", 0), "torch", lambda: 7) == 64


def test_an_encoder_measures_or_takes_the_number_it_is_told_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    usual = load_encoder(SPEC, device="cpu")
    wanted = usual.encode(images(9))
    assert (usual.ran_on, usual.at_once) == ("cpu", 0)
    told = load_encoder(SPEC, device="cpu", batch=24)
    assert (told.ran_on, told.at_once) == ("cpu, 24 images at once", 48)
    np.testing.assert_allclose(told.encode(images(9)), wanted, atol=2e-5)
    with caplog.at_level(logging.WARNING, "locatlas"):
        tried, again = (load_encoder(SPEC, device="cpu", batch=-1) for _ in range(2))
    assert tried._batch == again._batch
    assert tried._batch in batches.SIZES["cpu"]
    [said] = [record.getMessage() for record in caplog.records]
    assert said == f"{SPEC.name} on cpu: {tried._batch} images at once, found by trial, are kept"
    np.testing.assert_allclose(tried.encode(images(9)), wanted, atol=2e-5)


@pytest.mark.parametrize("plan", [{"passes": "separate", "stains": ("protein", "nucleus")}, {"pooling": "spread"}])
def test_a_trial_has_the_inputs_of_the_plan(plan: dict[str, Any]) -> None:
    spec = SPEC.with_changes(**plan)
    assert load_encoder(spec, device="cpu", batch=-1).encode(images(2)).shape == (2, spec.dim)


def test_for_images_of_any_size_no_number_is_best() -> None:
    with pytest.raises(InputError, match="no batch size is best"):
        load_encoder(SPEC.with_changes(resize="none_pad_to_patch"), device="cpu", batch=-1)

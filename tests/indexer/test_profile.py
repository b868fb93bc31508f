"""Seconds of stages: what is added up, and that a run tells them only when asked."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.indexer import reading
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.profile import BESIDE, IN_TURN, Profile
from tests.indexer.made import write_collection, write_field


class Slow:
    """Takes a given time for a batch."""

    at_once = 0

    def __init__(self, seconds: float) -> None:
        self.seconds, self.sizes = seconds, list[int]()

    def prepare(self, image: Any) -> Any:
        return image

    def encode_prepared(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        self.sizes.append(len(prepared))
        time.sleep(self.seconds)
        return np.zeros((len(prepared), 2), np.float32)


def test_stages_one_after_another_add_up_to_the_whole_and_those_beside_do_not_count() -> None:
    profile, timings = Profile(), defaultdict(float, {"read": 7.0})
    with profile.run(timings):
        with profile.beside("preparing"):
            time.sleep(0.02)
        timings["read"] += 0.004
        timings["encode"] += 0.005
    found = profile.to_dict()
    assert found["in_turn_s"]["waiting for images"] == pytest.approx(0.004, abs=1e-3)
    assert found["in_turn_s"]["encoder"] == pytest.approx(0.005, abs=1e-3)
    assert sum(found["in_turn_s"].values()) == pytest.approx(found["wall_s"], abs=5e-3)
    assert found["beside_s"]["preparing"] >= 0.02
    assert found["beside_core_s"]["preparing"] < 0.02  # it slept
    assert (found["encoder_images_per_s"], found["share_of_encoder"], found["images"]) == (None, None, 0)


def test_the_encoder_alone_is_measured_on_the_largest_batch_and_counts_no_images() -> None:
    profile, encoder = Profile(), Slow(0.01)
    profile.encoded([1, 2, 3])
    profile.encoded([4])
    profile.measure_encoder(encoder)
    assert set(encoder.sizes) == {3}
    assert profile.images == 4
    assert 100 < profile.to_dict()["encoder_images_per_s"] <= 300
    assert 0.01 * len(encoder.sizes) <= profile.to_dict()["encoder_s"] < 5


@pytest.mark.usefixtures("plain")
def test_runs_tell_their_profile_when_asked_and_only_then(tmp_path: Path) -> None:
    source, atlas = write_collection(tmp_path / "images"), tmp_path / "atlas"
    first = index(source, atlas=atlas, dataset="opencell", profile=True).profile
    assert first is not None
    assert first["images"] == 6
    assert set(first["in_turn_s"]) == {*IN_TURN.values(), "other"}
    assert all(first["beside_s"][stage] > 0 for stage in BESIDE)
    assert first["images_per_s"] == pytest.approx(6 / first["wall_s"], rel=0.1)
    assert embed(atlas=atlas, request=EncoderRequest()).profile is None
    again = reembed(atlas=atlas, profile=True).profile
    assert again is not None
    assert (again["images"], again["images_per_s"]) == (0, None)


@pytest.mark.usefixtures("plain")
def test_a_second_encoder_draws_no_pictures_again_but_those_of_changed_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, atlas = write_collection(tmp_path / "images"), tmp_path / "atlas"
    index(source, atlas=atlas, dataset="opencell")
    drawn: list[Any] = []
    monkeypatch.setattr(reading, "thumbnail", lambda image: drawn.append(image) or b"picture")
    request = EncoderRequest(name="locatlas_pico.untrained")
    assert embed(atlas=atlas, request=request).embedded == 6
    assert drawn == []
    write_field(source, 2, np.full((2, 40, 40), 7, np.uint16))
    assert index(source, atlas=atlas, dataset="opencell").embedded == 1
    assert len(drawn) == 1

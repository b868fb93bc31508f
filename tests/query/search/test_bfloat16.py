"""Coding in bfloat16: what it loses is measured, and its bits are compared as numbers are."""

import numpy as np
import pytest
import torch

from locatlas.query.search import bfloat16
from locatlas.query.search.bfloat16 import Room, bits_below, code, floats, half_unit, true_places
from locatlas.query.search.unit import prepare


@pytest.mark.parametrize("kept", [True, False])
def test_errors_of_coding_are_measured(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    monkeypatch.setattr(bfloat16, "KEPT_BYTES", (1 << 20) * kept)
    prepared = prepare((rng.normal(size=(300, 23)) + 2).astype(np.float32))
    columns = rng.permutation(300)[:290]
    coded = code(prepared, columns)
    assert (coded.kept is not None) == kept
    room = Room(300, 23)
    codes = coded.tile(0, 290, room).double().numpy()
    unit = (prepared.vectors / prepared.lengths[:, None])[columns]
    lost = np.linalg.norm(unit - coded.mean - codes, axis=1)
    assert lost.max() <= coded.error <= 1.01 * lost.max() + 1e-7
    assert np.linalg.norm(unit - coded.mean, axis=1).max() <= coded.norm
    # a row's code is the same in whatever tile it is made
    for low, high in ((0, 1), (3, 270), (255, 290)):
        np.testing.assert_array_equal(coded.tile(low, high, room).double().numpy(), codes[low:high])
    places = np.sort(rng.choice(290, 40, replace=False))
    np.testing.assert_array_equal(coded.take(places).double().numpy(), codes[places])


def test_true_places(rng: np.random.Generator) -> None:
    for shape in ((16, 24), (5, 7)):
        mask = rng.random(shape) < 0.1
        np.testing.assert_array_equal(true_places(mask), np.flatnonzero(mask))


def test_bits_are_ordered_as_numbers_and_rounding_takes_half_a_unit_at_most(rng: np.random.Generator) -> None:
    numbers = np.sort(np.abs(rng.normal(size=500))).astype(np.float32)
    bits = torch.from_numpy(numbers).bfloat16().view(torch.int16).numpy()
    assert (np.diff(bits.astype(int)) >= 0).all()
    lost = np.abs(numbers - floats(bits))
    assert (lost <= half_unit(bits)).all()
    assert lost.max() > 0


def test_bits_below_are_those_of_the_next_smaller_number(rng: np.random.Generator) -> None:
    numbers = np.concatenate([np.abs(rng.normal(size=500)), [0.0, -1.0, 1e-30, 0.5, 1.0]])
    bits = bits_below(numbers)
    above = np.maximum(numbers, 0)
    assert (floats(bits) <= above).all()
    assert (floats(bits + np.int16(1)) >= above).all()

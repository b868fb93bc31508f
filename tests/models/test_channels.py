from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import ImageRejectedError, InputError
from locatlas.models.channels import Pass, assemble, plan, slot_permutation, used_channels
from locatlas.models.spec import EncoderSpec

STAINS = ("microtubules", "protein", "nucleus", "er")
OPENCELL = ("nucleus", "protein")


def spec_with(**changes: object) -> EncoderSpec:
    fields: dict = {"name": "t", "architecture": "x", "slots": STAINS, "input_px": 16, "embedding_dim": 4}
    return EncoderSpec(**{**fields, **changes})


def test_natural_puts_opencells_channels_into_the_slots_of_their_stains() -> None:
    assert plan(spec_with(), OPENCELL) == (Pass((None, "protein", "nucleus", None)),)


def test_natural_gives_an_rgb_network_hpas_colours() -> None:
    rgb = spec_with(slots=("microtubules", "protein", "nucleus"))
    assert plan(rgb, ("er", "nucleus", "protein", "microtubules")) == (Pass(("microtubules", "protein", "nucleus")),)


def test_separate_passes_stand_in_the_order_of_the_stains() -> None:
    spec = spec_with(stains=("protein", "nucleus"), passes="separate")
    assert plan(spec, OPENCELL) == (Pass((None, "protein", None, None)), Pass((None, None, "nucleus", None)))


def test_replicate_copies_a_channel_into_all_slots_also_one_without_a_slot() -> None:
    spec = spec_with(mapping="replicate", stains=("actin", "protein"), passes="separate")
    assert plan(spec, ("protein", "actin")) == (Pass(("actin",) * 4), Pass(("protein",) * 4))


def test_only_the_stains_that_are_asked_for_are_used() -> None:
    assert plan(spec_with(stains=("protein",)), STAINS) == (Pass((None, "protein", None, None)),)


@given(st.integers(0, 10**6), st.lists(st.sampled_from(STAINS), min_size=1, unique=True))
def test_random_is_natural_with_the_slots_permuted(seed: int, channels: list[str]) -> None:
    natural = plan(spec_with(), channels)[0].sources
    target = slot_permutation(STAINS, seed)
    assert sorted(target) == [0, 1, 2, 3]
    shuffled = plan(spec_with(mapping="random", mapping_seed=seed), channels)[0].sources
    assert [shuffled[target[i]] for i in range(4)] == list(natural)


def test_all_permutations_come_about_equally_often() -> None:
    counts = dict.fromkeys(permutations(range(4)), 0)
    for seed in range(2400):
        counts[slot_permutation(STAINS, seed)] += 1
    chi2 = sum((n - 100) ** 2 / 100 for n in counts.values())
    assert chi2 < 49.7  # 0.999 quantile at 23 degrees of freedom


@given(st.permutations(STAINS), st.integers(1, 4))
def test_the_order_of_an_images_channels_does_not_matter(order: list[str], n: int) -> None:
    channels = order[:n]
    assert plan(spec_with(), channels) == plan(spec_with(), sorted(channels))
    assert used_channels(spec_with(), channels) == tuple(s for s in STAINS if s in channels)


def test_an_image_without_a_needed_channel_is_rejected_and_both_sets_are_named() -> None:
    spec = spec_with(stains=("protein", "er"))
    with pytest.raises(ImageRejectedError, match=r"lacks channel er: it has nucleus, protein, .* needs protein, er"):
        plan(spec, OPENCELL)


def test_an_image_that_fits_no_slot_is_rejected() -> None:
    with pytest.raises(
        ImageRejectedError, match=r"no channel of the image fits .* it has actin, dna, the slots are micro"
    ):
        plan(spec_with(), ("actin", "dna"))


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_a_stain_without_a_slot_is_an_error_of_the_caller(passes: str) -> None:
    with pytest.raises(InputError, match="no slot for actin among microtubules, protein, nucleus, er"):
        plan(spec_with(stains=("actin",), passes=passes), ("actin",))


def test_a_slot_without_a_channel_is_exactly_zero_after_normalization() -> None:
    spec = spec_with(mean=(0.1, 0.2, 0.3, 0.4), std=(1.0, 2.0, 4.0, 8.0))
    planes = torch.stack([torch.full((2, 3), 1.0), torch.full((2, 3), 0.5)])
    before = planes.clone()
    out = assemble(planes, OPENCELL, plan(spec, OPENCELL), spec)
    assert out.shape == (1, 4, 2, 3)
    assert torch.equal(out[0, [0, 3]], torch.zeros(2, 2, 3))
    torch.testing.assert_close(out[0, 1], torch.full((2, 3), (0.5 - 0.2) / 2))
    torch.testing.assert_close(out[0, 2], torch.full((2, 3), (1.0 - 0.3) / 4))
    assert torch.equal(planes, before)


def test_a_replicated_channel_is_normalized_by_each_slot(make_spec: Callable) -> None:
    spec = make_spec(
        mapping="replicate", passes="separate", stains=("protein",), mean=(0.0, 0.1, 0.2, 0.3), std=(1.0,) * 4
    )
    out = assemble(torch.ones(1, 1, 1), ("protein",), plan(spec, ("protein",)), spec)
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 0.9, 0.8, 0.7]))

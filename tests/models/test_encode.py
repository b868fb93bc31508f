import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from locatlas.errors import ImageRejectedError, InputError, UnknownNameError, WeightsError
from locatlas.models import registry, vit
from locatlas.models.channels import slot_permutation
from locatlas.models.encode import Encoder, load_encoder, resolve
from locatlas.models.spec import EncoderSpec
from locatlas.models.views import turned
from locatlas.models.weights import save, sha256_file
from locatlas.types import STAINS, ChannelImage
from tests.models.test_precision import RoundedConv

PICO = "locatlas_pico.untrained"


@pytest.fixture
def images(rng: np.random.Generator) -> list[ChannelImage]:
    """Seven of different sizes and types."""
    out = []
    for i, (height, width) in enumerate([(40, 52), (33, 33), (64, 40), (40, 52), (20, 20), (1, 1), (224, 224)]):
        if i % 3 == 2:
            pixels = rng.random((2, height, width), dtype=np.float32)
        else:
            dtype = (np.uint8, np.uint16)[i % 3]
            pixels = rng.integers(0, np.iinfo(dtype).max, (2, height, width), dtype=dtype)
        out.append(ChannelImage(pixels, ("nucleus", "protein")))
    return out


@pytest.fixture(scope="module")
def pico() -> Encoder:
    return load_encoder(resolve(PICO), device="cpu")


def smaller(spec: object, **changes: object) -> object:
    return spec.with_changes(input_px=32, **changes)  # type: ignore[attr-defined]


def test_the_untrained_encoder_gives_finite_vectors_that_tell_images_apart(pico: Encoder, images: list) -> None:
    vectors = pico.encode(images)
    assert vectors.shape == (7, 192)
    assert vectors.dtype == np.float32
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(7, 1)]
    assert cosines.max() < 0.9999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_images_bits_depend_neither_on_its_company_nor_on_its_place(precision: str, images: list) -> None:
    """So an interrupted run that goes on with other batches ends with the same table."""
    encoder = load_encoder(smaller(resolve(PICO, precision=precision)), device="cpu")  # type: ignore[arg-type]
    together = encoder.encode(images)
    np.testing.assert_array_equal(np.concatenate([encoder.encode([image]) for image in images]), together)
    np.testing.assert_array_equal(encoder.encode(images[::-1])[::-1], together)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_the_size_of_a_batch_changes_no_more_than_rounding(batch_size: int, images: list) -> None:
    encoder = load_encoder(smaller(resolve(PICO)), device="cpu")  # type: ignore[arg-type]
    np.testing.assert_allclose(encoder.encode(images, batch_size=batch_size), encoder.encode(images), atol=2e-5)


def test_images_of_any_size_are_batched_by_size_and_come_back_in_order(images: list) -> None:
    encoder = load_encoder(resolve(PICO).with_changes(resize="none_pad_to_patch"), device="cpu")
    single = np.concatenate([encoder.encode([image]) for image in images])
    np.testing.assert_array_equal(encoder.encode(images), single)


def test_encoding_changes_no_image_and_repeats_itself(pico: Encoder, images: list) -> None:
    before = [image.pixels.copy() for image in images]
    first, second = pico.encode(images), pico.encode(images)
    np.testing.assert_array_equal(first, second)
    for image, pixels in zip(images, before, strict=True):
        np.testing.assert_array_equal(image.pixels, pixels)


def test_many_images_pass_through_the_bounded_buffer_in_order(images: list, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(smaller(resolve(PICO)), device="cpu")  # type: ignore[arg-type]
    whole = encoder.encode(iter(images))
    monkeypatch.setattr("locatlas.models.encode._PREPARED_AT_ONCE", 2)
    np.testing.assert_array_equal(encoder.encode(iter(images)), whole)


def test_no_images_give_no_rows(pico: Encoder) -> None:
    assert pico.encode([]).shape == (0, 192)


def test_separate_passes_are_the_single_passes_side_by_side(images: list) -> None:
    both = load_encoder(smaller(resolve(PICO, passes="separate", stains=("protein", "nucleus"))), device="cpu")  # type: ignore[arg-type]
    one = [
        load_encoder(smaller(resolve(PICO, stains=(stain,))), device="cpu").encode(images)  # type: ignore[arg-type]
        for stain in ("protein", "nucleus")
    ]
    np.testing.assert_array_equal(both.encode(images), np.concatenate(one, axis=1))


def test_the_order_of_stains_changes_no_bit_of_a_joint_pass_and_orders_the_parts_of_separate_ones(
    images: list,
) -> None:
    order = ("nucleus", "protein")
    specs = [smaller(resolve(PICO), stains=stains, intensity="minmax_joint") for stains in (order, order[::-1])]
    joint = [load_encoder(spec, device="cpu").encode(images) for spec in specs]  # type: ignore[arg-type]
    np.testing.assert_array_equal(*joint)
    assert resolve(PICO, stains=order) == resolve(PICO, stains=order[::-1])
    apart = [
        load_encoder(smaller(spec, passes="separate"), device="cpu").encode(images)  # type: ignore[arg-type]
        for spec in specs
    ]
    np.testing.assert_array_equal(apart[0], np.roll(apart[1], 192, axis=1))


def test_replicate_is_an_image_with_the_channel_in_every_stain(images: list) -> None:
    spec = smaller(resolve(PICO, mapping="replicate", stains=("protein",)))
    natural = smaller(resolve(PICO))
    copies = [ChannelImage(np.stack([image.pixels[1]] * 4), STAINS) for image in images]
    np.testing.assert_array_equal(
        load_encoder(spec, device="cpu").encode(images),  # type: ignore[arg-type]
        load_encoder(natural, device="cpu").encode(copies),  # type: ignore[arg-type]
    )


def test_random_is_natural_with_channels_renamed(images: list) -> None:
    spec = resolve(PICO, mapping="random", seed=3)
    target = slot_permutation(spec.slots, 3)
    renamed = [
        ChannelImage(image.pixels, tuple(spec.slots[target[spec.slots.index(c)]] for c in image.channels))
        for image in images
    ]
    np.testing.assert_array_equal(
        load_encoder(smaller(spec), device="cpu").encode(images),  # type: ignore[arg-type]
        load_encoder(smaller(resolve(PICO)), device="cpu").encode(renamed),  # type: ignore[arg-type]
    )


def test_bf16_is_another_encoder_whose_vectors_are_nearly_the_same(images: list, pico: Encoder) -> None:
    half = resolve(PICO, precision="bf16")
    assert half.fingerprint != pico.spec.fingerprint
    a, b = pico.encode(images), load_encoder(half, device="cpu").encode(images)
    assert b.dtype == np.float32
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.999
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("changes", [{}, {"pooling": "cls_spread", "embedding_dim": 384, "views": 4}])
def test_a_bf16_encoder_that_was_stored_by_an_earlier_version_gives_its_bits(changes: dict, images: list) -> None:
    """Then all of the network was rounded, which its JSON does not say."""
    spec = resolve(PICO, precision="bf16").with_changes(input_px=32, **changes)
    stored = json.loads(spec.to_json())
    del stored["residual"]
    encoder = load_encoder(EncoderSpec.from_json(json.dumps(stored)), device="cpu")
    network: Any = vit.build(spec, any_size=True)  # timm's, as then
    vit.seed_weights(network, 0)
    network.to(torch.bfloat16)
    for parent in list(network.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, torch.nn.Conv2d):
                setattr(parent, name, RoundedConv(conv))
    given = torch.stack([encoder.prepare(image) for image in images[:4]]).flatten(0, 1)  # type: ignore[misc, arg-type]
    with torch.inference_mode():
        seen = [network(turned(given.bfloat16(), view)).float() for view in range(spec.views)]
    found = encoder.encode(images[:4])
    np.testing.assert_array_equal(found, torch.stack(seen).mean(dim=0).numpy())
    assert not np.array_equal(found, load_encoder(spec, device="cpu").encode(images[:4]))


def test_a_bf16_encoder_keeps_what_it_was_registered_with_and_a_new_one_has_float32_between_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_HOME", str(tmp_path))
    shipped = registry.get(PICO)
    for residual in ("fp32", "bf16"):
        name = f"own.{residual}"
        own = shipped.with_changes(name=name, precision="bf16", residual=residual)
        registry.own_encoder_path(name).parent.mkdir(exist_ok=True)
        registry.own_encoder_path(name).write_text(own.to_json())
        assert resolve(name).fingerprint == resolve(name, precision="bf16").fingerprint == own.fingerprint
        assert resolve(name, precision="fp32").fingerprint == shipped.fingerprint
    assert resolve(PICO, precision="bf16").residual == "fp32"


def test_a_bad_image_is_named_by_its_place(pico: Encoder, images: list) -> None:
    broken = ChannelImage(np.full((2, 9, 9), np.nan, np.float32), ("nucleus", "protein"))
    with pytest.raises(ImageRejectedError, match=r"^image 2: channel protein has 81 NaN"):
        pico.encode([*images[:2], broken])
    with pytest.raises(ImageRejectedError, match=r"^image 0: no channel of the image fits"):
        pico.encode([ChannelImage(np.zeros((1, 9, 9), np.uint8), ("actin",))])


def test_a_network_that_gives_nan_is_never_believed(pico: Encoder, images: list) -> None:
    broken = load_encoder(smaller(resolve(PICO)), device="cpu")  # type: ignore[arg-type]
    with torch.no_grad():
        next(broken._passes.network.parameters()).fill_(torch.nan)
    with pytest.raises(WeightsError, match="not finite"):
        broken.encode(images)


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cuda:97", "nonsense"):
        with pytest.raises(InputError, match=f"device '{device}' cannot be used here"):
            load_encoder(resolve(PICO), device=device)


class Narrow(nn.Module):
    """A network on a device whose memory takes so many images."""

    def __init__(self, network: nn.Module, takes: int) -> None:
        super().__init__()
        self.network, self.takes = network, takes
        self.sizes: list[int] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.takes:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB."
            raise torch.OutOfMemoryError(message)
        found: Tensor = self.network(batch)
        return found


def narrow(takes: int) -> tuple[Encoder, Narrow]:
    encoder = load_encoder(resolve(PICO), device="cpu")
    network = Narrow(encoder._passes.network, takes)
    encoder._passes.network = network
    return encoder, network


def test_out_of_memory_halves_the_batch_for_good_tells_it_once_and_changes_no_more_than_rounding(
    images: list, pico: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    many = [*images, *images, *images]
    encoder, network = narrow(2)
    found = encoder.encode(many, batch_size=8)
    np.testing.assert_allclose(found, pico.encode(many, batch_size=8), atol=2e-5)
    assert network.sizes[:2] == [8, 4]
    assert set(network.sizes[2:]) == {2}
    assert len(caplog.records) == 1
    assert "8 images at once do not fit into the memory of cpu; goes on with 4, or fewer" in caplog.text
    network.sizes.clear()
    # as an encoder that was asked for the smaller size from the beginning, bit for bit
    np.testing.assert_array_equal(encoder.encode(many, batch_size=8), pico.encode(many, batch_size=2))
    assert set(network.sizes) == {2}
    assert len(caplog.records) == 1


def test_one_image_that_does_not_fit_into_memory_is_told_in_one_line(images: list) -> None:
    encoder, network = narrow(0)
    with pytest.raises(InputError, match=r"one image of \(1, 4, 224, 224\) does not fit into the memory of cpu"):
        encoder.encode(images)
    assert network.sizes == [4, 2, 1]


@pytest.mark.gpu
def test_cuda_gives_the_vectors_of_the_cpu(images: list, pico: Encoder) -> None:
    vectors = load_encoder(resolve(PICO), device="cuda").encode(images)
    np.testing.assert_allclose(vectors, pico.encode(images), atol=1e-3)


@pytest.mark.gpu
def test_cuda_gives_the_same_bits_for_any_number_of_images(images: list) -> None:
    encoder = load_encoder(resolve(PICO), device="cuda")
    single = np.concatenate([encoder.encode([image]) for image in images])
    np.testing.assert_array_equal(encoder.encode(images), single)


@pytest.mark.parametrize(
    ("arguments", "mapping", "passes", "stains", "dim"),
    [
        ({}, "natural", "joint", (), 192),
        ({"stains": ("protein",)}, "natural", "joint", ("protein",), 192),
        (
            {"passes": "separate", "available": ("er", "protein", "actin")},
            "natural",
            "separate",
            ("protein", "er"),
            384,
        ),
        ({"passes": "separate", "stains": ("nucleus", "protein")}, "natural", "separate", ("nucleus", "protein"), 384),
        (
            {"mapping": "replicate", "available": ("actin", "nucleus", "protein")},
            "replicate",
            "separate",
            ("protein", "nucleus", "actin"),
            576,
        ),
        ({"mapping": "replicate", "passes": "joint", "stains": ("er",)}, "replicate", "separate", ("er",), 192),
        ({"mapping": "random", "seed": 4}, "random", "joint", (), 192),
    ],
)
def test_resolve_fills_in_the_plan(
    arguments: dict, mapping: str, passes: str, stains: tuple[str, ...], dim: int
) -> None:
    spec = resolve(PICO, **arguments)
    assert (spec.mapping, spec.passes, spec.stains, spec.dim) == (mapping, passes, stains, dim)
    assert len(spec.fingerprint) == 64


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"mapping": "random"}, "mapping_seed belongs to"),
        ({"seed": 1}, "mapping_seed belongs to"),
        ({"mapping": "replicate"}, "separate passes need the channels named"),
        ({"passes": "separate", "available": ("actin",)}, "separate passes need the channels named"),
        ({"stains": ("actin",)}, "no slot for actin among microtubules, protein, nucleus, er"),
        ({"stains": ("er", "er"), "passes": "separate"}, "stain named twice"),
        ({"mapping": "shuffle"}, "mapping 'shuffle', allowed: natural, random, replicate"),
    ],
)
def test_resolve_refuses_contradictions(arguments: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        resolve(PICO, **arguments)


def test_resolve_of_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*locatlas_pico.untrained"):
        resolve("nothing")


def test_resolve_takes_the_digest_of_the_file_in_the_weights_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_OFFLINE", "1")
    name = "vit_small_patch16_224.dino"
    with pytest.raises(WeightsError, match=r"put https://\S* at \S*/weights/vit_small_patch16_224.dino.safetensors$"):
        resolve(name)
    path = home / "weights" / f"{name}.safetensors"
    digest = save({"a": torch.zeros(1)}, path)
    assert resolve(name).weights_sha256 == digest == sha256_file(path)
    with pytest.raises(WeightsError, match=r"missing .*unexpected a$"):
        load_encoder(resolve(name))


def test_the_channel_adaptive_encoder_keeps_its_own_plan(
    tiny: None, make_spec: Callable, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "channel_adaptive_dino_vit_large_patch16.hpa"
    save({"a": torch.zeros(1)}, home / "weights" / f"{name}.safetensors")
    assert resolve(name).stains == ("microtubules", "protein", "nucleus", "er")
    opencell = resolve(name, available=("nucleus", "protein"))
    assert (opencell.mapping, opencell.passes) == ("replicate", "separate")
    assert opencell.stains == ("nucleus", "protein")
    assert opencell.dim == 2048

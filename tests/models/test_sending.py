"""Images prepared on the device of the network: what the encoder makes of them. Stand-ins note what CUDA is asked."""

from typing import Any

import numpy as np
import pytest
import torch

from locatlas.errors import ImageRejectedError, InputError
from locatlas.models import sending
from locatlas.models.encode import Encoder, load_encoder, resolve
from locatlas.models.sending import Sender, Sent, sender
from locatlas.models.transforms import network_input
from locatlas.types import ChannelImage

PICO = "locatlas_pico.untrained"


def small(**changes: Any) -> Any:
    return resolve(PICO).with_changes(input_px=32, **changes)


def images(n: int = 7) -> list[ChannelImage]:
    """Of different sizes and types, floats among them."""
    rng, out = np.random.default_rng(5), []
    for i in range(n):
        shape = (2, *[(40, 52), (33, 33), (64, 40)][i % 3])
        kinds = [np.uint16, np.uint8, np.float32]
        pixels = rng.random(shape, dtype=np.float32) if i % 4 == 3 else rng.integers(0, 250, shape).astype(kinds[i % 2])
        out.append(ChannelImage(pixels, ("nucleus", "protein")))
    return out


@pytest.fixture(scope="module")
def there() -> Encoder:
    return load_encoder(small(), device="cpu", prepare="device")


@pytest.fixture(scope="module")
def here() -> Encoder:
    return load_encoder(small(), device="cpu")


def test_vectors_are_those_of_the_processor_up_to_rounding(here: Encoder, there: Encoder) -> None:
    wanted, found = here.encode(images(13)), there.encode(images(13))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * float(np.abs(wanted).max()))
    cosine = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosine.min() > 0.999999
    assert (here.ran_on, there.ran_on) == ("cpu", "cpu, which prepares")


def test_an_images_bits_depend_neither_on_its_company_nor_on_its_place(there: Encoder) -> None:
    some = images(21)
    together = there.encode(some)
    np.testing.assert_array_equal(np.concatenate([there.encode([image]) for image in some]), together)
    np.testing.assert_array_equal(there.encode(some[::-1])[::-1], together)


def test_inputs_come_in_the_order_given_and_floats_are_prepared_on_the_processor(there: Encoder) -> None:
    some = images()
    sent = [there.prepare(image) for image in some]
    assert [isinstance(one, Sent) for one in sent] == [image.pixels.dtype != np.float32 for image in some]
    assert there._sender is not None
    for one, image in zip(there._sender.ready(sent), some, strict=True):
        torch.testing.assert_close(one, network_input(image, there.spec, patch_px=there._patch_px), atol=1e-5, rtol=0)


def test_large_images_are_prepared_one_by_one(there: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TOGETHER_PX", 5000)
    groups: list[int] = []
    real = sending.network_inputs

    def noted(pixels: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        groups.append(len(pixels))
        return real(pixels, *rest, **named)

    monkeypatch.setattr(sending, "network_inputs", noted)
    there.encode(images(6)[:3])  # 4160, 2178 and 5120 numbers
    assert sorted(groups) == [1, 1, 2]


@pytest.mark.parametrize(
    "image",
    [
        ChannelImage(np.full((2, 30, 30), np.nan, np.float32), ("nucleus", "protein")),
        ChannelImage(np.zeros((2, 0, 30), np.uint8), ("nucleus", "protein")),
        ChannelImage(np.zeros((2, 9, 9), np.int32), ("nucleus", "protein")),
        ChannelImage(np.zeros((1, 9, 9), np.uint8), ("dapi",)),
        ChannelImage(np.full((2, 30, 30), 3.0, np.float32), ("nucleus", "protein")),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_same_words(image: ChannelImage) -> None:
    there, here = (load_encoder(small(intensity="unit"), device="cpu", prepare=p) for p in ("device", "cpu"))
    with pytest.raises(ImageRejectedError) as wanted:
        here.prepare(image)
    with pytest.raises(ImageRejectedError) as found:
        there.prepare(image)
    assert str(found.value) == str(wanted.value)


def test_pixels_that_cannot_be_written_are_taken_without_a_warning(there: Encoder) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (2, 40, 40)).astype(np.uint16)
    wanted = there.encode([ChannelImage(pixels.copy(), ("nucleus", "protein"))])
    pixels.flags.writeable = False
    np.testing.assert_array_equal(there.encode([ChannelImage(pixels, ("nucleus", "protein"))]), wanted)


def test_where_it_is_done_by_default_and_what_cannot_do_it() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    spec = small()
    assert sender(spec, cpu, 16, "torch", "auto") is None
    assert sender(spec, cuda, 16, "torch", "cpu") is None
    # a standard deviation of nothing makes every image infinite: each is refused by name, on the processor
    assert sender(spec.with_changes(std=(1, 0, 1, 1), mean=(0, 0, 0, 0)), cpu, 16, "torch", "device") is None
    with pytest.raises(InputError, match="on mps for the runtime torch: prepare them on the cpu"):
        sender(spec, torch.device("mps"), 16, "torch", "device")
    with pytest.raises(InputError, match="for the runtime openvino"):
        sender(spec, cpu, 16, "openvino", "device")


class Cuda:
    """What is called of torch.cuda, noted."""

    def __init__(self, *, full: bool = False) -> None:
        self.full, self.said = full, list[str]()

    def Stream(self, device: torch.device) -> "Cuda":
        self.said.append(f"stream on {device}")
        return self

    def stream(self, _: Any) -> "Cuda":
        return self

    def __enter__(self) -> None:
        self.said.append("on it")

    def __exit__(self, *_: object) -> None: ...

    def record_event(self) -> str:
        if self.full:
            raise torch.OutOfMemoryError
        self.said.append("recorded")
        return "event"

    def current_stream(self, _: Any) -> "Cuda":
        return self

    def wait_event(self, event: str) -> None:
        self.said.append(f"waited for {event}")


@pytest.mark.parametrize("full", [False, True])
def test_on_cuda_pixels_are_pinned_sent_on_a_stream_of_their_own_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, *, full: bool
) -> None:
    """Without a GPU: pinning and streams are stand-ins, the pixels are those that were sent."""
    cuda, pinned = Cuda(full=full), list[bool]()
    real = torch.empty

    def empty(*shape: Any, pin_memory: bool = False, **named: Any) -> torch.Tensor:
        assert not pin_memory or cuda.said[-1] == "on it"
        pinned.append(pin_memory)
        return real(*shape, **named)

    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(sending.torch, "empty", empty)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: cuda.said.append("held"))
    one = Sender(small(), torch.device("cuda", 0), 16)
    one._device = torch.device("cpu")
    image = images(1)[0]
    sent = one.send(image)
    assert pinned == [True]
    np.testing.assert_array_equal(sent.pixels.numpy().view(np.uint16), image.pixels[::-1])  # in the order of slots
    [found] = one.ready([sent])
    torch.testing.assert_close(found, network_input(image, small(), patch_px=16), atol=1e-5, rtol=0)
    steps = ["stream on cuda:0", "on it"]
    assert cuda.said == (steps if full else [*steps, "recorded", "waited for event", "held"])


def test_a_group_that_the_memory_does_not_take_is_told_with_what_to_do(
    there: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(sending, "network_inputs", full)
    with pytest.raises(InputError, match=r"prepared in the memory of .*--prepare cpu"):
        there.encode(images(2))

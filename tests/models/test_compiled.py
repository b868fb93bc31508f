"""A compiled network's vectors against those of torch as it is."""

from typing import Any

import numpy as np
import pytest
import torch

from locatlas.errors import InputError
from locatlas.models import compiled
from locatlas.models.encode import load_encoder, resolve
from locatlas.types import ChannelImage
from tests.quick import some

SPEC = resolve("locatlas_pico.untrained").with_changes(input_px=32)


def images(n: int) -> list[ChannelImage]:
    rng = np.random.default_rng(0)
    return [ChannelImage(rng.integers(0, 999, (2, 40, 40)).astype(np.uint16), ("nucleus", "protein")) for _ in range(n)]


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "changes", some([{}, {"views": 4}, {"precision": "bf16"}, {"precision": "bf16", "residual": "bf16"}], 1, 3)
)
def test_vectors_are_torchs_and_those_of_a_filled_batch_are_too(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], backend: str
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", backend)
    torch.compiler.reset()
    spec = SPEC.with_changes(**changes)
    wanted = load_encoder(spec, device="cpu").encode(images(7))
    encoder = load_encoder(spec, device="cpu", runtime="compiled")
    found = encoder.encode(images(7))  # batches of four: the second is filled up
    atol = (5e-2 if "precision" in changes else 1e-4) * float(np.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, atol=atol)
    # an image's bits do not tell how many came along
    np.testing.assert_array_equal(np.concatenate([encoder.encode([image]) for image in images(7)]), found)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_compiled_is_told_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        message = "no compiler\nmore of it"
        raise RuntimeError(message)

    monkeypatch.setattr(compiled, "BACKEND", broken)
    torch.compiler.reset()
    encoder = load_encoder(SPEC, device="cpu", runtime="compiled")
    with pytest.raises(InputError, match=r"cannot compile it here \(.*no compiler.*use the runtime torch") as raised:
        encoder.encode(images(1))
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")
def test_a_full_memory_halves_the_batch_as_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile

    def small(network: Any, **named: Any) -> Any:
        run = real(network, **named)

        def passed(batch: torch.Tensor) -> Any:
            if len(batch) > 2:
                raise torch.OutOfMemoryError
            return run(batch)

        return passed

    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.setattr(torch, "compile", small)
    torch.compiler.reset()
    wanted = load_encoder(SPEC, device="cpu").encode(images(5), batch_size=2)
    found = load_encoder(SPEC, device="cpu", runtime="compiled").encode(images(5))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_images_of_any_size_are_refused() -> None:
    with pytest.raises(InputError, match="use runtime torch"):
        load_encoder(SPEC.with_changes(resize="none_pad_to_patch"), device="cpu", runtime="compiled")

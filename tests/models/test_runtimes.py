"""OpenVINO's vectors against torch's, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from locatlas.errors import InputError
from locatlas.models import runtimes
from locatlas.models.encode import load_encoder, resolve
from locatlas.models.runtimes import LEAST_COSINE, checked
from locatlas.models.spec import EncoderSpec
from locatlas.types import ChannelImage

PICO = "locatlas_pico.untrained"


def images(n: int, channels: tuple[str, ...] = ("nucleus", "protein")) -> list[ChannelImage]:
    rng = np.random.default_rng(0)
    return [ChannelImage(rng.integers(0, 4000, (len(channels), 70, 60), dtype=np.uint16), channels) for _ in range(n)]


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def small(architecture: str, **changes: object) -> EncoderSpec:
    fields: dict = {
        "name": f"small.{architecture}", "architecture": architecture, "slots": ("nucleus", "protein", "er"),
        "input_px": 64, "embedding_dim": 192, "weights_sha256": "seed:1",
    }  # fmt: skip
    return EncoderSpec(**{**fields, **changes})


SPECS = {
    "pico, a stem of convolutions and four slots": resolve(PICO).with_changes(input_px=64),
    "timm's DINOv2 layout, with LayerScale": small("vit_small_patch14_dinov2", input_px=56, embedding_dim=384),
    "an earlier block and the mean of patches": small("vit_tiny_patch16_224", block=3, pooling="mean"),
    "eight views": small("vit_tiny_patch16_224", views=4),
    "the spread of what shows something": small("vit_tiny_patch16_224", pooling="cls_spread", embedding_dim=384),
    "SubCell's pooling": small(
        "subcell_vit_base_patch16", pooling="gated_attention", embedding_dim=1536, slots=("nucleus", "protein")
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_openvino_gives_torchs_vectors(name: str) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'locatlas[openvino]'")
    spec = SPECS[name]
    wanted = load_encoder(spec, device="cpu").encode(images(5))
    found = load_encoder(spec, runtime="openvino").encode(images(5))
    assert least_cosine(found, wanted) > 0.999999
    np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())


def test_openvino_in_bf16_is_no_further_from_fp32_than_allowed() -> None:
    ov = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'locatlas[openvino]'")
    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("OpenVINO has no bf16 on this CPU")
    spec = small("vit_small_patch16_224", embedding_dim=384)
    wanted = load_encoder(spec, device="cpu").encode(images(6))
    found = load_encoder(spec.with_changes(precision="bf16"), runtime="openvino").encode(images(6))
    assert 0.9999 < least_cosine(found, wanted) < 1 - 1e-9


def test_a_batch_of_any_length_gives_an_image_the_same_bits() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'locatlas[openvino]'")
    encoder = load_encoder(SPECS["pico, a stem of convolutions and four slots"], runtime="openvino")
    shown = images(9)
    np.testing.assert_array_equal(np.concatenate([encoder.encode([i]) for i in shown]), encoder.encode(shown))


def test_openvino_in_lanes_gives_the_bits_of_one_after_another() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'locatlas[openvino]'")
    before = torch.get_num_threads()
    spec = SPECS["pico, a stem of convolutions and four slots"]
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            encoder = load_encoder(spec, runtime="openvino")
            encoder.encode(images(3))  # the first pass runs alone
            found.append(encoder.encode(images(36)))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_encoders_of_any_size_are_refused_before_anything_is_read() -> None:
    spec = resolve(PICO).with_changes(resize="none_pad_to_patch")
    with pytest.raises(InputError, match="takes images of any size; OpenVINO would convert it anew"):
        load_encoder(spec, runtime="openvino")


def test_a_missing_openvino_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(InputError, match=r"not installed .*pip install 'locatlas\[openvino\]'"):
        load_encoder(resolve(PICO), runtime="openvino")
    with pytest.raises(InputError, match="not installed"):
        runtimes.runtime_version("openvino")


@pytest.mark.parametrize(("angle", "refused"), [(0.0, False), (0.01, False), (0.02, True), (float("nan"), True)])
def test_the_first_batch_is_compared_and_only_it(angle: float, refused: bool) -> None:
    """cos 0.01 is 0.99995, cos 0.02 is 0.9998."""
    calls: list[int] = []

    class Plain(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            calls.append(len(batch))
            return torch.tensor([[1.0, 0.0]]).expand(len(batch), 2)

    turned = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
    run = checked(lambda batch: turned.expand(len(batch), 2), Plain(), resolve(PICO))
    if refused:
        with pytest.raises(InputError, match=f"differ from torch's in float32 .*{LEAST_COSINE['fp32']} needed"):
            run(torch.zeros(3, 1))
        return
    assert torch.equal(run(torch.zeros(3, 1)), turned.expand(3, 2))
    run(torch.zeros(3, 1))
    assert calls == [3]

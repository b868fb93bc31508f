"""Every tensor is random, so that two cannot be confused: equal tensors under equal names prove the way."""

import re
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from locatlas.errors import WeightsError
from locatlas.models import vit
from locatlas.models.layouts import check_fit, convert, shown
from tests.models import published

DINO4CELLS_SLOTS = ("microtubules", "protein", "nucleus", "er")


def tensors_of(spec: object, seed: int = 1) -> dict[str, Tensor]:
    network = vit.build(spec)  # type: ignore[arg-type]
    vit.seed_weights(network, seed)
    state = vit.weights_module(network).state_dict()
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(tensor.shape, generator=generator) for name, tensor in state.items()}


def assert_equal(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name in expected:
        assert torch.equal(got[name], expected[name]), name


@pytest.fixture
def dino_tensors(tiny: None, make_spec: Callable) -> dict[str, Tensor]:
    """Eleven blocks, so that there is a `blocks.10.`."""
    return tensors_of(make_spec(architecture="vit_base_patch16"))


@pytest.fixture
def subcell_tensors(tiny: None, make_spec: Callable) -> dict[str, Tensor]:
    spec = make_spec(architecture="subcell_vit_base_patch16", slots=("nucleus", "protein"), pooling="gated_attention")
    return tensors_of(spec)


def test_dino4cells_gives_the_teachers_backbone_and_reports_the_rest(dino_tensors: dict[str, Tensor]) -> None:
    converted = convert(published.dino4cells(dino_tensors))
    assert_equal(converted.tensors, dino_tensors)
    assert converted.layout == "dino"
    assert set(converted.dropped) >= {"student", "optimizer", "epoch", "args", "dino_loss", "fp16_scaler"}
    assert sum(name.startswith("head.") for name in converted.dropped) == 8


def test_a_checkpoint_with_a_student_only_gives_the_student(dino_tensors: dict[str, Tensor]) -> None:
    checkpoint = published.dino4cells(dino_tensors)
    del checkpoint["teacher"]
    converted = convert(checkpoint)
    assert_equal(converted.tensors, {name: tensor + 1 for name, tensor in dino_tensors.items()})
    assert "blocks.10.norm1.weight" in converted.tensors


def test_leftovers_of_a_dropped_head_are_dropped_and_reported(dino_tensors: dict[str, Tensor]) -> None:
    teacher = published.dino4cells(dino_tensors)["teacher"]
    teacher["dino_head.last_layer.weight_v"] = teacher["ibot_head.mlp.0.bias"] = torch.zeros(2)  # DINOv2's
    converted = convert({"teacher": teacher})
    assert_equal(converted.tensors, dino_tensors)
    assert {"dino_head.last_layer.weight_v", "ibot_head.mlp.0.bias"} <= set(converted.dropped)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_timms_names_are_kept_in_any_wrapper(wrapper: str | None, prefix: str, dino_tensors: dict[str, Tensor]) -> None:
    flat = {f"{prefix}{name}": tensor for name, tensor in dino_tensors.items()}
    converted = convert(flat if wrapper is None else {wrapper: flat, "epoch": 3})
    assert_equal(converted.tensors, dino_tensors)
    assert converted.layout == "timm"
    assert converted.dropped == (() if wrapper is None else ("epoch",))


def test_a_classifier_of_timms_is_dropped(dino_tensors: dict[str, Tensor]) -> None:
    head = {"head.weight": torch.zeros(10, 24), "head.bias": torch.zeros(10)}
    converted = convert({**dino_tensors, **head})
    assert_equal(converted.tensors, dino_tensors)
    assert converted.dropped == ("head.bias", "head.weight")


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_blocks_of_cell_dino_in_chunks_keep_their_number(chunk: int, tiny: None, make_spec: Callable) -> None:
    expected = tensors_of(make_spec(architecture="cell_dino_vit_large_patch16"))
    assert "blocks.3.ls1.gamma" in expected
    converted = convert(published.cell_dino(expected, chunk=chunk))
    assert_equal(converted.tensors, expected)
    assert converted.layout == "dinov2"
    assert converted.dropped == ("mask_token",)


def test_registers_of_dinov2_become_timms_and_cls_takes_its_position(tiny: None, make_spec: Callable) -> None:
    flat = tensors_of(make_spec(architecture="cell_dino_vit_large_patch16"))
    registers = torch.rand(1, 4, 24)
    got = convert({**flat, "mask_token": torch.zeros(1, 24), "register_tokens": registers}).tensors
    assert torch.equal(got["reg_token"], registers)
    assert torch.equal(got["cls_token"][0, 0], flat["cls_token"][0, 0] + flat["pos_embed"][0, 0])
    assert torch.equal(got["pos_embed"], flat["pos_embed"][:, 1:])
    assert "register_tokens" not in got


def test_registers_agree_with_timms_own_conversion() -> None:
    from locatlas.models.torchvision_shim import import_timm

    timm = import_timm()
    network = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=28, depth=1)
    meta = {
        **{
            name: torch.rand_like(t)
            for name, t in network.state_dict().items()
            if name not in ("reg_token", "pos_embed")
        },
        "register_tokens": torch.rand(1, 4, 384),
        "pos_embed": torch.rand(1, 5, 384),
        "mask_token": torch.rand(1, 384),
    }
    theirs = timm.models.vision_transformer.checkpoint_filter_fn(dict(meta), network)
    assert_equal(convert(meta).tensors, theirs)


def test_swiglu_of_dinov2_gets_timms_names() -> None:
    flat = {
        "mask_token": torch.zeros(1),
        "blocks.0.0.mlp.w12.weight": torch.rand(4),
        "blocks.0.0.mlp.w3.bias": torch.rand(3),
    }
    assert convert(flat).tensors.keys() == {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.bias"}


@pytest.mark.parametrize("dropout", [True, False])
def test_subcell_is_put_together_from_hugging_faces_parts(dropout: bool, subcell_tensors: dict[str, Tensor]) -> None:
    converted = convert(published.subcell(subcell_tensors, dropout=dropout))
    assert_equal(converted.tensors, subcell_tensors)
    assert converted.layout == "subcell"
    assert converted.dropped == ("classifier.0.bias", "classifier.0.weight")


def test_a_subcell_file_without_its_keys_is_refused(subcell_tensors: dict[str, Tensor]) -> None:
    checkpoint = published.subcell(subcell_tensors, dropout=True)
    del checkpoint["encoder.encoder.layer.1.attention.attention.key.bias"]
    with pytest.raises(WeightsError, match=r"blocks.1.attn.qkv.bias cannot be put together: key missing"):
        convert(checkpoint)


def test_names_corrupted_by_removing_zeros_are_refused(dino_tensors: dict[str, Tensor]) -> None:
    """DINO4Cells' loader does this to student checkpoints."""
    corrupted = {name.replace("0.", ""): tensor for name, tensor in dino_tensors.items()}
    with pytest.raises(WeightsError, match=r"missing blocks\.0\..*blocks\.10\..*unexpected blocks\.1attn") as error:
        check_fit(convert(corrupted).tensors, dino_tensors)
    assert "(24 in all)" in str(error.value)  # both blocks' twelve


@pytest.mark.parametrize("name", ["cls_token", "blocks.10.mlp.fc2.bias", "norm.weight", "patch_embed.proj.weight"])
def test_a_missing_an_extra_and_a_renamed_tensor_are_each_refused(name: str, dino_tensors: dict[str, Tensor]) -> None:
    short = {k: v for k, v in dino_tensors.items() if k != name}
    with pytest.raises(WeightsError, match=f"^missing {re.escape(name)}$"):
        check_fit(short, dino_tensors)
    with pytest.raises(WeightsError, match=f"^unexpected {re.escape(name)}$"):
        check_fit(dino_tensors, short)
    with pytest.raises(WeightsError, match=f"^missing {re.escape(name)}; unexpected new$"):
        check_fit({**short, "new": dino_tensors[name]}, dino_tensors)


def test_a_transposed_tensor_is_refused_with_both_shapes(dino_tensors: dict[str, Tensor]) -> None:
    name = "blocks.3.mlp.fc1.weight"
    wrong = {**dino_tensors, name: dino_tensors[name].T}
    with pytest.raises(WeightsError, match=r"shapes differ: blocks.3.mlp.fc1.weight \(24, 96\) instead of \(96, 24\)"):
        check_fit(wrong, dino_tensors)


def test_a_tensor_with_a_nan_is_refused(dino_tensors: dict[str, Tensor]) -> None:
    broken = {**dino_tensors, "cls_token": dino_tensors["cls_token"] * torch.nan}
    with pytest.raises(WeightsError, match="not finite: cls_token"):
        check_fit(broken, dino_tensors)


@pytest.mark.parametrize(
    ("checkpoint", "reason"),
    [
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
        ({"epoch": 3, "weights": {"a": torch.zeros(1)}}, "no known layout: epoch, weights not tensors"),
        ({"backbone.a": torch.zeros(1), "a": torch.zeros(1)}, "two tensors .* in one place: a"),
    ],
)
def test_what_cannot_be_a_network_is_refused(checkpoint: dict, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        convert(checkpoint)


def test_long_lists_are_cut_and_counted() -> None:
    assert shown(["a", "b"]) == "a, b"
    assert shown([str(i) for i in range(30)]).endswith("18, 19, ... (30 in all)")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn],
    ids=str,
)
def test_a_number_that_is_not_finite_is_found_among_numbers_of_any_size(dtype: torch.dtype, bad: float) -> None:
    numbers = torch.linspace(-400, 400, 24).reshape(4, 6).to(dtype)
    empty = torch.empty(0, dtype=dtype)
    check_fit({"a": numbers, "b": empty}, {"a": numbers, "b": empty})
    numbers[2, 3] = bad
    if torch.isfinite(numbers.float()).all():
        pytest.skip(f"{dtype} has no {bad}")
    with pytest.raises(WeightsError, match=r"not finite: a$"):
        check_fit({"a": numbers}, {"a": numbers})

import pytest
import torch
from torch import nn

from locatlas.errors import InputError
from locatlas.models.training.heads import HEADS, HeadKind, HeadSpec, build_head


def _shapes(head: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in head.modules() if isinstance(layer, nn.Linear)]


def test_each_head_has_the_layers_of_its_source() -> None:
    assert _shapes(build_head(HeadSpec(kind="linear"), 768, 19)) == [(768, 19)]
    assert _shapes(build_head(HeadSpec(kind="mlp"), 768, 19)) == [(768, 512), (512, 256), (256, 19)]
    assert _shapes(build_head(HeadSpec(kind="wide"), 768, 28)) == [(768, 1024), (1024, 28)]


def test_only_the_mlp_drops_units_by_default_and_each_hidden_layer_once() -> None:
    for kind, expected in {"linear": [], "mlp": [0.5, 0.5], "wide": []}.items():
        head = build_head(HeadSpec(kind=kind), 8, 3)  # type: ignore[arg-type]
        assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == expected


def test_a_head_of_ones_computes_what_a_hand_does() -> None:
    head = build_head(HeadSpec(kind="wide", hidden=(2,)), 2, 1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(1.0)
    # hidden: relu(3 - 5 + 1) = 0 and relu(1 + 1 + 1) = 3, both units; out: 0 + 0 + 1 and 3 + 3 + 1
    assert head(torch.tensor([[3.0, -5.0], [1.0, 1.0]])).tolist() == [[1.0], [7.0]]


@pytest.mark.parametrize("kind", HEADS)
def test_a_seed_decides_the_initial_weights(kind: HeadKind) -> None:
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(torch.cat([p.flatten() for p in build_head(HeadSpec(kind=kind), 5, 2).parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_shapes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="one of linear, mlp, wide"):
        HeadSpec(kind="deep")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dropout 1"):
        HeadSpec(dropout=1.0)
    with pytest.raises(InputError, match="hidden widths"):
        HeadSpec(hidden=(0,))
    with pytest.raises(InputError, match="0 classes"):
        build_head(HeadSpec(), 4, 0)

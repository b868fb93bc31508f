"""DINO on a small network, against recomputation by hand."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from locatlas.errors import InputError, TrainingStoppedError
from locatlas.models import vit
from locatlas.models.training.dino import DinoObjective, DinoOptions

TINY = {
    "global_px": 16,
    "local_px": 16,
    "n_local": 2,
    "prototypes": 10,
    "bottleneck": 6,
    "hidden": 8,
    "freeze_last_layer": 0.0,
    "momentum": 0.9,
}
CPU = torch.device("cpu")


@pytest.fixture
def objective(small: Callable, images: Callable) -> Callable[..., DinoObjective]:
    def make(
        options: dict | None = None,
        *,
        spec: dict | None = None,
        shown: Any = None,
        n_steps: int = 20,
        change: Callable[[nn.Module], object] | None = None,
        **changes: Any,
    ) -> DinoObjective:
        settled = small(**(spec or {}))
        network = vit.build(settled, any_size=True)
        vit.seed_weights(network, 0)
        if change is not None:
            change(network)
        made = DinoObjective(
            network,
            settled,
            images() if shown is None else shown,
            options=DinoOptions(**TINY | (options or {})),
            **changes,
        )
        made.start(n_steps, CPU)
        return made

    return make


def step_of(objective: DinoObjective, optimizer: torch.optim.Optimizer, step: int, n: int = 6) -> tuple[float, dict]:
    loss, metrics = objective.module(objective.batch(objective.indices(step, n), step), step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    objective.after_step(step)
    return loss.item(), {name: value.item() for name, value in metrics.items()}


def optimizer_of(objective: DinoObjective, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(objective.parameter_groups(lr, 0.04), lr=lr)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("batch_norm", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_loss_falls(batch_norm: bool, objective: Callable) -> None:
    """Teacher and centre stand still here: where they move, what is to be said moves, and the loss tells nothing."""
    made = objective({"momentum": 1.0, "center_momentum": 1.0, "batch_norm": batch_norm}, n_steps=50)
    optimizer = optimizer_of(made, 5e-4)
    losses = [step_of(made, optimizer, step, 12)[0] for step in range(50)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1
    assert np.isfinite(losses).all()


def test_loss_and_metrics_are_those_of_networks_run_crop_by_crop(objective: Callable) -> None:
    made = objective()
    module = made.module
    module.centre.copy_(torch.linspace(-0.1, 0.1, 10))
    large, small_ones = made.batch([3, 0, 7], 5)
    loss, metrics = module([large, small_ones], 5)
    with torch.no_grad():
        q = []
        for crop in large:
            score = module.teacher_head(module.teacher(crop[None]))[0].double()
            exponent = ((score - module.centre) / 0.04).exp()
            q.append((exponent / exponent.sum()).numpy())
        log_p = []
        for crop in [*large, *small_ones]:
            score = (module.head(module.student(crop[None]))[0].double() / 0.1).exp()
            log_p.append((score / score.sum()).log().numpy())
    terms = [
        -(q[view * 3 + n] * log_p[other * 3 + n]).sum()
        for view in range(2)
        for other in range(4)
        for n in range(3)
        if view != other
    ]
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-4)
    entropies = [-(one * np.log(one)).sum() for one in q]
    together = np.mean(q, axis=0)
    assert metrics["teacher_entropy"].item() == pytest.approx(np.mean(entropies), rel=1e-4)
    assert metrics["kl"].item() == pytest.approx(np.mean(terms) - np.mean(entropies), rel=1e-3)
    information = -(together * np.log(together)).sum() - np.mean(entropies)
    assert metrics["information"].item() == pytest.approx(information, rel=1e-2, abs=1e-4)


def test_the_teacher_is_the_moving_average_of_the_student(objective: Callable) -> None:
    made = objective(n_steps=4)
    optimizer = optimizer_of(made)
    expected = copied(made.module.student)
    head = copied(made.module.head)
    for step in range(4):
        step_of(made, optimizer, step)
        kept = 1 - (1 - 0.9) * (1 + math.cos(math.pi * step / 4)) / 2
        for average, module in ((expected, made.module.student), (head, made.module.head)):
            for name, tensor in module.state_dict().items():
                average[name] = kept * average[name] + (1 - kept) * tensor
    for average, module in ((expected, made.module.teacher), (head, made.module.teacher_head)):
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(tensor, average[name], rtol=1e-5, atol=1e-7)
    moved = [not torch.equal(tensor, made.module.student.state_dict()[name]) for name, tensor in expected.items()]
    assert all(moved)


def test_the_encoder_that_comes_out_is_the_teacher(objective: Callable) -> None:
    made = objective()
    step_of(made, optimizer_of(made), 0)
    found = made.encoder_state()
    expected = vit.weights_module(made.module.teacher).state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name])
    kept = found["blocks.0.mlp.fc1.weight"].clone()
    step_of(made, optimizer_of(made), 1)
    assert torch.equal(found["blocks.0.mlp.fc1.weight"], kept)


@pytest.mark.parametrize("parts", [1, 3])
def test_the_centre_is_the_moving_average_of_the_teachers_scores(parts: int, objective: Callable) -> None:
    """Moved once a step, by all parts of the batch together."""
    made = objective()
    expected = torch.zeros(10)
    for step in range(3):
        seen = []
        for part in range(parts):
            batch = made.batch(made.indices(step, 6)[part * 6 // parts : (part + 1) * 6 // parts], step)
            before = made.module.centre.clone()
            made.module(batch, step)
            assert torch.equal(made.module.centre, before)
            with torch.no_grad():
                seen.append(made.module.teacher_head(made.module.teacher(batch[0])))
        made.after_step(step)
        expected = 0.9 * expected + 0.1 * torch.cat(seen).mean(dim=0)
        torch.testing.assert_close(made.module.centre, expected, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(objective: Callable) -> None:
    whole, parted = objective(), objective()
    whole.module(whole.batch(range(6), 0), 0)[0].backward()
    for start in (0, 3):
        (parted.module(parted.batch(range(start, start + 3), 0), 0)[0] / 2).backward()
    for (name, one), other in zip(whole.module.named_parameters(), parted.module.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_frozen_blocks_do_not_change_by_a_bit_in_student_and_teacher(objective: Callable) -> None:
    made = objective(blocks=1)
    before = copied(made.module.student)
    optimizer = optimizer_of(made)
    for step in range(3):
        step_of(made, optimizer, step)
    for module in (made.module.student, made.module.teacher):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, before[name]) != name.startswith(("vit.blocks.2.", "vit.norm.")), name


def test_blocks_behind_the_one_in_use_are_neither_trained_nor_counted(objective: Callable) -> None:
    made = objective(spec={"block": 2})
    counted = {id(one) for group in made.parameter_groups(1, 0) for one in group["params"]}
    assert counted == {id(one) for one in made.module.parameters() if one.requires_grad}
    before = copied(made.module.student)
    step_of(made, optimizer_of(made), 0)
    same = [
        torch.equal(one, before[name]) for name, one in made.module.student.state_dict().items() if "blocks.2" in name
    ]
    assert all(same)
    assert same


def test_prototypes_stand_still_at_first_and_keep_length_1(objective: Callable) -> None:
    made = objective({"freeze_last_layer": 0.1}, n_steps=20)
    optimizer = optimizer_of(made, 0.05)
    before = made.module.head.prototypes.detach().clone()
    for step in range(2):
        step_of(made, optimizer, step)
        assert torch.equal(made.module.head.prototypes, before)
    step_of(made, optimizer, 2)
    assert not torch.allclose(made.module.head.prototypes, before)
    torch.testing.assert_close(made.module.head.prototypes.norm(dim=1), torch.ones(10))


def test_batches_are_a_function_of_seed_step_and_image(objective: Callable) -> None:
    one, other, third = objective(seed=3), objective(seed=3), objective(seed=4)
    large, small_ones = one.batch([4, 9, 2], 7)
    assert large.shape == (6, 4, 16, 16)
    assert small_ones.shape == (6, 4, 16, 16)
    again, _ = other.batch([2, 4], 7)
    assert torch.equal(large[[2, 0, 5, 3]], again)  # whoever else is in the batch
    assert not torch.equal(large, one.batch([4, 9, 2], 8)[0])
    assert not torch.equal(large, third.batch([4, 9, 2], 7)[0])
    assert not torch.equal(large[:3], large[3:])
    assert one.indices(5, 6) == other.indices(5, 6) != third.indices(5, 6)


@pytest.mark.parametrize(
    "spec",
    [
        {"pooling": "mean", "intensity": "standardize"},
        {"pooling": "spread"},
        {"pooling": "cls_spread", "embedding_dim": 24, "block": 2},
        {"architecture": "subcell_vit_base_patch16", "pooling": "gated_attention", "embedding_dim": 24},
    ],
)
def test_every_pooling_trains_and_has_finite_gradients(spec: dict, objective: Callable, images: Callable) -> None:
    made = objective(spec=spec, shown=images(blank=28))  # crops of which one row of patches, or none, shows anything
    optimizer = optimizer_of(made)
    for step in range(3):
        step_of(made, optimizer, step)
        for name, one in made.module.named_parameters():
            assert one.grad is None or torch.isfinite(one.grad).all(), name
            assert one.requires_grad == (one.grad is not None), name


def test_separate_passes_are_images_of_their_own(objective: Callable, images: Callable) -> None:
    made = objective(
        spec={"passes": "separate", "stains": ("protein", "nucleus")}, shown=images(5, channels=("protein", "nucleus"))
    )
    assert made.n_images == 10
    large, _ = made.batch(range(10), 0)
    filled = (large[:10] != 0).flatten(2).any(dim=2)
    assert filled.tolist() == [[False, True, False, False], [False, False, True, False]] * 5


def test_a_network_that_says_the_same_of_everything_is_stopped(objective: Callable) -> None:
    def silence(network: nn.Module) -> None:
        with torch.no_grad():
            network.vit.norm.weight.zero_()
            network.vit.norm.bias.fill_(1.0)

    made = objective(change=silence, n_steps=1000)
    _, metrics = step_of(made, optimizer_of(made, 1e-9), 0)
    assert metrics["feature_sd"] < 1e-5
    steps = (made.check(metrics, step) for step in range(1000))
    with pytest.raises(TrainingStoppedError, match="nearly the same vector"):
        list(steps)


def test_a_network_that_learns_is_not_stopped(objective: Callable) -> None:
    made = objective(n_steps=1000)
    _, metrics = step_of(made, optimizer_of(made), 0)
    for step in range(1000):
        made.check(metrics, step)


def test_a_resumed_run_is_the_one_that_was_not_interrupted(objective: Callable) -> None:
    straight = objective()
    optimizer = optimizer_of(straight)
    for step in range(2):
        step_of(straight, optimizer, step)
    saved = copy.deepcopy([straight.module.state_dict(), optimizer.state_dict()])
    last = step_of(straight, optimizer, 2)
    resumed = objective()
    resumed.module.load_state_dict(saved[0])
    again = optimizer_of(resumed)
    again.load_state_dict(saved[1])
    resumed.start(20, CPU)
    assert step_of(resumed, again, 2) == last
    for name, tensor in straight.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name


def test_making_one_leaves_torchs_random_state_alone(objective: Callable) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    # building timm's network draws numbers, so the seed is set after that
    made = objective(change=lambda network: torch.manual_seed(0))
    made.batch([0, 1], 0)
    assert torch.equal(torch.rand(3), expected)
    assert made.validate() is None


def test_no_small_crops_are_fine(objective: Callable) -> None:
    made = objective({"n_local": 0})
    loss, _ = step_of(made, optimizer_of(made), 0)
    assert math.isfinite(loss)


def test_crops_follow_the_input_size_unless_said_otherwise(make_spec: Callable) -> None:
    options = DinoOptions()
    assert (options.global_edge(make_spec(input_px=224), 16), options.local_edge(make_spec(input_px=224), 16)) == (
        224,
        96,
    )
    assert options.global_edge(make_spec(input_px=0), 14) == 224
    assert options.local_edge(make_spec(input_px=64), 16) == 32
    assert options.global_edge(make_spec(input_px=100), 16) == 112


def test_the_teachers_temperature_warms_up() -> None:
    options = DinoOptions(teacher_temp_start=0.04, teacher_temp=0.08, teacher_temp_warmup=0.5)
    assert [round(options.teacher_temp_at(step, 8), 6) for step in (0, 1, 2, 4, 7)] == [0.04, 0.05, 0.06, 0.08, 0.08]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"global_px": 20}, "multiple of the patch"),
        ({"local_px": 8}, "at least two"),
        ({"momentum": 1.5}, "momentum"),
        ({"prototypes": 1}, "prototypes"),
        ({"student_temp": 0}, "student_temp"),
        ({"local_scale": (0, 1)}, "augmentation"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict, words: str, objective: Callable) -> None:
    with pytest.raises(InputError, match=words):
        objective(options)


def test_no_images_are_refused(objective: Callable, images: Callable) -> None:
    empty = images()
    empty.pixels = empty.pixels[:0]
    with pytest.raises(InputError, match="no images"):
        objective(shown=empty)


def test_batch_norm_brings_what_enters_each_layer_of_the_head_to_mean_0_and_sd_1(objective: Callable) -> None:
    made = objective({"batch_norm": True})
    entered: list[tuple[Tensor, Tensor]] = []
    for layer in made.module.head.layers:
        if isinstance(layer, nn.BatchNorm1d):
            layer.register_forward_hook(lambda _module, given, out: entered.append((given[0], out)))
    rows = 5 + 3 * torch.randn(32, made.module.head.layers[1].in_features, generator=torch.Generator().manual_seed(0))
    scores = made.module.head(rows)
    assert len(entered) == 4
    assert entered[0][0] is rows
    for given, out in entered:
        variance, mean = torch.var_mean(given, dim=0, correction=0)
        torch.testing.assert_close(out, (given - mean) / (variance + 1e-5).sqrt(), rtol=1e-3, atol=1e-4)
    # nothing is kept: the teacher's head, a copy, has no statistics of its own
    assert not [name for name, _ in made.module.head.named_buffers()]
    # the statistics are the batch's alone: the same rows among others score otherwise, the same batch alike
    torch.testing.assert_close(made.module.head(rows), scores)
    assert not torch.allclose(made.module.head(torch.cat([rows, rows + 9]))[: len(rows)], scores)

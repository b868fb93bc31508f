"""Supervised fine-tuning of a small network, against recomputation by hand."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional

from locatlas.errors import InputError, TrainingStoppedError
from locatlas.models import vit
from locatlas.models.training.augment import Augmentation, plain_view
from locatlas.models.training.heads import HeadSpec
from locatlas.models.training.supervised import SupervisedObjective

KIND = np.arange(12) % 2
SINGLE = np.eye(2, dtype=bool)[KIND]
MULTI = np.column_stack([KIND == 0, KIND == 1, np.arange(12) < 4, np.zeros(12, bool)])
GENTLE = Augmentation(scale=(0.8, 1), rotations=False, flips=False, drop_channel=0, rescale_protein=0, brightness=0.1)


@pytest.fixture
def objective(small: Callable, images: Callable) -> Callable[..., SupervisedObjective]:
    def make(
        targets: np.ndarray = SINGLE,
        *,
        spec: dict | None = None,
        shown: Any = None,
        change: Callable[[nn.Module], object] | None = None,
        **changes: Any,
    ) -> SupervisedObjective:
        settled = small(**(spec or {}))
        network = vit.build(settled, any_size=True)
        vit.seed_weights(network, 0)
        if change is not None:
            change(network)
        shown = images() if shown is None else shown
        made = SupervisedObjective(network, settled, shown, targets, **{"augmentation": GENTLE, **changes})
        made.start(20, torch.device("cpu"))
        return made

    return make


def optimizer_of(objective: SupervisedObjective, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(objective.parameter_groups(lr, 0.04), lr=lr)


def step_of(objective: SupervisedObjective, optimizer: torch.optim.Optimizer, step: int) -> tuple[float, dict]:
    torch.manual_seed(step)  # as the loop does
    loss, metrics = objective.module(objective.batch(objective.indices(step, 12), step), step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    objective.after_step(step)
    return loss.item(), {name: value.item() for name, value in metrics.items()}


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"targets": MULTI, "labels": "multi"}, marks=pytest.mark.slow),
        {"targets": MULTI, "labels": "multi", "gamma": 2.0},
        pytest.param({"smoothing": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_the_loss_falls(settings: dict, objective: Callable) -> None:
    made = objective(**settings)
    optimizer = optimizer_of(made, 3e-3)
    losses = [step_of(made, optimizer, step)[0] for step in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.slow
def test_it_learns_images_that_it_was_not_shown(objective: Callable, images: Callable) -> None:
    others = images(30)
    others.pixels = others.pixels[12:]  # of other noise
    made = objective(validation=(others, np.eye(2, dtype=bool)[np.arange(18) % 2]))
    before = made.validate()
    optimizer = optimizer_of(made, 3e-3)
    for step in range(60):
        step_of(made, optimizer, step)
    after = made.validate()
    assert before is not None
    assert after is not None
    assert after.score > max(0.85, before.score)
    assert after.metrics["loss"] < before.metrics["loss"]


def test_a_loss_is_that_of_head_and_network_image_by_image(objective: Callable) -> None:
    made = objective(spec={"passes": "separate", "stains": ("protein", "nucleus")}, gamma=0.0)
    inputs, targets = made.batch([3, 8, 1], 4)
    assert inputs.shape == (3, 2, 4, 32, 32)
    module = made.module
    losses = []
    with torch.no_grad():
        for image, target in zip(inputs, targets, strict=True):
            features = torch.cat([module.network(one[None])[0] for one in image])
            logits = module.head((features - module.center) / module.scale)
            losses.append(functional.cross_entropy(logits, target.argmax()).item())
    assert module([inputs, targets], 4)[0].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert targets.tolist() == SINGLE[[3, 8, 1]].astype(float).tolist()


def test_the_head_first_sees_features_of_mean_0_and_sd_1(objective: Callable) -> None:
    made = objective()
    with torch.no_grad():
        features = made.module.features(made.batch(range(12), -1)[0])
    scaled = (features - made.module.center) / made.module.scale
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(12), rtol=0, atol=1e-4)
    sd = scaled.std(dim=0, correction=0)
    varied = features.std(dim=0, correction=0) > 0.05 * features.std(dim=0, correction=0).max()
    torch.testing.assert_close(sd[varied], torch.ones(int(varied.sum())), rtol=1e-3, atol=0)
    assert (sd < 1.001).all()


def test_frozen_blocks_do_not_change_by_a_bit(objective: Callable) -> None:
    made = objective(blocks=1)
    before = copied(made.module.network)
    optimizer = optimizer_of(made)
    for step in range(3):
        step_of(made, optimizer, step)
    for name, tensor in made.module.network.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith(("vit.blocks.2.", "vit.norm.")), name
    counted = {id(one) for group in made.parameter_groups(1, 0) for one in group["params"]}
    assert counted == {id(one) for one in made.module.parameters() if one.requires_grad}


@pytest.mark.parametrize(
    ("labels", "targets", "predict"),
    [
        ("single", SINGLE, lambda logits: np.eye(2)[logits.argmax(axis=1)]),
        ("multi", MULTI, lambda logits: (logits > 0) | np.eye(4, dtype=bool)[logits.argmax(axis=1)]),
    ],
)
@pytest.mark.parametrize("views", [1, 4])
def test_validation_is_macro_f1_of_whole_images(
    labels: str, targets: np.ndarray, predict: Callable, views: int, objective: Callable, images: Callable
) -> None:
    made = objective(
        targets, labels=labels, validation=(images(), targets), spec={"views": views}, head=HeadSpec(kind="mlp")
    )
    step_of(made, optimizer_of(made, 0.01), 0)
    found = made.validate()
    module = made.module.eval()
    logits = []
    with torch.no_grad():
        for i in range(12):
            image = plain_view(images().planes(i), images().channels, made._spec, patch_px=8)
            turned = torch.stack([module.network(image.rot90(view, (-2, -1)))[0] for view in range(views)]).mean(dim=0)
            logits.append(module.head((turned - module.center) / module.scale).numpy())
    present = np.flatnonzero(targets.any(axis=0))
    expected = f1_score(targets, predict(np.array(logits)), labels=present, average="macro", zero_division=0)
    assert found is not None
    assert found.score == pytest.approx(expected)
    assert found.metrics["macro_f1"] == found.metrics["score"] == found.score
    if labels == "multi":
        wanted = torch.tensor(targets.astype(np.float32))
        loss = functional.binary_cross_entropy_with_logits(torch.tensor(np.array(logits)), wanted)
        assert found.metrics["loss"] == pytest.approx(loss.item(), rel=1e-3)


def test_validation_leaves_mode_random_state_and_weights_alone(objective: Callable, images: Callable) -> None:
    made = objective(validation=(images(), SINGLE), head=HeadSpec(kind="mlp"))
    before = copied(made.module)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert made.validate() == made.validate()
    assert torch.equal(torch.rand(3), expected)
    assert made.module.training
    assert made.module.head.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.module.state_dict().items())


def test_images_of_several_sizes_are_validated(objective: Callable, images: Callable, small: Callable) -> None:
    class Mixed(images):
        def planes(self, i: int) -> Tensor:
            return self.pixels[i] if i % 3 else self.pixels[i][:, :20]

    spec = {"resize": "none_pad_to_patch", "input_px": 0}
    made = objective(spec=spec, validation=(Mixed(), SINGLE), crop_px=32)
    alone = []
    for i in range(12):
        with torch.no_grad():
            view = plain_view(Mixed().planes(i), Mixed().channels, small(**spec), patch_px=8)
            alone.append(made.module.logits(made.module.features(view[None]))[0])
    loss = functional.cross_entropy(torch.stack(alone), torch.tensor(KIND))
    found = made.validate()
    assert found is not None
    assert found.metrics["loss"] == pytest.approx(loss.item(), rel=1e-4)


def test_images_of_fewer_channels_leave_slots_empty(objective: Callable, images: Callable) -> None:
    class Fewer(images):
        def channels_of(self, i: int) -> tuple[str, ...]:
            return self.channels if i % 2 else ("protein", "nucleus")

        def planes(self, i: int) -> Tensor:
            return self.pixels[i] if i % 2 else self.pixels[i][1:3]

    made = objective(shown=Fewer())
    filled = (made.batch([0, 1], 0)[0][:, 0] != 0).flatten(2).any(dim=2)
    assert filled.tolist() == [[False, True, True, False], [True] * 4]


def test_batches_are_a_function_of_seed_step_and_image(objective: Callable) -> None:
    one, other, third = (objective(seed=seed, augmentation=None) for seed in (3, 3, 4))
    found = one.batch([4, 9, 2], 7)[0]
    assert torch.equal(found[[2, 0]], other.batch([2, 4], 7)[0])
    assert not torch.equal(found, one.batch([4, 9, 2], 8)[0])
    assert not torch.equal(found, third.batch([4, 9, 2], 7)[0])
    assert one.indices(5, 6) == other.indices(5, 6) != third.indices(5, 6)
    assert torch.equal(one.module.head[0].weight, other.module.head[0].weight)
    assert not torch.equal(one.module.head[0].weight, third.module.head[0].weight)


def test_classes_come_equally_often_only_if_that_is_asked_for(objective: Callable) -> None:
    rare = np.eye(2, dtype=bool)[(np.arange(12) == 5).astype(int)]
    drawn = [i for step in range(10) for i in objective(rare).indices(step, 6)]
    assert drawn.count(5) == 30
    plain = objective(rare, is_balanced=False)
    assert sorted(i for step in range(2) for i in plain.indices(step, 6)) == list(range(12))


def test_a_resumed_run_is_the_one_that_was_not_interrupted(objective: Callable) -> None:
    straight = objective(head=HeadSpec(kind="mlp"))
    optimizer = optimizer_of(straight)
    for step in range(2):
        step_of(straight, optimizer, step)
    saved = copy.deepcopy([straight.module.state_dict(), optimizer.state_dict()])
    last = step_of(straight, optimizer, 2)
    resumed = objective(head=HeadSpec(kind="mlp"))
    resumed.module.load_state_dict(saved[0])
    again = optimizer_of(resumed)
    again.load_state_dict(saved[1])
    assert step_of(resumed, again, 2) == last
    for name, tensor in straight.encoder_state().items():
        assert torch.equal(tensor, resumed.encoder_state()[name]), name


def test_the_encoder_comes_out_under_the_names_of_its_file(objective: Callable) -> None:
    made = objective()
    expected = vit.weights_module(made.module.network).state_dict()
    found = made.encoder_state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert not any(name.startswith(("vit.", "head.")) for name in found)


@pytest.mark.parametrize("batch_size", [1, 6])
def test_a_network_that_says_the_same_of_everything_is_stopped(batch_size: int, objective: Callable) -> None:
    def silence(network: nn.Module) -> None:
        with torch.no_grad():
            network.vit.norm.weight.zero_()
            network.vit.norm.bias.fill_(1.0)

    made, healthy = objective(change=silence), objective()
    for step in range(3):
        for one in (made, healthy):
            _, metrics = one.module(one.batch(one.indices(step, batch_size), step), step)
            found = {name: value.item() for name, value in metrics.items()}
            steps = [] if step < 2 else [1000 + n for n in range(100)]
            if one is healthy:
                for later in steps:
                    one.check(found, later)
            elif steps:
                later_on = (made.check(found, later) for later in steps)
                with pytest.raises(TrainingStoppedError, match="nearly the same vector"):
                    list(later_on)


def test_without_validation_images_there_is_no_score(objective: Callable) -> None:
    assert objective().validate() is None


WRONG: list[tuple[dict, str]] = [
    ({"targets": SINGLE[:5]}, "training: classes as bool"),
    ({"targets": SINGLE.astype(float)}, "training: classes as float64"),
    ({"targets": MULTI}, "images have no class or several"),
    ({"targets": np.ones((12, 1), bool)}, "one class alone"),
    ({"labels": "both"}, "single or multi"),
    ({"gamma": -1.0}, "gamma"),
    ({"smoothing": 1.0}, "smoothing"),
    ({"crop_px": 30}, "multiple of the patch"),
    ({"blocks": 0}, "from 1 to 3"),
    ({"layer_decay": 0.0}, "layer-wise decay"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_what_does_not_fit_is_refused(settings: dict, words: str, objective: Callable) -> None:
    with pytest.raises(InputError, match=words):
        objective(**settings).parameter_groups(1, 0)


def test_validation_images_of_other_channels_or_classes_are_refused(objective: Callable, images: Callable) -> None:
    for validation in (
        (images(channels=("protein", "nucleus")), SINGLE),
        (images(), np.eye(3, dtype=bool)[KIND]),
    ):
        with pytest.raises(InputError, match="not those of the training images"):
            objective(validation=validation)
    assert math.isfinite(objective(validation=(images(), SINGLE)).validate().score)

"""Supervised fine-tuning: a head on the encoder, and both learn the localizations of augmented images."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from locatlas.errors import InputError
from locatlas.models import vit
from locatlas.models.channels import plan
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.augment import Augmentation, plain_view, random_view
from locatlas.models.training.collapse import CollapseWatch, feature_sd
from locatlas.models.training.heads import HeadSpec, build_head
from locatlas.models.training.layer_decay import freeze_but_last, parameter_groups
from locatlas.models.training.losses import Labels, classification_loss
from locatlas.models.training.objective import TrainingImages, Validation
from locatlas.models.training.sampling import ClassBalanced, generator, shuffled
from locatlas.models.training.scores import macro_f1
from locatlas.models.views import turned

__all__ = ["DEFAULT_AUGMENTATION", "SupervisedModule", "SupervisedObjective"]

DEFAULT_AUGMENTATION = Augmentation(scale=(0.5, 1.0))
"""Milder crops than DINO's: what a class is told by must be in them."""

_OWN_SIZE_PX = 224
"""Edge of the crops where the encoder takes images at their own size."""

_AT_ONCE = 16
"""Images of a forward pass in validation."""

_TO_SCALE_BY = 128
"""Images by which the features are scaled before the first step."""

_LEAST_SCALE = 0.05
"""Features that vary less, relative to the most varied one, are not brought up to it."""


class SupervisedModule(nn.Module):
    """Encoder and head; the features of separate passes stand side by side between them.

    Args:
        network: From `vit.build(spec, any_size=True)`, with weights.
        head: (b, spec.dim) to logits.
        labels: `single` or `multi`.
        gamma: Of the focal loss.
        smoothing: Of the targets.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self, network: nn.Module, head: nn.Module, dim: int, *, labels: Labels, gamma: float, smoothing: float
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        # of the features before training, so that a head learns at one rate whatever the pooling
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self._labels = labels
        self._gamma = gamma
        self._smoothing = smoothing
        self._last: Tensor | None = None

    def features(self, images: Tensor) -> Tensor:
        """(b, passes, slots, h, w) -> (b, dim), float32."""
        found: Tensor = self.network(images.flatten(0, 1))
        return found.float().reshape(len(images), -1)

    def logits(self, features: Tensor) -> Tensor:
        """(b, dim) -> (b, classes)."""
        found: Tensor = self.head((features - self.center) / self.scale)
        return found

    def forward(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of a batch.

        Args:
            batch: Images, (b, passes, slots, h, w), and targets, 0 or 1, (b, classes).
            step: Without influence.

        Returns:
            The loss, and by name: `feature_sd` (`collapse.feature_sd`).
        """
        images, targets = batch
        features = self.features(images)
        loss = classification_loss(
            self.logits(features), targets, labels=self._labels, gamma=self._gamma, smoothing=self._smoothing
        )
        seen = features.detach()
        if len(seen) == 1:  # one vector has no spread: it is compared with the one before
            seen, self._last = torch.cat([seen, seen if self._last is None else self._last]), seen
        return loss, {"feature_sd": feature_sd(seen)}


class SupervisedObjective:
    """Learns classes. Implements `Objective`; the encoder that comes out is the network without the head.

    Args:
        network: From `vit.build(spec, any_size=True)`, with weights, on the CPU; changed.
        spec: The encoder.
        images: To learn from.
        targets: Their classes, bool (n, classes); exactly one in a row for `single`.
        labels: `single` or `multi`.
        head: Its shape; `linear` unless told otherwise.
        validation: Images that training is judged by, and their classes; None for none.
        blocks: Number of last blocks to train; None for the whole network.
        layer_decay: Factor of the learning rate from a block to the one before it, in (0, 1].
        head_scale: The head's learning rate, in those of the encoder's last layer.
        augmentation: How images are varied; None for `DEFAULT_AUGMENTATION`.
        crop_px: Edge of the crops, a multiple of the patch; None for the encoder's input size, 224 where it has none.
        is_balanced: Draw classes alike (`sampling.ClassBalanced`); else every image once an epoch.
        gamma: Of the focal loss; 0 for plain cross-entropy.
        smoothing: Of the targets.
        seed: Of head, order and crops.

    Raises:
        InputError: If targets, settings and encoder do not fit.
    """

    name = "supervised"

    def __init__(
        self,
        network: nn.Module,
        spec: EncoderSpec,
        images: TrainingImages,
        targets: NDArray[np.bool_],
        *,
        labels: Labels = "single",
        head: HeadSpec | None = None,
        validation: tuple[TrainingImages, NDArray[np.bool_]] | None = None,
        blocks: int | None = None,
        layer_decay: float = 0.75,
        head_scale: float = 1.0,
        augmentation: Augmentation | None = None,
        crop_px: int | None = None,
        is_balanced: bool = True,
        gamma: float = 0.0,
        smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        if labels not in get_args(Labels) or gamma < 0 or not 0 <= smoothing < 1:
            message = (
                f"labels {labels!r}, gamma {gamma}, smoothing {smoothing}: single or multi, >= 0, in [0, 1) needed"
            )
            raise InputError(message)
        _check_targets(targets, len(images), labels, "training")
        if validation is not None:
            _check_targets(validation[1], len(validation[0]), labels, "validation")
            if validation[0].channels != images.channels or validation[1].shape[1] != targets.shape[1]:
                message = "channels or classes of the validation images are not those of the training images"
                raise InputError(message)
        self._spec, self._images, self._labels, self._seed = spec, images, labels, seed
        self._targets = torch.from_numpy(targets.astype(np.float32))
        self._validation = validation
        self._layer_decay, self._head_scale = layer_decay, head_scale
        self._gamma, self._smoothing = gamma, smoothing
        self._augmentation = augmentation or DEFAULT_AUGMENTATION
        self._patch_px = vit.patch_px(network)
        self._crop_px = crop_px or -(-(spec.input_px or _OWN_SIZE_PX) // self._patch_px) * self._patch_px
        if self._crop_px % self._patch_px:
            message = f"crops of {self._crop_px} px: a multiple of the patch of {self._patch_px} px needed"
            raise InputError(message)
        plan(spec, images.channels)  # refuses what no slot is for
        self._balanced = ClassBalanced(targets) if is_balanced else None
        freeze_but_last(network, spec, blocks)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator(seed, "head").initial_seed())
            built = build_head(head or HeadSpec(), spec.dim, targets.shape[1])
        self.module = SupervisedModule(network, built, spec.dim, labels=labels, gamma=gamma, smoothing=smoothing)
        self._scale_features()
        self.module.train()
        self.n_images = len(images)
        self._watch = CollapseWatch()

    @torch.no_grad()
    def _scale_features(self) -> None:
        """Let the head see features of mean 0 and SD 1 over images as training varies them, before it changes them."""
        n = len(self._images)
        chosen = sorted(shuffled(n, seed=self._seed, step=0, batch_size=n)[:_TO_SCALE_BY])
        starts = range(0, len(chosen), _AT_ONCE)
        batches = [self.batch(chosen[start : start + _AT_ONCE], -1)[0] for start in starts]
        features = torch.cat([self.module.features(batch) for batch in batches])
        sd, mean = torch.std_mean(features, dim=0, correction=0)
        self.module.center.copy_(mean)
        # where the network says the same of all images there is nothing to enlarge
        self.module.scale.copy_(sd.clamp_min(_LEAST_SCALE * float(sd.max())) if sd.max() > 0 else torch.ones_like(sd))

    def start(self, n_steps: int, device: torch.device) -> None:
        """Move to the device; there are no schedules."""
        self.module.to(device)
        self._watch = CollapseWatch.for_steps(n_steps)

    def indices(self, step: int, batch_size: int) -> Sequence[int]:
        """As `sampling.ClassBalanced`, or `sampling.shuffled`."""
        if self._balanced is None:
            return shuffled(self.n_images, seed=self._seed, step=step, batch_size=batch_size)
        return self._balanced.indices(seed=self._seed, step=step, batch_size=batch_size)

    def batch(self, indices: Sequence[int], step: int) -> list[Tensor]:
        """Crops, (b, passes, slots, h, w), and targets, float32, (b, classes)."""
        crops = [
            random_view(
                self._images.planes(index),
                self._images.channels_of(index),
                self._spec,
                self._augmentation,
                generator(self._seed, "crop", step, index),
                edge_px=self._crop_px,
            )
            for index in indices
        ]
        return [torch.stack(crops), self._targets[list(indices)]]

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """As `layer_decay.parameter_groups`."""
        return parameter_groups(
            self.module.network,
            self._spec,
            self.module.head.parameters(),
            layer_decay=self._layer_decay,
            lr=lr,
            weight_decay=weight_decay,
            head_scale=self._head_scale,
        )

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def check(self, metrics: Mapping[str, float], step: int) -> None:
        """As `CollapseWatch.look`."""
        self._watch.look(metrics, step)

    def validate(self) -> Validation | None:
        """Macro F1 of the validation images as embedding sees them, and their mean loss; None where there are none."""
        if self._validation is None:
            return None
        images, targets = self._validation
        was_training = self.module.training
        self.module.eval()
        try:
            with torch.no_grad():
                logits = self.module.logits(self._embed(images)).float().cpu()
        finally:
            self.module.train(was_training)
        wanted = torch.from_numpy(targets.astype(np.float32))
        loss = classification_loss(
            logits, wanted, labels=self._labels, gamma=self._gamma, smoothing=self._smoothing
        ).item()
        score = macro_f1(logits.numpy(), targets, labels=self._labels)
        return Validation(score, {"score": score, "macro_f1": score, "loss": loss})

    @torch.no_grad()
    def _embed(self, images: TrainingImages) -> Tensor:
        """Features of whole images, all views of the spec taken together as in embedding: (n, dim), on the device."""
        device = self.module.center.device
        rows: dict[int, Tensor] = {}
        waiting: dict[torch.Size, dict[int, Tensor]] = {}

        def run(held: Mapping[int, Tensor]) -> None:
            batch = torch.stack(list(held.values())).to(device)
            views = [self.module.features(turned(batch, view)) for view in range(self._spec.views)]
            rows.update(zip(held, torch.stack(views).mean(dim=0), strict=True))

        for index in range(len(images)):
            channels = images.channels_of(index)
            made = plain_view(images.planes(index), channels, self._spec, patch_px=self._patch_px)
            held = waiting.setdefault(made.shape, {})
            held[index] = made
            if len(held) == _AT_ONCE:
                run(waiting.pop(made.shape))
        for held in waiting.values():
            run(held)
        return torch.stack([rows[index] for index in range(len(images))])

    def encoder_state(self) -> dict[str, Tensor]:
        """The network's weights."""
        state = vit.weights_module(self.module.network).state_dict()
        return {name: tensor.detach().float().cpu().clone() for name, tensor in state.items()}


def _check_targets(targets: NDArray[np.bool_], n: int, labels: Labels, part: str) -> None:
    if targets.ndim != 2 or len(targets) != n or n == 0 or targets.shape[1] < 1 or targets.dtype != np.bool_:
        message = f"{part}: classes as {targets.dtype} {targets.shape} for {n} images: bool (images, classes) needed"
        raise InputError(message)
    if labels == "single" and targets.shape[1] < 2:
        message = f"{part}: one class alone tells nothing apart; at least 2 needed"
        raise InputError(message)
    if labels == "single" and (wrong := int((targets.sum(axis=1) != 1).sum())):
        message = f"{part}: {wrong} of {n} images have no class or several; labels 'multi' takes such"
        raise InputError(message)

"""Self-distillation without labels (DINO): a student says of small crops what its own slow copy says of large ones.

Source of the scheme: Caron et al. 2021, arXiv:2104.14294 and facebookresearch/dino; of the choices for fluorescence
images: broadinstitute/DINO4Cells_code.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from locatlas.errors import InputError
from locatlas.models import vit
from locatlas.models.channels import plan
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.augment import random_view
from locatlas.models.training.collapse import CollapseWatch, entropy, feature_sd
from locatlas.models.training.dino_options import DinoOptions
from locatlas.models.training.layer_decay import freeze_but_last, parameter_groups
from locatlas.models.training.losses import dino_loss, sharpen, sinkhorn
from locatlas.models.training.objective import TrainingImages, Validation
from locatlas.models.training.sampling import generator, shuffled

__all__ = ["DinoHead", "DinoModule", "DinoObjective", "DinoOptions"]


class DinoHead(nn.Module):
    """From an encoder's vector to a score for each prototype: three linear layers, and cosines with unit prototypes.

    With `batch_norm` in the options the vectors, and what comes out of each layer, are normalized over the batch.

    Args:
        dim: Length of the vector.
        options: Widths.
        random: Of the initial weights.
    """

    def __init__(self, dim: int, options: DinoOptions, random: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # torch fills layers from the global generator; overwritten below
            self.layers = nn.Sequential(
                *_normalized(dim, options),
                nn.Linear(dim, options.hidden),
                *_normalized(options.hidden, options),
                nn.GELU(),
                nn.Linear(options.hidden, options.hidden),
                *_normalized(options.hidden, options),
                nn.GELU(),
                nn.Linear(options.hidden, options.bottleneck),
                *_normalized(options.bottleneck, options),
            )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02, generator=random)
                nn.init.zeros_(layer.bias)
        rows = torch.randn(options.prototypes, options.bottleneck, generator=random)
        self.prototypes = nn.Parameter(functional.normalize(rows, dim=-1))

    def forward(self, features: Tensor, *, frozen: bool = False) -> Tensor:
        """(b, dim) -> (b, prototypes), float32, in [-1, 1]; with `frozen` the prototypes' gradient is zero."""
        with torch.autocast(features.device.type, enabled=False):
            # a temperature of 0.04 makes the rounding of bf16 as large as the differences that count
            unit = functional.normalize(self.layers(features.float()), dim=-1)
            # zero rather than none: processes that train together wait for a gradient of every parameter
            rows = self.prototypes.detach() + 0 * self.prototypes if frozen else self.prototypes
            return functional.linear(unit, functional.normalize(rows, dim=-1))


def _normalized(width: int, options: DinoOptions) -> list[nn.Module]:
    """The layer that brings numbers to mean 0 and SD 1 over the batch, if there is to be one."""
    if not options.batch_norm:
        return []
    # nothing learned and nothing kept: the head is thrown away, and its copy must not have statistics of its own
    return [nn.BatchNorm1d(width, affine=False, track_running_stats=False)]


class DinoModule(nn.Module):
    """Student, teacher, their heads, and the centre of the teacher's scores.

    Args:
        network: The student, from `vit.build(spec, any_size=True)`, with weights.
        spec: The encoder.
        options: Settings.
        seed: Of the head.
    """

    centre: Tensor

    def __init__(self, network: nn.Module, spec: EncoderSpec, options: DinoOptions, seed: int) -> None:
        super().__init__()
        self.student = network
        self.head = DinoHead(spec.embedding_dim, options, generator(seed, "head"))
        self.teacher = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(requires_grad=False)
        self.register_buffer("centre", torch.zeros(options.prototypes))
        self.options = options
        self.n_steps = 1
        # not buffers: one process' sums must not overwrite another's between accumulated parts
        self._sum: Tensor | None = None
        self._count = 0

    def forward(self, batch: Sequence[Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of a batch.

        Args:
            batch: Large crops, (2 b, slots, h, w), all first ones before all second ones; and small ones, alike,
                (n_local b, slots, h, w), if there are any.
            step: From 0.

        Returns:
            The loss in nats, and by name: `teacher_entropy` (mean, nats), `information` (that of all crops together
            less the mean, nats), `kl` (student from teacher, nats), `feature_sd` (`collapse.feature_sd`).
        """
        n_images = len(batch[0]) // 2
        with torch.no_grad():
            features = self.teacher(batch[0])
            raw = self.teacher_head(features)
            temperature = self.options.teacher_temp_at(step, self.n_steps)
            if self.options.balance == "sinkhorn":
                q = sinkhorn(raw, temperature)
            else:
                q = sharpen(raw, self.centre, temperature)
            self._collect(raw)
        seen = torch.cat([self.student(crops) for crops in batch])
        frozen = step < self.options.frozen_steps(self.n_steps)
        scores = self.head(seen, frozen=frozen).unflatten(0, (-1, n_images))
        loss = dino_loss(q.unflatten(0, (2, n_images)), scores, student_temperature=self.options.student_temp)
        with torch.no_grad():
            single = entropy(q).mean()
            metrics = {
                "teacher_entropy": single,
                "information": entropy(q.mean(dim=0)) - single,
                "kl": loss.detach() - single,
                "feature_sd": feature_sd(features),
            }
        return loss, metrics

    def _collect(self, raw: Tensor) -> None:
        """Keep the teacher's scores for the centre, which moves once a step whatever the number of parts."""
        if self.training:
            self._sum = raw.sum(dim=0) if self._sum is None else self._sum + raw.sum(dim=0)
            self._count += len(raw)

    @torch.no_grad()
    def move(self, step: int) -> None:
        """After an optimizer step: centre, teacher, and prototypes brought back to length 1."""
        if self._sum is None:
            return
        total = torch.cat([self._sum, self._sum.new_tensor([self._count])])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        self.centre.lerp_(total[:-1] / total[-1], 1 - self.options.center_momentum)
        self._sum, self._count = None, 0
        if step >= self.options.frozen_steps(self.n_steps):
            # the length has no meaning; left alone it would grow, and the steps on the sphere shrink
            self.head.prototypes.copy_(functional.normalize(self.head.prototypes, dim=-1))
        share = 1 - self.options.momentum_at(step, self.n_steps)
        for slow, quick in ((self.teacher, self.student), (self.teacher_head, self.head)):
            for kept, new in zip(slow.parameters(), quick.parameters(), strict=True):
                kept.lerp_(new, share)  # what is equal, as frozen parts are, stays so to the last bit


class DinoObjective:
    """DINO on images without labels. Implements `Objective`; the encoder that comes out is the teacher.

    Every pass of a plan of separate passes is an image of its own.

    Args:
        network: From `vit.build(spec, any_size=True)`, with weights, on the CPU; becomes the student.
        spec: The encoder.
        images: To learn from.
        options: Settings.
        blocks: Number of last blocks to train; None for the whole network.
        layer_decay: Factor of the learning rate from a block to the one before it, in (0, 1]; 1 in DINO.
        seed: Of head, order and crops.

    Raises:
        InputError: If there is no image, or settings and encoder do not fit.
    """

    name = "dino"

    def __init__(
        self,
        network: nn.Module,
        spec: EncoderSpec,
        images: TrainingImages,
        *,
        options: DinoOptions | None = None,
        blocks: int | None = None,
        layer_decay: float = 1.0,
        seed: int = 0,
    ) -> None:
        if len(images) == 0:
            message = "no images to learn from"
            raise InputError(message)
        self.options = options or DinoOptions()
        self._spec = spec
        self._images = images
        self._passes = plan(spec, images.channels)
        self._seed = seed
        self._layer_decay = layer_decay
        patch = vit.patch_px(network)
        self._global_px = self.options.global_edge(spec, patch)
        self._local_px = self.options.local_edge(spec, patch)
        freeze_but_last(network, spec, blocks)
        self.module = DinoModule(network, spec, self.options, seed)
        self.module.train()
        self.n_images = len(images) * len(self._passes)
        self._watch = CollapseWatch(self.options.prototypes)

    def start(self, n_steps: int, device: torch.device) -> None:
        """Set the length of all schedules, and move to the device."""
        self.module.n_steps = n_steps
        self.module.to(device)
        self._watch = CollapseWatch.for_steps(n_steps, self.options.prototypes)

    def indices(self, step: int, batch_size: int) -> Sequence[int]:
        """As `sampling.shuffled`."""
        return shuffled(self.n_images, seed=self._seed, step=step, batch_size=batch_size)

    def batch(self, indices: Sequence[int], step: int) -> list[Tensor]:
        """Large crops, and small ones if there are any: as `DinoModule.forward` takes them."""
        slots = len(self._spec.slots) + self._spec.needs_blank
        sizes = [(2, self._global_px)] + ([(self.options.n_local, self._local_px)] if self.options.n_local else [])
        out = [torch.empty(views, len(indices), slots, edge, edge) for views, edge in sizes]
        for b, index in enumerate(indices):
            image, one = divmod(index, len(self._passes))
            planes, channels = self._images.planes(image), self._images.channels_of(image)
            passes = None if self._spec.passes == "joint" else self._passes[one : one + 1]
            random = generator(self._seed, "crops", step, index)
            for crops, variation in zip(out, (self.options.global_crops, self.options.local_crops), strict=False):
                for view in range(len(crops)):
                    crops[view, b] = random_view(
                        planes,
                        channels,
                        self._spec,
                        variation,
                        random,
                        edge_px=crops.shape[-1],
                        passes=passes,
                    )[0]
        return [crops.flatten(0, 1) for crops in out]

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """As `layer_decay.parameter_groups`; the prototypes, of length 1, have no weight decay."""
        head = self.module.head
        groups = parameter_groups(
            self.module.student,
            self._spec,
            head.layers.parameters(),
            layer_decay=self._layer_decay,
            lr=lr,
            weight_decay=weight_decay,
        )
        return [*groups, {"params": [head.prototypes], "lr_scale": 1.0, "decays": False, "lr": lr, "weight_decay": 0.0}]

    def after_step(self, step: int) -> None:
        """Move centre and teacher."""
        self.module.move(step)

    def check(self, metrics: Mapping[str, float], step: int) -> None:
        """As `CollapseWatch.look`."""
        self._watch.look(metrics, step)

    def validate(self) -> Validation | None:
        """None: there are no labels to score by."""
        return None

    def encoder_state(self) -> dict[str, Tensor]:
        """The teacher's weights."""
        state = vit.weights_module(self.module.teacher).state_dict()
        return {name: tensor.detach().float().cpu().clone() for name, tensor in state.items()}

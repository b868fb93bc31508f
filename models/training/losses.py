"""Losses: DINO's cross-entropy between views, and classification, single- and multi-label. Pure."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Labels", "classification_loss", "dino_loss", "sharpen", "sinkhorn"]

Labels = Literal["single", "multi"]


def sharpen(outputs: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's distributions: softmax((outputs - centre) / temperature) over the last axis, float32."""
    return ((outputs.float() - centre) / temperature).softmax(dim=-1)


def sinkhorn(outputs: Tensor, temperature: float, *, rounds: int = 3) -> Tensor:
    """The teacher's distributions such that, over the batch of all processes, every prototype is used alike.

    Sinkhorn-Knopp: exp(outputs / temperature) is scaled by columns and rows in turn, rows last.

    Args:
        outputs: Cosines in [-1, 1], (b, k).
        temperature: At least 0.003: below, the exponentials leave the range of double precision.
        rounds: Of scaling.

    Returns:
        Float32, (b, k); rows sum to 1.

    References:
        Caron et al. 2020, arXiv:2006.09882 (SwAV); in the place of DINO's centre in DINOv2, arXiv:2304.07193.
    """
    # - 1: no cosine is larger, so nothing overflows; double, so that at low temperatures not all of a row vanishes
    q = ((outputs.double() - 1) / temperature).exp()
    for _ in range(rounds):
        of_prototypes = q.sum(dim=0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(of_prototypes)
        q = q / of_prototypes.clamp_min(torch.finfo(q.dtype).tiny)
        q = q / q.sum(dim=1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)
    return q.float()


def dino_loss(teacher: Tensor, student: Tensor, *, student_temperature: float) -> Tensor:
    """Mean cross-entropy of every student view with every teacher view that is another one.

    Args:
        teacher: Distributions of the first views, (teacher views, b, k), as `sharpen` gives them.
        student: Outputs of all views, (views, b, k), the teacher's views first and in its order; views >= 2.
        student_temperature: Divides the student's outputs, > 0.

    Returns:
        Scalar, float32, in nats.

    References:
        Caron et al. 2021, arXiv:2104.14294, equation 2 and main_dino.py.
    """
    log_p = (student.float() / student_temperature).log_softmax(dim=-1)
    everything = log_p.sum(dim=0)
    # cross-entropy is linear in log p: one product per teacher view rather than one per pair
    total = sum((q * (own - everything)).sum(dim=-1).mean() for q, own in zip(teacher, log_p, strict=False))
    assert isinstance(total, Tensor)
    return total / (len(teacher) * (len(student) - 1))


def classification_loss(
    logits: Tensor, targets: Tensor, *, labels: Labels, gamma: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    r"""Cross-entropy (`single`) or binary cross-entropy per class (`multi`), optionally focal; mean.

    Focal loss multiplies each term by :math:`(1 - p_t)^\gamma`, p_t the probability given to what is true, so that what
    is easy counts less; gamma 0 is the plain loss. There is no alpha: classes are balanced by sampling.

    Args:
        logits: (b, classes).
        targets: 0 or 1, (b, classes); for `single` exactly one 1 in a row, and at least 2 classes.
        labels: `single` takes a softmax over the classes and means over images; `multi` a sigmoid each, and means over
            images and classes.
        gamma: >= 0; 2 in the paper.
        smoothing: Share of each target that is spread evenly, over classes or between yes and no, in [0, 1).

    Returns:
        Scalar, float32.

    References:
        Lin et al. 2017, arXiv:1708.02002.
    """
    logits, targets = logits.float(), targets.float()
    if labels == "single":
        log_p = logits.log_softmax(dim=-1)
        true = targets * (1 - smoothing) + smoothing / logits.shape[-1]
        hard = torch.exp(gamma * _log_others(logits)) if gamma else 1
        return -(true * hard * log_p).sum(dim=-1).mean()
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    true = targets * (1 - smoothing) + smoothing / 2
    # 1 - p is the probability of the other answer: no difference of nearly equal numbers
    terms = true * torch.exp(gamma * no) * yes + (1 - true) * torch.exp(gamma * yes) * no
    return -terms.mean()


def _log_others(logits: Tensor) -> Tensor:
    """log(1 - p) of each class, p its softmax, from the other classes: 1 - p itself has no slope to go by near 0."""
    own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    others = logits[..., None, :].masked_fill(own, -torch.inf)
    return others.logsumexp(dim=-1) - logits.logsumexp(dim=-1, keepdim=True)

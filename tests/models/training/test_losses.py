"""Losses, against pairs taken one by one, formulas by hand and torch's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from torch.nn import functional

from locatlas.models.training.losses import classification_loss, dino_loss, sharpen, sinkhorn
from locatlas.models.training.scores import macro_f1


@given(views=st.integers(2, 5), b=st.integers(1, 4), k=st.integers(2, 7), seed=st.integers(0, 99))
def test_dino_loss_is_the_mean_over_pairs_of_different_views(views: int, b: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw, centre = random.normal(size=(2, b, k)), random.normal(size=k)
    scores = random.normal(size=(views, b, k))
    terms = []
    for i in range(2):
        for v in range(views):
            for n in range(b):
                if i != v:
                    q = np.exp((raw[i, n] - centre) / 0.3)
                    p = np.exp(scores[v, n] / 0.2)
                    terms.append(-(q / q.sum() * np.log(p / p.sum())).sum())
    q = sharpen(torch.tensor(raw), torch.tensor(centre), 0.3)
    found = dino_loss(q, torch.tensor(scores), student_temperature=0.2)
    assert found.item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_a_dominating_prototype_is_held_down_by_the_centre() -> None:
    raw = torch.tensor([[5.0, 0.3, 0.0], [5.0, 0.0, 0.3]])
    assert sharpen(raw, torch.zeros(3), 0.1).argmax(dim=1).tolist() == [0, 0]
    held = sharpen(raw, raw.mean(dim=0), 0.1)
    assert held.argmax(dim=1).tolist() == [1, 2]
    torch.testing.assert_close(held.sum(dim=1), torch.ones(2))


def logits_and_targets(seed: int, *, single: bool) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, 4, generator=random)
    if single:
        return logits, functional.one_hot(torch.randint(4, (6,), generator=random), 4)
    return logits, (torch.rand(6, 4, generator=random) < 0.4).long()


@given(seed=st.integers(0, 999), smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def test_without_gamma_it_is_torchs_cross_entropy(seed: int, smoothing: float) -> None:
    logits, targets = logits_and_targets(seed, single=True)
    expected = functional.cross_entropy(logits, targets.argmax(dim=1), label_smoothing=smoothing)
    torch.testing.assert_close(classification_loss(logits, targets, labels="single", smoothing=smoothing), expected)
    logits, targets = logits_and_targets(seed, single=False)
    expected = functional.binary_cross_entropy_with_logits(logits, targets * (1 - smoothing) + smoothing / 2)
    torch.testing.assert_close(classification_loss(logits, targets, labels="multi", smoothing=smoothing), expected)


@given(seed=st.integers(0, 999), gamma=st.sampled_from([0.5, 1.0, 2.0]))
def test_focal_loss_is_the_formula_of_the_paper(seed: int, gamma: float) -> None:
    logits, targets = logits_and_targets(seed, single=False)
    terms = []
    for z, y in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        p_t = p if y else 1 - p
        terms.append(-((1 - p_t) ** gamma) * math.log(p_t))
    found = classification_loss(logits, targets, labels="multi", gamma=gamma)
    assert found.item() == pytest.approx(np.mean(terms), rel=1e-4)
    logits, targets = logits_and_targets(seed, single=True)
    p_t = (logits.softmax(dim=1) * targets).sum(dim=1)
    expected = (-((1 - p_t) ** gamma) * p_t.log()).mean()
    torch.testing.assert_close(
        classification_loss(logits, targets, labels="single", gamma=gamma), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("labels", ["single", "multi"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_answers_give_finite_losses_and_slopes(labels: str, gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = classification_loss(logits, torch.tensor([[1, 0], [1, 0]]), labels=labels, gamma=gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@given(seed=st.integers(0, 999), single=st.booleans())
def test_macro_f1_is_scikit_learns_over_the_classes_that_are_there(seed: int, single: bool) -> None:
    logits, targets = (tensor.numpy() for tensor in logits_and_targets(seed, single=single))
    predicted = np.eye(4, dtype=bool)[logits.argmax(axis=1)]
    if not single:
        predicted |= logits > 0  # as sweeps and probes do it, so that the scores can be compared
    present = np.flatnonzero(targets.any(axis=0))
    expected = f1_score(targets, predicted, labels=present, average="macro", zero_division=0) if len(present) else 0.0
    found = macro_f1(logits, targets.astype(bool), labels="single" if single else "multi")
    assert found == pytest.approx(expected)


@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 2**31 - 1))
def test_sinkhorn_scales_rows_and_columns_in_turn(b: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(-1, 1, (b, k))
    expected = np.exp(scores / 0.1)
    for _ in range(3):
        expected = expected / expected.sum(axis=0)
        expected = expected / expected.sum(axis=1, keepdims=True)
    found = sinkhorn(torch.from_numpy(scores), 0.1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_sinkhorn_uses_prototypes_alike_where_all_images_prefer_one() -> None:
    scores = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    scores[:, 3] += 0.8
    assert sinkhorn(scores, 0.05, rounds=50).mean(dim=0).numpy() == pytest.approx(1 / 8, abs=1e-3)


@pytest.mark.parametrize("temperature", [0.004, 0.01])
def test_sinkhorn_gives_distributions_at_a_low_temperature(temperature: float) -> None:
    for scores in (torch.tensor([[1.0, -1.0], [0.9, -0.9]]), torch.linspace(-0.3, 0.1, 24).reshape(4, 6)):
        found = sinkhorn(scores, temperature)
        assert torch.isfinite(found).all()
        np.testing.assert_allclose(found.sum(dim=1).numpy(), 1, rtol=1e-5)

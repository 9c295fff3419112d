"""Tensor functions against their definitions, at their edges, and by what must not change them."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import (
    above_threshold,
    align,
    confidence_and_label,
    entropy,
    truncated_gaussian,
)
from understudy.functional.schedules import cosine_decay, ema_decay_at, linear_decay, ramp_up


def test_cross_entropy__weights_and_count() -> None:
    logits, targets, weight = torch.randn(6, 4), torch.arange(6) % 4, torch.rand(6)
    each = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, targets, weight), (weight * each).mean())
    kept = torch.tensor([0, 3])
    rest = cross_entropy(logits[kept], targets[kept], weight[kept], count=6)
    torch.testing.assert_close(rest, (weight * each)[kept].sum() / 6)


def test_cross_entropy__classes_are_sure_probabilities() -> None:
    logits, targets, weight = torch.randn(6, 4), torch.arange(6) % 4, torch.ones(6)
    sure = F.one_hot(targets, 4).float()
    for smoothing in (0.0, 0.2):
        torch.testing.assert_close(
            cross_entropy(logits, targets, weight, label_smoothing=smoothing),
            cross_entropy(logits, sure, weight, label_smoothing=smoothing),
        )


def test_cross_entropy__no_rows_is_zero() -> None:
    loss = cross_entropy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.zeros(0), count=5)
    assert loss == 0


def test_confidence_and_threshold() -> None:
    confidence, label = confidence_and_label(torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.95, 0.05]]))
    assert confidence.tolist() == pytest.approx([0.8, 0.5, 0.95])
    assert label.tolist() == [1, 0, 0]
    assert above_threshold(torch.tensor([0.5, 0.75, 0.9]), 0.75).tolist() == [0.0, 1.0, 1.0]


def test_truncated_gaussian__one_above_the_mean_and_falling_below() -> None:
    confidence = torch.linspace(0, 1, 21)
    weight = truncated_gaussian(confidence, torch.tensor(0.5), torch.tensor(0.04), 2.0)
    assert (weight[confidence >= 0.5] == 1).all()
    assert all(a < b for a, b in itertools.pairwise(weight[confidence < 0.5].tolist()))
    assert weight[8].item() == pytest.approx(torch.exp(torch.tensor(-(0.1**2) / (2 * 0.04 / 4))).item(), rel=1e-4)


def test_truncated_gaussian__no_variance() -> None:
    weight = truncated_gaussian(torch.tensor([0.4, 0.5]), torch.tensor(0.5), torch.tensor(0.0), 2.0)
    assert weight.tolist() == [0.0, 1.0]


def test_align__moves_the_mean_to_the_target() -> None:
    probs = torch.randn(400, 4).softmax(-1) * torch.tensor([4.0, 1, 1, 1])
    probs = probs / probs.sum(-1, keepdim=True)
    uniform = torch.full((4,), 0.25)
    aligned = align(probs, uniform, probs.mean(0))
    torch.testing.assert_close(aligned.sum(-1), torch.ones(400))
    assert (aligned.mean(0) - uniform).abs().max() < (probs.mean(0) - uniform).abs().max() / 3
    torch.testing.assert_close(align(probs, uniform, uniform), probs)
    assert align(probs, uniform, torch.tensor([1.0, 0, 0, 0])).isfinite().all()


def test_entropy__a_share_of_its_largest_value() -> None:
    assert entropy(torch.full((3, 5), 0.2)).tolist() == pytest.approx([1.0] * 3)
    assert entropy(torch.eye(4)).tolist() == pytest.approx([0.0] * 4)


@given(st.floats(0, 1), st.floats(0, 1))
def test_schedules__stay_between_their_ends(progress: float, final: float) -> None:
    assert 0 <= ramp_up(progress, final) <= 1
    for decay in (cosine_decay, linear_decay):
        assert min(final, 1) - 1e-9 <= decay(progress, final) <= 1 + 1e-9


def test_schedules__ends() -> None:
    assert [ramp_up(p, 0.4) for p in (0.0, 0.2, 0.4, 1.0)] == pytest.approx([0, 0.5, 1, 1])
    assert ramp_up(0.0, 0.0) == 1.0
    for decay in (cosine_decay, linear_decay):
        assert [decay(p, 0.2) for p in (0.0, 0.5, 1.0, 1.5)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert ema_decay_at(0.999, 0) == 0.1
    assert ema_decay_at(0.999, 10**6) == 0.999
    assert ema_decay_at(0.0, 5) == 0.0

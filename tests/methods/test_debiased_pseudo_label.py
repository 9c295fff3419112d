"""DebiasPL's loss against its paper's equations, over several steps, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.methods import paper
from tests.methods.fixed import SPEC, Case, K, U, step, terms
from understudy.functional.alignment import Alignment
from understudy.methods.debiased_pseudo_label import DebiasedPseudoLabel
from understudy.methods.fixmatch import FixMatch

Rows = NDArray[Any]


class Reference:
    """Wang et al. (2022), equations 3 and 4 and the adaptive marginal loss; the decay is min(m, (1 + t) / (10 + t))."""

    def __init__(self, momentum: float, strength: float, threshold: float) -> None:
        self.momentum, self.strength, self.threshold = momentum, strength, threshold
        self.p_hat, self.steps = np.full(K, 1 / K), 0

    def pseudo_labels(self, weak: Rows) -> list[tuple[int, float]]:
        """Class and weight of each row by equation 3, after which equation 4 updates p-hat."""
        rows = []
        for f in weak.astype(np.float64):
            debiased = paper.softmax((f - self.strength * np.log(self.p_hat))[None])[0]  # equation 3
            rows.append((int(debiased.argmax()), float(debiased.max() >= self.threshold)))
        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.p_hat = keep * self.p_hat + (1 - keep) * paper.softmax(weak).mean(0)  # equation 4
        return rows

    def loss(self, weak: Rows, strong: Rows) -> float:
        """-log(e^(z_y - Delta_y) / sum_j e^(z_j - Delta_j)) with Delta_j = lambda log(1 / p_j), of rows that count."""
        total = 0.0
        for (label, weight), z in zip(self.pseudo_labels(weak), strong.astype(np.float64), strict=True):
            scores = z - self.strength * np.log(1 / self.p_hat)
            total -= weight * (scores[label] - np.log(np.exp(scores).sum()))
        return total / len(weak)


@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
@pytest.mark.parametrize(("momentum", "strength", "threshold"), [(0.999, 0.5, 0.6), (0.2, 2.0, 0.0), (0.5, 1.0, 0.95)])
def test_loss__over_steps(teacher: str, scale: float, momentum: float, strength: float, threshold: float) -> None:
    method = DebiasedPseudoLabel(
        threshold=threshold, momentum=momentum, debiasing=strength, lambda_u=0.7, teacher=teacher
    )
    memory, reference = method.memory(SPEC), Reference(momentum, strength, threshold)
    for seed in range(5):
        case = Case(seed)
        case.weak[:, 0] += 2  # a class that the network prefers
        loss, _ = step(method, case, memory=memory)
        expected = 0.7 * reference.loss(scale * case.weak, case.strong)
        assert terms(loss) == pytest.approx({"supervised": case.supervised(), "unsupervised": expected}, rel=1e-4)
    np.testing.assert_allclose(memory.mean.numpy(), reference.p_hat, rtol=1e-5)


def test_loss__without_debiasing_is_fixmatch() -> None:
    case = Case()
    for threshold in (0.0, 0.6):
        loss, _ = step(DebiasedPseudoLabel(debiasing=0.0, threshold=threshold), case)
        expected, _ = step(FixMatch(threshold=threshold), case)
        assert terms(loss) == pytest.approx(terms(expected), rel=1e-5)


def case_of(logits: list[float]) -> Case:
    """A case in which every weak view has these logits."""
    case = Case()
    case.weak[:] = logits
    return case


def test_loss__prefers_the_class_seldom_predicted() -> None:
    method = DebiasedPseudoLabel(debiasing=1.0, threshold=0.0)
    memory = method.memory(SPEC)
    memory.mean.copy_(torch.tensor([0.9, 0.025, 0.025, 0.025, 0.025]))
    loss, _ = step(method, case_of(np.log([0.5, 0.4, 0.05, 0.025, 0.025]).tolist()), memory=memory)
    assert loss.pseudo_labels is not None
    assert loss.pseudo_labels.labels.tolist() == [1] * U


def test_loss__a_class_never_predicted_stays_finite() -> None:
    method = DebiasedPseudoLabel(momentum=0.0, threshold=0.0)
    memory = method.memory(SPEC)
    case = case_of([200.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(3):
        loss, _ = step(method, case, memory=memory)
        assert loss.pseudo_labels is not None
        assert loss.pseudo_labels.labels.tolist() == [0] * U
        assert loss.terms["unsupervised"].isfinite()
    assert memory.mean.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert method.bias(memory).isfinite().all()


def test_loss__debiases_aligned_predictions() -> None:
    method = DebiasedPseudoLabel(alignment=Alignment(target="uniform", momentum=0.2), threshold=0.0, debiasing=1.0)
    plain = DebiasedPseudoLabel(threshold=0.0, debiasing=1.0)
    memories = method.memory(SPEC), plain.memory(SPEC)
    labels = []
    for seed in range(3):
        case = Case(seed)
        case.weak[:, 0] += 3
        for each, memory in zip((method, plain), memories, strict=True):
            loss, _ = step(each, case, memory=memory)
            assert loss.pseudo_labels is not None
            labels.append(loss.pseudo_labels.labels.tolist())
    assert labels[-2] != labels[-1]
    np.testing.assert_allclose(memories[0].mean, memories[1].mean)  # of predictions before alignment


def test_gradient__is_that_of_the_margins_at_constant_targets() -> None:
    method = DebiasedPseudoLabel(threshold=0.3, momentum=0.5, debiasing=0.8)
    memory, reference = method.memory(SPEC), Reference(0.5, 0.8, 0.3)
    for seed in range(2):
        case = Case(seed)
        loss, nets = step(method, case, memory=memory)
        pseudo_labels = reference.pseudo_labels(case.weak)
    (gradient,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    expected = np.zeros(K)
    for (label, weight), z in zip(pseudo_labels, case.strong, strict=True):
        p = paper.softmax((z + 0.8 * np.log(reference.p_hat))[None])[0]
        expected += weight * (p - paper.one_hot(label, K)) * z / U
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-3, atol=1e-6)
    assert not memory.mean.requires_grad

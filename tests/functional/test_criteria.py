"""Criteria of labeled rows against slow transcriptions of the papers they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from understudy.functional.criteria import (
    Criterion,
    CrossEntropy,
    GeneralizedCrossEntropy,
    SymmetricCrossEntropy,
    balancing_weights,
)

B, K = 6, 4
COUNTS = (12, 5, 2, 1)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (B, K))
LABELS = np.array([0, 1, 2, 3, 0, 0])
WEIGHT = RNG.uniform(0.5, 1.5, B)


def softmax(row: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def one_hot(label: int) -> NDArray[Any]:
    return np.array([float(k == label) for k in range(K)])


def applied(
    criterion: Criterion, *, targets: NDArray[Any] = LABELS, logits: NDArray[Any] = LOGITS, counts: Any = COUNTS
) -> float:
    return criterion(
        torch.from_numpy(logits), torch.from_numpy(targets), torch.from_numpy(WEIGHT), torch.tensor(counts).double()
    ).item()


def mean_over_rows(row_loss: Any, class_weight: Any = None) -> float:
    total = 0.0
    for row, label, w in zip(LOGITS, LABELS, WEIGHT, strict=True):
        total += w * (1.0 if class_weight is None else class_weight[label]) * row_loss(row, int(label))
    return total / B


def cross_entropy(row: NDArray[Any], target: NDArray[Any]) -> float:
    return -sum(t * np.log(p) for t, p in zip(target, softmax(row), strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_cross_entropy__label_smoothing(smoothing: float) -> None:
    expected = mean_over_rows(
        lambda row, y: cross_entropy(row, (1 - smoothing) * one_hot(y) + smoothing * np.full(K, 1 / K))
    )
    assert applied(CrossEntropy(label_smoothing=smoothing)) == pytest.approx(expected)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjustment__equation_10_of_menon(tau: float) -> None:
    """-log( exp(f_y + tau log pi_y) / sum_k exp(f_k + tau log pi_k) )."""
    prior = np.array(COUNTS) / sum(COUNTS)

    def row_loss(row: NDArray[Any], y: int) -> float:
        return -np.log(np.exp(row[y] + tau * np.log(prior[y])) / sum(np.exp(row + tau * np.log(prior))))

    assert applied(CrossEntropy(logit_adjustment=tau)) == pytest.approx(mean_over_rows(row_loss))


def test_logit_adjustment__of_balanced_classes_changes_nothing() -> None:
    counts = (3,) * K
    assert applied(CrossEntropy(logit_adjustment=1.0), counts=counts) == pytest.approx(applied(CrossEntropy()))


def test_class_weights__equation_2_of_cui() -> None:
    """Weights (1 - b) / (1 - b^n_y) with b = (N - 1) / N, made to average 1 over the labeled rows."""
    total = sum(COUNTS)
    b = (total - 1) / total
    raw = np.array([(1 - b) / (1 - b**n) for n in COUNTS])
    weights = raw * total / sum(w * n for w, n in zip(raw, COUNTS, strict=True))
    expected = mean_over_rows(lambda row, y: cross_entropy(row, one_hot(y)), weights)
    assert applied(CrossEntropy(class_weights="effective")) == pytest.approx(expected)


def test_class_weights__inverse() -> None:
    weights = np.array([sum(COUNTS) / (K * n) for n in COUNTS])
    expected = mean_over_rows(lambda row, y: cross_entropy(row, one_hot(y)), weights)
    assert applied(CrossEntropy(class_weights="inverse")) == pytest.approx(expected)


def test_class_weights__of_probabilities_are_their_mean() -> None:
    targets = np.array([softmax(row) for row in RNG.normal(size=(B, K))])
    weights = np.array([sum(COUNTS) / (K * n) for n in COUNTS])
    rows = zip(LOGITS, targets, WEIGHT, strict=True)
    expected = sum(w * (t @ weights) * cross_entropy(row, t) for row, t, w in rows) / B
    assert applied(CrossEntropy(class_weights="inverse"), targets=targets) == pytest.approx(expected)


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=8).filter(any), st.sampled_from(["inverse", "effective"]))
def test_balancing_weights__average_one_and_favor_the_rare(counts: list[int], kind: str) -> None:
    found = balancing_weights(torch.tensor(counts, dtype=torch.float32), kind)
    assert (found * torch.tensor(counts)).sum().item() == pytest.approx(sum(counts), rel=1e-4)
    order = np.argsort(counts)
    assert found.isfinite().all()
    assert all(a >= b * (1 - 1e-4) for a, b in zip(found[order], found[order][1:], strict=False))


@pytest.mark.parametrize(("alpha", "beta", "log_of_zero"), [(0.1, 1.0, -4.0), (2.0, 0.3, -8.0)])
def test_symmetric__equation_6_of_wang(alpha: float, beta: float, log_of_zero: float) -> None:
    """alpha H(q, p) + beta H(p, q), with A for the logarithm of the zeros of q."""

    def row_loss(row: NDArray[Any], y: int) -> float:
        p = softmax(row)
        reverse = -sum(p[k] * (0.0 if k == y else log_of_zero) for k in range(K))
        return -alpha * np.log(p[y]) + beta * reverse

    found = applied(SymmetricCrossEntropy(alpha=alpha, beta=beta, log_of_zero=log_of_zero))
    assert found == pytest.approx(mean_over_rows(row_loss))


@pytest.mark.parametrize("q", [0.01, 0.2, 0.7, 1.0])
def test_generalized__equation_6_of_zhang(q: float) -> None:
    expected = mean_over_rows(lambda row, y: (1 - softmax(row)[y] ** q) / q)
    assert applied(GeneralizedCrossEntropy(q=q)) == pytest.approx(expected)


def test_generalized__tends_to_cross_entropy() -> None:
    assert applied(GeneralizedCrossEntropy(q=0.01)) == pytest.approx(applied(CrossEntropy()), rel=0.05)


@pytest.mark.parametrize("kind", [CrossEntropy, SymmetricCrossEntropy, GeneralizedCrossEntropy])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"label_smoothing": 0.1},
        {"class_weights": "inverse", "logit_adjustment": 1.0},
        {"class_weights": "effective"},
    ],
    ids=str,
)
def test_criteria__extreme_logits_and_absent_classes(kind: Any, settings: dict[str, Any]) -> None:
    """A network may be as sure as it likes, and a class may have no labeled row: loss and gradient stay finite."""
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    loss = kind(**settings)(logits, torch.tensor([0, 0]), torch.ones(2), torch.tensor([2.0, 3.0, 0.0]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", [CrossEntropy, SymmetricCrossEntropy, GeneralizedCrossEntropy])
def test_criteria__classes_are_sure_probabilities(kind: Any) -> None:
    sure = np.array([one_hot(label) for label in LABELS])
    for smoothing in (0.0, 0.2):
        criterion = kind(label_smoothing=smoothing)
        assert applied(criterion, targets=sure) == pytest.approx(applied(criterion))


def test_robust_criteria__bounded_where_cross_entropy_is_not() -> None:
    """The reverse term is at most -A and generalized cross-entropy at most 1 / q, however wrong the label."""
    logits: Tensor = torch.tensor([[-60.0, 60.0]])
    wrong = (logits, torch.tensor([0]), torch.ones(1), torch.ones(2))
    assert CrossEntropy()(*wrong).item() == pytest.approx(120)
    assert SymmetricCrossEntropy(alpha=0.0)(*wrong).item() == pytest.approx(4)
    assert GeneralizedCrossEntropy(q=0.5)(*wrong).item() == pytest.approx(2)

"""Each method's loss against its paper's equations on fixed logits, its gradient, and what it asks networks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods import paper
from tests.methods.fixed import SPEC, B, Case, Fixed, K, U, step, terms
from understudy.core.types import Step
from understudy.functional.alignment import Alignment
from understudy.functional.criteria import CrossEntropy
from understudy.methods.fixmatch import FixMatch
from understudy.methods.pseudo_label import PseudoLabel
from understudy.methods.softmatch import SoftMatch
from understudy.methods.supervised import Supervised


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_supervised(label_smoothing: float) -> None:
    case = Case()
    loss, nets = step(Supervised(criterion=CrossEntropy(label_smoothing=label_smoothing)), case)
    assert terms(loss) == pytest.approx({"supervised": case.supervised(label_smoothing)}, rel=1e-5)
    assert nets.asked == ["logits"]


def test_supervised__probabilities_as_targets() -> None:
    case = Case()
    targets = paper.softmax(np.random.default_rng(1).normal(size=(B, K)))
    batch = case.batch()
    soft = replace(batch.labeled, targets=torch.from_numpy(targets).float())
    nets: Any = Fixed()
    loss = Supervised().loss(nets, replace(batch, labeled=soft), nn.Module(), Step(0, 0.0))
    rows = zip(case.weight, targets, case.labeled, strict=True)
    assert loss.total.item() == pytest.approx(sum(w * paper.cross_entropy(t, x) for w, t, x in rows) / B, rel=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95, 1.0])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
def test_fixmatch(threshold: float, teacher: str, scale: float) -> None:
    case = Case()
    loss, nets = step(FixMatch(threshold=threshold, lambda_u=0.7, teacher=teacher), case)
    weak = scale * case.weak
    expected = {
        "supervised": case.supervised(),
        "unsupervised": 0.7 * paper.fixmatch(weak, case.strong, threshold),
    }
    assert terms(loss) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    count = (paper.softmax(weak).max(-1) >= threshold).mean()
    assert loss.metrics["mask_ratio"].item() == pytest.approx(count)
    assert nets.asked == (["logits"] if teacher == "concat" else [teacher, "logits"])


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.39, 0.4, 1.0])
def test_pseudo_label(progress: float) -> None:
    case = Case()
    case.strong = case.weak  # the trained view is the one that was labeled
    loss, _ = step(PseudoLabel(threshold=0.6, lambda_u=0.7), case, progress=progress)
    expected = paper.pseudo_label(case.weak, case.weak, 0.6, progress, 0.4, 0.7)
    assert terms(loss) == pytest.approx({"supervised": case.supervised(), "unsupervised": expected}, rel=1e-5)


@pytest.mark.parametrize("alignment", ["uniform", "none"])
@pytest.mark.parametrize("cut_off", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.999, 0.2])
def test_softmatch__over_steps(alignment: str, cut_off: float, momentum: float) -> None:
    aligned = Alignment(target=alignment, momentum=momentum)
    method = SoftMatch(alignment=aligned, cut_off=cut_off, momentum=momentum, num_deviations=1.5, lambda_u=0.7)
    memory, reference = method.memory(SPEC), paper.SoftMatch(K, momentum, 1.5)
    for seed in range(5):
        case = Case(seed)
        loss, _ = step(method, case, memory=memory)
        expected = reference.loss(case.weak, case.strong, cut_off, aligned=alignment == "uniform")
        assert terms(loss)["unsupervised"] == pytest.approx(0.7 * expected, rel=1e-4)
        assert terms(loss)["supervised"] == pytest.approx(case.supervised(), rel=1e-5)
    assert memory.mean.item() == pytest.approx(reference.mean, rel=1e-5)
    assert memory.variance.item() == pytest.approx(reference.variance, rel=1e-5)
    if alignment == "uniform":
        np.testing.assert_allclose(memory.balance.unlabeled.numpy(), reference.marginal, rtol=1e-5)


def methods() -> Iterator[Any]:
    for teacher in ("ema", "model", "concat"):
        yield FixMatch(threshold=0.5, teacher=teacher)
        yield SoftMatch(teacher=teacher)
    yield PseudoLabel(threshold=0.5)


@pytest.mark.parametrize("method", list(methods()), ids=lambda m: f"{m.name}-{m.teacher}")
def test_gradient__flows_through_the_trained_view_alone(method: Any) -> None:
    """The gradient is that of cross-entropy to constant targets: p - y on trained rows, nothing through targets."""
    case = Case()
    loss, nets = step(method, case)
    (found,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    given = loss.pseudo_labels
    assert given is not None
    trained = case.weak if method.name == "pseudo_label" else case.strong
    expected = np.zeros(K)
    for label, weight, row in zip(given.labels.tolist(), given.weight.tolist(), trained, strict=True):
        expected += weight * (paper.softmax(row[None])[0] - paper.one_hot(label, K)) * row / U
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)
    assert not given.weight.requires_grad
    assert not any(value.requires_grad for value in loss.metrics.values())


@pytest.mark.parametrize("method", [FixMatch(threshold=1.0), PseudoLabel(threshold=1.0)], ids=lambda m: m.name)
def test_loss__no_row_counts(method: Any) -> None:
    case = Case()
    case.weak = case.weak * 0.1
    loss, _ = step(method, case)
    assert terms(loss)["unsupervised"] == 0.0
    loss.total.backward()

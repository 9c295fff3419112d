"""The Pi-model's loss against its paper's equations, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.methods import paper_consistency as paper
from tests.methods.fixed import Case, K, U, step, terms
from tests.methods.paper import softmax
from understudy.methods.pi_model import PiModel


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.29, 0.3, 1.0])
def test_pi_model(progress: float) -> None:
    case = Case()
    loss, nets = step(PiModel(lambda_u=3.0, ramp_up_end=0.3), case, progress=progress)
    weight = 3.0 * paper.gaussian_ramp_up(progress, 0.3)
    expected = {
        "supervised": case.supervised(),
        "unsupervised": weight * paper.squared_difference(case.weak, case.weak1),
    }
    assert terms(loss) == pytest.approx(expected, rel=1e-5)
    assert nets.asked == ["logits"], "both passes and the labeled rows must share one training forward"
    assert loss.metrics["mask_ratio"].item() == 1


def test_pi_model__no_ramp() -> None:
    case = Case()
    loss, _ = step(PiModel(lambda_u=3.0, ramp_up_end=0.0), case, progress=0.0)
    assert terms(loss)["unsupervised"] == pytest.approx(3 * paper.squared_difference(case.weak, case.weak1), rel=1e-5)


def test_pi_model__gradient_flows_through_both_passes() -> None:
    case = Case()
    loss, nets = step(PiModel(lambda_u=3.0, ramp_up_end=0.0), case)
    (found,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    expected = paper.gradient(lambda f: 3 * paper.squared_difference(f * case.weak, f * case.weak1), K)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)


def test_pi_model__reports_the_class_of_the_mean() -> None:
    case = Case()
    given = step(PiModel(), case)[0].pseudo_labels
    assert given is not None
    assert given.labels.tolist() == (softmax(case.weak) + softmax(case.weak1)).argmax(-1).tolist()
    assert given.weight.tolist() == [1.0] * U

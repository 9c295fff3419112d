"""Mean Teacher's loss against its paper's equations, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.tiny import network
from tests.methods import paper_consistency as paper
from tests.methods.fixed import Case, K, U, step, terms
from understudy.methods.mean_teacher import MeanTeacher
from understudy.models.nets import Networks


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.29, 0.3, 1.0])
def test_mean_teacher(progress: float) -> None:
    case, nets = Case(), paper.Attached()
    loss, _ = step(MeanTeacher(lambda_u=3.0, ramp_up_end=0.3), case, progress=progress, nets=nets)
    weight = 3.0 * paper.gaussian_ramp_up(progress, 0.3)
    consistency = paper.squared_difference(case.weak, paper.TEACHER * case.weak1)
    expected = {"supervised": case.supervised(), "unsupervised": weight * consistency}
    assert terms(loss) == pytest.approx(expected, rel=1e-5)
    assert nets.asked == ["ema", "logits"]
    assert loss.metrics["mask_ratio"].item() == 1


def test_mean_teacher__gradient_flows_through_the_student_alone() -> None:
    case, nets = Case(), paper.Attached()
    loss, _ = step(MeanTeacher(lambda_u=3.0, ramp_up_end=0.0), case, nets=nets)
    (found,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    teacher = paper.TEACHER * case.weak1
    expected = paper.gradient(lambda f: 3 * paper.squared_difference(f * case.weak, teacher), K)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)


def test_mean_teacher__reports_the_teachers_class() -> None:
    case = Case()
    given = step(MeanTeacher(), case, nets=paper.Attached())[0].pseudo_labels
    assert given is not None
    assert given.labels.tolist() == case.weak1.argmax(-1).tolist()
    assert given.weight.tolist() == [1.0] * U


def test_predict_in_training__runs_as_the_student_and_moves_nothing() -> None:
    """Of equal weights both say the same, also where a part is frozen and whatever the running statistics are."""
    model = network()
    nets = Networks(model=model.train())
    nets.freeze([model[2]])
    assert isinstance(model[2], nn.BatchNorm2d)
    for norm in (nets.model[5], nets.ema[5]):  # type: ignore[index]
        norm.running_mean += 3
    before = {name: value.clone() for name, value in nets.state_dict().items()}
    one, other = torch.rand(4, 1, 8, 8), torch.rand(3, 1, 8, 8)
    found = nets.predict_in_training(one, other)
    assert all(torch.equal(value, before[name]) for name, value in nets.state_dict().items())
    assert not any(module.training for module in nets.ema.modules())
    assert not any(part.requires_grad for part in found)
    for part, expected in zip(found, nets.logits(one, other), strict=True):
        torch.testing.assert_close(part, expected)

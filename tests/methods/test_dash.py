"""Dash against its paper's equations on fixed logits, from the warm-up on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.methods import paper, paper_thresholds
from tests.methods.fixed import SPEC, Case, Fixed, K, step, terms
from understudy.core.types import Step
from understudy.methods.dash import Dash


@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
@pytest.mark.parametrize("rho_min", [0.05, 0.4])
def test_dash__over_steps(teacher: str, scale: float, rho_min: float) -> None:
    settings = {"c": 1.1, "gamma": 1.3, "rho_min": rho_min, "temperature": 0.5}
    method = Dash(teacher=teacher, num_reductions=12, lambda_u=0.7, **settings)
    memory, reference = method.memory(SPEC), paper_thresholds.Dash(K, **settings)
    (warm_up,) = method.first_phase()
    for seed in range(3):
        case = Case(seed)
        loss = warm_up.loss(Fixed(), case.batch(), memory, Step(seed, 0.1 * seed))
        assert terms(loss) == pytest.approx({"supervised": case.supervised()}, rel=1e-5)
        reference.warm_up(case.supervised(), 0.1 * seed)
    thresholds = []
    for seed, progress in enumerate((0.25, 0.3, 0.5, 0.75, 0.99), start=3):
        case = Case(seed)
        loss, nets = step(method, case, memory=memory, progress=progress)
        rho = reference.rho(progress, 12)
        thresholds.append(rho)
        assert loss.metrics["threshold"].item() == pytest.approx(rho, rel=1e-5)

        def unsupervised(factor: paper.Rows, case: Case = case, rho: float = rho) -> float:
            return 0.7 * reference.loss(scale * case.weak, case.strong * factor, rho)

        assert terms(loss)["unsupervised"] == pytest.approx(unsupervised(np.ones(K)), rel=1e-4)
        (found,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
        np.testing.assert_allclose(found.numpy(), paper_thresholds.slope(unsupervised, K), rtol=1e-3, atol=1e-5)
    assert thresholds == sorted(thresholds, reverse=True)
    assert rho_min in thresholds or rho_min == 0.05
    assert thresholds[0] > thresholds[1] > rho_min


def test_threshold__without_warm_up_starts_from_a_fair_guess() -> None:
    method = Dash()
    rho = [method.threshold(method.memory(SPEC), Step(0, progress)).item() for progress in (0.0, 0.5, 1.0)]
    assert rho == pytest.approx([1.0001 * math.log(K), 0.05, 0.05])


def test_threshold__at_the_end_of_a_run_that_was_all_warm_up() -> None:
    method = Dash()
    memory = method.memory(SPEC)
    memory.end.fill_(1.0)
    assert method.threshold(memory, Step(9, 1.0)).isfinite()


def test_warm_up__robust_criterion_leaves_the_threshold_a_cross_entropy() -> None:
    from understudy.functional.criteria import GeneralizedCrossEntropy

    memories = []
    for method in (Dash(), Dash(criterion=GeneralizedCrossEntropy())):
        memories.append(method.memory(SPEC))
        method.first_phase()[0].loss(Fixed(), Case().batch(), memories[-1], Step(0, 0.0))
    assert memories[0].loss == memories[1].loss
    assert not memories[0].loss.requires_grad


def test_pseudo_labels__sure_predictions_are_finite() -> None:
    sure = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    targets, weight = Dash().pseudo_labels(sure, torch.tensor(0.3))
    assert targets.isfinite().all()
    assert weight.tolist() == [1.0, 0.0]

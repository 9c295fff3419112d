"""FreeMatch against its paper's equations on fixed logits, over several steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.methods import paper, paper_thresholds
from tests.methods.fixed import SPEC, Case, K, step, terms
from understudy.methods.freematch import FreeMatch


@pytest.mark.parametrize("momentum", [0.999, 0.2])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
def test_freematch__over_steps(momentum: float, teacher: str, scale: float) -> None:
    method = FreeMatch(momentum=momentum, teacher=teacher, lambda_u=0.7, w_f=0.3)
    memory, reference = method.memory(SPEC), paper_thresholds.FreeMatch(K, momentum)
    counted = []
    for seed in range(6):
        case = Case(seed)
        loss, nets = step(method, case, memory=memory)
        q = paper.softmax(scale * case.weak)
        mask = reference.mask(q)
        counted.append(sum(mask))

        def fairness(factor: paper.Rows, case: Case = case, mask: list[bool] = mask) -> float:
            return 0.3 * reference.fairness(case.strong * factor, mask)

        def unsupervised(factor: paper.Rows, case: Case = case, mask: list[bool] = mask, q: paper.Rows = q) -> float:
            return 0.7 * paper_thresholds.masked(paper_thresholds.classes(q), mask, case.strong * factor)

        one = np.ones(K)
        expected = {"supervised": case.supervised(), "fairness": fairness(one), "unsupervised": unsupervised(one)}
        assert terms(loss) == pytest.approx(expected, rel=1e-4)
        assert expected["fairness"] < 0
        for term, function in (("fairness", fairness), ("unsupervised", unsupervised)):
            (found,) = torch.autograd.grad(loss.terms[term], nets.factor, retain_graph=True)
            np.testing.assert_allclose(found.numpy(), paper_thresholds.slope(function, K), rtol=1e-3, atol=1e-5)
        assert loss.metrics["threshold"].item() == pytest.approx(reference.tau, rel=1e-5)
    assert 0 < min(counted) < max(counted)
    np.testing.assert_allclose(memory.prediction.numpy(), reference.p, rtol=1e-5)
    np.testing.assert_allclose(memory.histogram.numpy(), reference.h, rtol=1e-5)


def test_freematch__metrics_keep_their_value() -> None:
    method = FreeMatch()
    memory = method.memory(SPEC)
    loss, _ = step(method, Case(0), memory=memory)
    before = loss.metrics["threshold"].item()
    step(method, Case(1), memory=memory)
    assert loss.metrics["threshold"].item() == before

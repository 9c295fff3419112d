"""UDA against its paper's equations on fixed logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.methods import paper, paper_thresholds
from tests.methods.fixed import Case, Fixed, K, step, terms
from understudy.core.types import Step
from understudy.methods.uda import UDA


@pytest.mark.parametrize("temperature", [0.4, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 0.8])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
def test_uda(temperature: float, threshold: float, teacher: str, scale: float) -> None:
    case = Case()
    method = UDA(temperature=temperature, threshold=threshold, teacher=teacher, lambda_u=0.7)
    loss, nets = step(method, case)
    weak = scale * case.weak

    def total(factor: paper.Rows) -> float:
        supervised = paper.supervised(case.labeled * factor, case.labels, case.weight.astype(float))
        return supervised + 0.7 * paper_thresholds.uda(weak, case.strong * factor, threshold, temperature)

    expected = 0.7 * paper_thresholds.uda(weak, case.strong, threshold, temperature)
    assert terms(loss) == pytest.approx({"supervised": case.supervised(), "unsupervised": expected}, rel=1e-4)
    (found,) = torch.autograd.grad(loss.total, nets.factor)
    np.testing.assert_allclose(found.numpy(), paper_thresholds.slope(total, K), rtol=1e-3, atol=1e-5)


def test_uda__temperature_zero_gives_classes() -> None:
    case = Case()
    loss, _ = step(UDA(temperature=0.0, threshold=0.6), case)
    assert terms(loss)["unsupervised"] == pytest.approx(paper.fixmatch(case.weak, case.strong, 0.6), rel=1e-4)


@pytest.mark.parametrize("schedule", ["linear", "log", "exp"])
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.7, 1.0])
def test_annealing(schedule: str, progress: float) -> None:
    kept = set()
    for seed in range(4):
        case = Case(seed)
        loss, nets = step(UDA(signal_annealing=schedule), case, progress=progress)

        def supervised(factor: paper.Rows, case: Case = case) -> float:
            logits = case.labeled * factor
            return paper_thresholds.annealed_supervised(
                logits, case.labels, case.weight.astype(float), schedule, progress
            )

        assert terms(loss)["supervised"] == pytest.approx(supervised(np.ones(K)), rel=1e-5)
        (found,) = torch.autograd.grad(loss.terms["supervised"], nets.factor)
        np.testing.assert_allclose(found.numpy(), paper_thresholds.slope(supervised, K), rtol=1e-3, atol=1e-5)
        kept.add(terms(loss)["supervised"] == pytest.approx(case.supervised(), rel=1e-5))
    assert False in kept or progress == 1, "no row was left out"


def test_annealing__every_row_is_known() -> None:
    case = Case()
    case.labeled = 9.0 * np.eye(K, dtype=np.float32)[case.labels]
    loss, _ = step(UDA(signal_annealing="exp"), case)
    assert terms(loss)["supervised"] == 0.0
    loss.total.backward()


def test_annealing__probabilities_as_targets() -> None:
    case = Case()
    soft = torch.from_numpy(0.9 * np.eye(K, dtype=np.float32)[case.labels] + 0.1 / K)
    method, batch = UDA(signal_annealing="linear"), case.batch()
    scale = [
        method.annealing(torch.from_numpy(case.labeled), labeled, Step(7, 0.3))
        for labeled in (batch.labeled, replace(batch.labeled, targets=soft))
    ]
    assert torch.equal(*scale)
    assert scale[0].mean().item() == pytest.approx(1.0)


def test_annealing__off_asks_nothing() -> None:
    nets = Fixed()
    loss, _ = step(UDA(), Case(), nets=nets, progress=0.0)
    assert terms(loss)["supervised"] == pytest.approx(Case().supervised(), rel=1e-5)
    assert nets.asked == ["ema", "logits"]

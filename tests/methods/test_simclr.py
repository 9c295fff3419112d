"""SimCLR's loss against its paper's equation, its gradient, and images that come twice in a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods import paper_pretext as paper
from tests.methods.fixed import SPEC, Case, U, step
from tests.methods.paper import Rows
from understudy.core.types import Loss, Step
from understudy.functional.contrast import nt_xent
from understudy.methods.simclr import SimCLR

OUTPUTS = 3


def expected(case: Case, temperature: float, factor: Rows | float = 1.0, ids: Rows | None = None) -> float:
    one, other = (paper.projected(rows, OUTPUTS, factor) for rows in (case.strong, case.strong1))
    return paper.simclr(one, other, np.arange(U) if ids is None else ids, temperature)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr__equation(temperature: float) -> None:
    for seed in range(3):
        loss, nets = step(SimCLR(temperature=temperature), Case(seed), nets=paper.nets_with(OUTPUTS))
        assert loss.total.item() == pytest.approx(expected(Case(seed), temperature), rel=1e-5)
        assert nets.asked == ["logits", "projection"]


def test_simclr__gradient_flows_through_both_views() -> None:
    loss, nets = step(SimCLR(), Case(), nets=paper.nets_with(OUTPUTS))
    paper.check_gradient(loss.total, nets, lambda factor: expected(Case(), 0.5, factor))
    assert not any(value.requires_grad for value in loss.metrics.values())


def test_simclr__copies_of_an_image_are_no_negatives() -> None:
    ids = np.arange(U) // 2
    batch = Case().batch()
    batch = replace(batch, unlabeled=replace(batch.unlabeled, ids=torch.from_numpy(ids)))
    nets: Any = paper.nets_with(OUTPUTS)
    loss: Loss = SimCLR().loss(nets, batch, nn.Module(), Step(7, 0.5))
    assert loss.total.item() == pytest.approx(expected(Case(), 0.5, ids=ids), rel=1e-5)
    assert loss.total.item() < expected(Case(), 0.5) - 0.01


def test_nt_xent__of_one_image() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    loss, nearest = nt_xent(z, z.flip(1), torch.zeros(3, dtype=torch.long), 0.5)
    loss.backward()
    assert (loss.item(), nearest.item()) == (0, 1)
    assert z.grad is not None
    assert z.grad.abs().max() < 1e-6


def test_nt_xent__how_often_the_partner_is_nearest() -> None:
    z = torch.eye(4)
    assert nt_xent(z, z, torch.arange(4), 0.5)[1] == 1
    assert nt_xent(z, z.roll(1, 0), torch.arange(4), 0.5)[1] == 0


def test_simclr__networks() -> None:
    nets = SimCLR(embedding_width=7).networks(nn.Linear(7, 5), SPEC)
    widths = [tuple(layer.weight.shape) for layer in nets.get_submodule("projection") if isinstance(layer, nn.Linear)]
    assert widths == [(SPEC.feature_width, SPEC.feature_width), (7, SPEC.feature_width)]
    assert [objective.trains for objective in SimCLR().objectives()] == [("model", "projection")]

"""Barlow Twins' loss against its paper's equations, its gradient, and features that never change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.methods import paper_pretext as paper
from tests.methods.fixed import SPEC, Case, step, terms
from tests.methods.paper import Rows
from understudy.functional.contrast import cross_correlation
from understudy.methods.barlow_twins import BarlowTwins

OUTPUTS = 4


def expected(case: Case, redundancy: float, factor: Rows | float = 1.0) -> dict[str, float]:
    one, other = (paper.projected(rows, OUTPUTS, factor) for rows in (case.strong, case.strong1))
    return paper.barlow_twins(one, other, redundancy)


@pytest.mark.parametrize("redundancy", [0.005, 0.5])
def test_barlow_twins__equations(redundancy: float) -> None:
    for seed in range(3):
        loss, nets = step(BarlowTwins(redundancy=redundancy), Case(seed), nets=paper.nets_with(OUTPUTS))
        assert terms(loss) == pytest.approx(expected(Case(seed), redundancy), rel=1e-4)
        assert nets.asked == ["logits", "projection"]


def test_barlow_twins__gradient_flows_through_both_views() -> None:
    loss, nets = step(BarlowTwins(redundancy=0.5), Case(), nets=paper.nets_with(OUTPUTS))
    for name, term in loss.terms.items():
        paper.check_gradient(term, nets, lambda factor, name=name: expected(Case(), 0.5, factor)[name])  # type: ignore[misc]
    assert not any(value.requires_grad for value in loss.metrics.values())


def test_cross_correlation__of_a_constant() -> None:
    z = torch.randn(8, 3)
    z[:, 1] = 5.0
    z.requires_grad_(True)
    found = cross_correlation(z, z)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert found.diagonal().tolist() == pytest.approx([1, 0, 1], abs=1e-3)
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_barlow_twins__networks() -> None:
    nets = BarlowTwins(embedding_width=7).networks(nn.Linear(7, 5), SPEC)
    layers = nets.get_submodule("projection")
    widths = [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)]
    assert widths == [(7, SPEC.feature_width), (7, 7), (7, 7)]
    assert sum(isinstance(layer, nn.LayerNorm) for layer in layers) == 2

"""ShrinkMatch against its paper's equations on fixed logits and a fixed second head, over steps, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.methods import paper_embeddings as paper
from tests.methods.fixed import SPEC, Case, Fixed, K, U, step, terms
from understudy.functional.alignment import Alignment
from understudy.functional.shrinking import shrunk_classes
from understudy.methods.shrinkmatch import ShrinkMatch


def networks() -> Fixed:
    torch.manual_seed(1)
    return Fixed(auxiliary=nn.Linear(K // 2, K))


def method(**settings: Any) -> ShrinkMatch:
    alignment = Alignment(target="uniform", momentum=0.6)
    return ShrinkMatch(**({"lambda_u": 0.7, "threshold": 0.7, "alignment": alignment} | settings))


@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
@pytest.mark.parametrize("settings", [{}, {"threshold": 0.9}, {"threshold": 0.5, "momentum": 0.2}])
def test_shrinkmatch__over_steps(teacher: str, scale: float, settings: dict[str, float]) -> None:
    tested, nets = method(teacher=teacher, **settings), networks()
    memory = tested.memory(SPEC)
    reference = paper.ShrinkMatch(K, momentum=tested.momentum, da=0.6)
    seen = 0.0
    for seed in range(5):
        case = Case(seed)
        loss, _ = step(tested, case, memory=memory, nets=nets)
        with torch.no_grad():
            auxiliary = nets.networks["auxiliary"](torch.from_numpy(case.strong[:, : K // 2])).numpy()
        unsupervised, shrunk = reference.losses(np.float32(scale) * case.weak, case.strong, auxiliary, tested.threshold)
        expected = {"supervised": case.supervised(), "unsupervised": 0.7 * unsupervised, "shrunk": shrunk}
        assert terms(loss) == pytest.approx(expected, rel=1e-4, abs=1e-7)
        seen += shrunk
    assert seen > 0
    assert memory.share.item() == pytest.approx(reference.share, rel=1e-5)


@pytest.mark.parametrize("teacher", ["ema", "concat"])
def test_shrinkmatch__gradient_is_of_strong_views_alone(teacher: str) -> None:
    """With targets, weights and classes as constants."""
    tested, case, nets, reference = method(teacher=teacher), Case(), networks(), networks()
    memory = tested.memory(SPEC)
    loss, _ = step(tested, case, memory=memory, nets=nets)
    assert not any(value.requires_grad for value in (*loss.metrics.values(), *memory.buffers()))
    weak, strong = torch.from_numpy(case.weak), torch.from_numpy(case.strong)
    probs = nn.functional.normalize(weak.softmax(-1) / memory.balance.unlabeled, p=1, dim=-1)
    total = torch.tensor(0.0)
    for p, row in zip(probs, strong, strict=True):
        left = [] if p.max() >= 0.7 else paper.shrink(p.double().numpy(), 0.7)
        if left:
            logits = reference.networks["auxiliary"]((row * reference.factor)[: K // 2])
            total = total - p.max() * logits[left].log_softmax(-1)[0]
    wanted = [reference.factor, *reference.networks["auxiliary"].parameters()]
    expected = torch.autograd.grad(memory.share * total / U, wanted)
    found = torch.autograd.grad(
        loss.terms["shrunk"], [nets.factor, *nets.networks["auxiliary"].parameters()], retain_graph=True
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    (by_logits,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    certain = (probs.max(-1).values >= 0.7).float()[:, None]
    slope = (certain * (strong.softmax(-1) - probs) * strong).sum(0) / U
    torch.testing.assert_close(by_logits, 0.7 * slope, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("teacher", ["ema", "concat"])
def test_shrinkmatch__alignment_to_labeled_predictions_sees_them(teacher: str) -> None:
    tested, case = method(teacher=teacher, alignment=Alignment(target="running", momentum=0.0)), Case()
    memory = tested.memory(SPEC)
    step(tested, case, memory=memory, nets=networks())
    torch.testing.assert_close(memory.balance.labeled, torch.from_numpy(case.labeled).softmax(-1).mean(0))


@given(st.integers(2, 12), st.integers(0, 1000), st.floats(0.3, 0.99))
def test_shrunk_classes__is_the_least_removal(num_classes: int, seed: int, threshold: float) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.full(num_classes, 0.7), 4)
    found = shrunk_classes(torch.from_numpy(probs).float(), threshold)
    for p, kept in zip(probs, found.numpy(), strict=True):
        left = paper.shrink(p, threshold) or [int(p.argmax())]
        assert np.flatnonzero(kept).tolist() == sorted(left)


def test_shrunk_classes__two_classes_leave_one() -> None:
    assert shrunk_classes(torch.tensor([[0.4, 0.6]]), 0.95).tolist() == [[False, True]]

"""SimMatch against its paper's equations on fixed logits and a fixed projection, over steps, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods import paper_embeddings as paper
from tests.methods.fixed import SPEC, B, Case, Fixed, K, U, step, terms
from understudy.functional.alignment import Alignment
from understudy.functional.banks import LabeledBank
from understudy.methods.simmatch import SimMatch

LABELS = np.arange(SPEC.num_labeled) % K


def case_of(seed: int) -> Case:
    """Labeled rows of which one comes twice, with the class that their id has in every step."""
    case = Case(seed)
    case.ids = np.random.default_rng(seed).integers(0, SPEC.num_labeled, B)
    case.ids[-1] = case.ids[0]
    case.labels = LABELS[case.ids]
    return case


def projection() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(K // 2, 3)


def project(nets: Fixed, rows: Any) -> Any:
    with torch.no_grad():
        return nets.networks["projection"](torch.from_numpy(rows[:, : K // 2])).numpy()


def method(**settings: Any) -> SimMatch:
    chosen = {"lambda_u": 0.7, "lambda_in": 0.4, "threshold": 0.4, "temperature": 0.3, "embedding_width": 3}
    alignment = Alignment(target="uniform", momentum=0.6)
    return SimMatch(**(chosen | {"alignment": alignment} | settings))


@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 0.3, "temperature": 1.0}, {"bank_momentum": 0.0}, {"threshold": 0.0}]
)
def test_simmatch__over_steps(teacher: str, scale: float, settings: dict[str, float]) -> None:
    tested = method(teacher=teacher, **settings)
    memory, nets = tested.memory(SPEC), Fixed(projection=projection())
    reference = paper.SimMatch(
        K, alpha=tested.alpha, temperature=tested.temperature, momentum=tested.bank_momentum, da=0.6
    )
    for seed in range(5):
        case = case_of(seed)
        loss, _ = step(tested, case, memory=memory, nets=nets)
        weak, labeled = np.float32(scale) * case.weak, np.float32(scale) * case.labeled
        unsupervised, instance = reference.losses(
            weak, case.strong, project(nets, weak), project(nets, case.strong), tested.threshold
        )
        expected = {"supervised": case.supervised(), "unsupervised": 0.7 * unsupervised, "instance": 0.4 * instance}
        assert terms(loss) == pytest.approx(expected, rel=1e-4)
        reference.remember(case.ids, project(nets, labeled), case.labels)
    known = sorted(reference.bank)
    assert memory.bank.known.nonzero().squeeze(1).tolist() == known
    assert memory.bank.labels[known].tolist() == [reference.bank[i][1] for i in known]
    stored = np.array([reference.bank[i][0] for i in known])
    np.testing.assert_allclose(memory.bank.embeddings[known].numpy(), stored, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("teacher", ["ema", "model", "concat"])
def test_simmatch__gradient_is_of_strong_views_alone(teacher: str) -> None:
    """With targets as constants: that of cross-entropy to p' for logits, and of the strong relations for embeddings."""
    tested, first, second = method(teacher=teacher), case_of(0), case_of(1)
    memory, nets = tested.memory(SPEC), Fixed(projection=projection())
    step(tested, first, memory=memory, nets=nets)
    bank = memory.bank.embeddings.clone(), memory.bank.known.clone(), memory.bank.labels.clone()
    loss, _ = step(tested, second, memory=memory, nets=nets)
    assert not any(buffer.requires_grad for buffer in memory.buffers())
    found = torch.autograd.grad(
        loss.terms["instance"], [nets.factor, *nets.networks["projection"].parameters()], retain_graph=True
    )
    reference = Fixed(projection=nets.networks["projection"])
    weak = torch.from_numpy(second.weak) * (1.5 if teacher == "model" else 1.0)
    strong = torch.from_numpy(second.strong) * reference.factor
    embedded = [nn.functional.normalize(reference.networks["projection"](x[:, : K // 2])) for x in (weak, strong)]
    q_weak, q_strong = ((z @ bank[0][bank[1]].T / tested.temperature).softmax(-1) for z in embedded)
    balance = memory.balance.unlabeled
    probs = nn.functional.normalize(weak.softmax(-1) / balance, p=1, dim=-1)
    target = nn.functional.normalize(q_weak * probs[:, bank[2][bank[1]]], p=1, dim=-1).detach()
    expected = torch.autograd.grad(
        -0.4 * (target * q_strong.log()).sum() / U,
        [reference.factor, *reference.networks["projection"].parameters()],
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    (by_logits,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    near = q_weak.detach() @ nn.functional.one_hot(bank[2][bank[1]], K).float()
    p_hat = tested.alpha * probs + (1 - tested.alpha) * near
    counts = (p_hat.max(-1).values >= tested.threshold).float()[:, None]
    x = torch.from_numpy(second.strong)
    slope = (counts * (x.softmax(-1) - p_hat) * x).sum(0) / U
    torch.testing.assert_close(by_logits, 0.7 * slope, rtol=1e-3, atol=1e-6)


def test_simmatch__labels_as_probabilities_count_as_their_largest() -> None:
    case = case_of(0)
    tested, nets = method(), Fixed(projection=projection())
    hard, soft = tested.memory(SPEC), tested.memory(SPEC)
    step(tested, case, memory=hard, nets=nets)
    case.labels = np.float32(0.1 + 0.5 * np.eye(K)[case.labels])
    step(tested, case, memory=soft, nets=nets)
    torch.testing.assert_close(soft.bank.labels, hard.bank.labels)


def test_update__rows_of_one_id_write_one_value() -> None:
    bank = LabeledBank(3, 2)
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    bank.update(torch.tensor([2, 2, 0]), z, torch.tensor([1, 1, 0]), 0.5)
    torch.testing.assert_close(bank.embeddings, torch.tensor([[0.0, -1.0], [0.0, 0.0], [0.5**0.5, 0.5**0.5]]))
    assert bank.known.tolist() == [True, False, True]

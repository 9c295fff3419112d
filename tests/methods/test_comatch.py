"""CoMatch against its paper's equations on fixed logits and a fixed projection, over steps, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.methods import paper_embeddings as paper
from tests.methods.fixed import SPEC, Case, Fixed, K, U, step, terms
from tests.methods.paper import one_hot
from understudy.functional.alignment import Alignment
from understudy.functional.banks import Queue
from understudy.functional.graphs import agreement_graph
from understudy.methods.comatch import CoMatch


def projection() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(K // 2, 3)


def project(nets: Fixed, rows: Any) -> Any:
    with torch.no_grad():
        return nets.networks["projection"](torch.from_numpy(rows[:, : K // 2])).numpy()


def method(**settings: Any) -> CoMatch:
    chosen = {"lambda_u": 0.7, "lambda_c": 0.4, "threshold": 0.4, "temperature": 0.3, "embedding_width": 3}
    chosen |= {"edge_threshold": 0.3, "queue_size": 40, "alignment": Alignment(target="uniform", momentum=0.6)}
    return CoMatch(**(chosen | settings))


@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 0.3}, {"queue_size": 7}, {"edge_threshold": 0.0, "temperature": 1.0}]
)
def test_comatch__over_steps(teacher: str, scale: float, settings: dict[str, Any]) -> None:
    tested = method(teacher=teacher, **settings)
    memory, nets = tested.memory(SPEC), Fixed(projection=projection())
    reference = paper.CoMatch(
        K,
        alpha=tested.alpha,
        temperature=tested.temperature,
        edge=tested.edge_threshold,
        size=tested.queue_size,
        da=0.6,
    )
    for seed in range(5):
        case = Case(seed)
        loss, _ = step(tested, case, memory=memory, nets=nets)
        weak, labeled = np.float32(scale) * case.weak, np.float32(scale) * case.labeled
        q, aligned = reference.pseudo_labels(weak, project(nets, weak))
        expected = {
            "supervised": case.supervised(),
            "unsupervised": 0.7 * paper.soft_consistency(q, case.strong, tested.threshold),
            "contrastive": 0.4 * reference.contrastive(q, project(nets, case.strong), project(nets, case.strong1)),
        }
        assert terms(loss) == pytest.approx(expected, rel=1e-4)
        reference.remember(project(nets, weak), aligned)
        reference.remember(project(nets, labeled), np.array([one_hot(label, K) for label in case.labels]))


@pytest.mark.parametrize("teacher", ["ema", "concat"])
def test_comatch__gradient_is_of_both_strong_views_alone(teacher: str) -> None:
    tested, first, second = method(teacher=teacher), Case(0), Case(1)
    memory, nets = tested.memory(SPEC), Fixed(projection=projection())
    step(tested, first, memory=memory, nets=nets)
    queue = memory.queue.embeddings[memory.queue.known].clone(), memory.queue.probs[memory.queue.known].clone()
    loss, _ = step(tested, second, memory=memory, nets=nets)
    assert not any(buffer.requires_grad for buffer in memory.buffers())

    reference = Fixed(projection=nets.networks["projection"])

    def embed(x: Tensor) -> Tensor:
        return nn.functional.normalize(reference.networks["projection"](x[:, : K // 2]))

    weak = torch.from_numpy(second.weak)
    probs = nn.functional.normalize(weak.softmax(-1) / memory.balance.unlabeled, p=1, dim=-1)
    near = (embed(weak).detach() @ queue[0].T / tested.temperature).softmax(-1) @ queue[1]
    q = tested.alpha * probs + (1 - tested.alpha) * near
    ties = q @ q.T
    ties = torch.where(torch.eye(U) > 0, 1.0, ties * (ties >= tested.edge_threshold))
    ties = ties / ties.sum(-1, keepdim=True)
    z, other = (embed(torch.from_numpy(x) * reference.factor) for x in (second.strong, second.strong1))
    contrast = -(ties * (z @ other.T / tested.temperature).log_softmax(-1)).sum() / U
    wanted = [reference.factor, *reference.networks["projection"].parameters()]
    expected = torch.autograd.grad(0.4 * contrast, wanted)
    found = torch.autograd.grad(
        loss.terms["contrastive"], [nets.factor, *nets.networks["projection"].parameters()], retain_graph=True
    )
    for one, the_other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, the_other, rtol=1e-3, atol=1e-5)
    (by_logits,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    x = torch.from_numpy(second.strong)
    counts = (q.max(-1).values >= tested.threshold).float()[:, None]
    torch.testing.assert_close(by_logits, 0.7 * (counts * (x.softmax(-1) - q) * x).sum(0) / U, rtol=1e-3, atol=1e-6)


def test_agreement_graph__all_uncertain_leaves_each_row_alone() -> None:
    probs = torch.full((3, 4), 0.25)
    torch.testing.assert_close(agreement_graph(probs, probs, torch.eye(3), 0.8), torch.eye(3))


@pytest.mark.parametrize(
    ("size", "pushed", "kept"), [(5, [3], [0, 1, 2]), (5, [3, 4], [2, 3, 4, 5, 6]), (2, [5], [3, 4])]
)
def test_push__keeps_the_last_rows(size: int, pushed: list[int], kept: list[int]) -> None:
    queue, numbers = Queue(size, 2, 1), torch.arange(10.0)
    for start, count in zip(np.cumsum([0, *pushed[:-1]]), pushed, strict=True):
        rows = numbers[start : start + count, None]
        queue.push(torch.cat([rows, torch.ones_like(rows)], 1), rows)
    assert sorted(queue.probs[queue.known, 0].tolist()) == kept
    stored = queue.probs[queue.known]
    direction = nn.functional.normalize(torch.cat([stored, torch.ones_like(stored)], 1))
    torch.testing.assert_close(queue.embeddings[queue.known], direction)


@pytest.mark.parametrize("teacher", ["ema", "concat"])
def test_comatch__alignment_to_labeled_predictions_sees_them(teacher: str) -> None:
    tested, case = method(teacher=teacher, alignment=Alignment(target="running", momentum=0.0)), Case()
    memory = tested.memory(SPEC)
    step(tested, case, memory=memory, nets=Fixed(projection=projection()))
    mean = torch.from_numpy(case.labeled).softmax(-1).mean(0)
    torch.testing.assert_close(memory.balance.labeled, mean)

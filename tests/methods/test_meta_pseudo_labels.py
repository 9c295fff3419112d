"""Meta Pseudo Labels against its paper's algorithm: both losses, the gain between them, and where gradients go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.contract.tiny import fresh_state, network, stage
from tests.methods import paper
from tests.methods.fixed import SPEC, Case, Fixed, K, U, terms
from understudy.core.seeding import generator
from understudy.core.types import Loss, Step
from understudy.methods.meta_pseudo_labels import MetaPseudoLabels

Rows = NDArray[Any]
TEACHER = 0.7


class Scale(nn.Module):
    """A network whose logits are its input times a factor that takes the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((K,), TEACHER))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Pair(Fixed):
    """A teacher that scales its input, and a student whose predictions are scaled by `student`, which a step moves."""

    def __init__(self) -> None:
        super().__init__(teacher=Scale())
        self.student = 1.0

    def predict(self, x: Tensor, *, by: str = "ema") -> Tensor:
        self.asked.append(f"predict {by}")
        return x * {"model": self.student, "teacher": TEACHER}[by]


def both(method: MetaPseudoLabels, case: Case, memory: Any, *, after: float, progress: float = 0.5) -> Any:
    """The losses of the student, which its step then scales, and of the teacher; and the networks."""
    nets: Any = Pair()
    batch, step = case.batch(), Step(7, progress)
    student = method.loss(nets, batch, memory, step)
    nets.student = after
    return student, method.teacher_loss(nets, batch, memory, step), nets


def sampled(weak: Rows) -> list[int]:
    """A class of each row by inverting its cumulative distribution at the step's draws."""
    draws = generator("pseudo-labels").random(len(weak), dtype="float32")
    return [
        int(np.searchsorted(np.cumsum(p), u, side="right")) for p, u in zip(paper.softmax(weak), draws, strict=True)
    ]


def hard(logits: Rows, labels: list[int]) -> float:
    """mean_u H(y_u, p_u) for classes."""
    rows = zip(logits, labels, strict=True)
    return sum(paper.cross_entropy(paper.one_hot(label, K), z) for z, label in rows) / len(logits)


def uda(weak: Rows, strong: Rows, threshold: float, temperature: float) -> float:
    """mean_u 1(max q >= tau) H(q, p(strong)), q being the sharpened prediction."""
    total = 0.0
    for q, z in zip(paper.softmax(weak / temperature), strong, strict=True):
        if q.max() >= threshold:
            total += paper.cross_entropy(q, z)
    return total / len(weak)


def supervised(case: Case, scale: float) -> float:
    return paper.supervised(scale * case.labeled, case.labels, case.weight)


@pytest.mark.parametrize("labels", ["sample", "argmax"])
def test_losses__over_steps(labels: str) -> None:
    method = MetaPseudoLabels(
        labels=labels, lambda_u=0.3, threshold=0.6, temperature=0.5, baseline_decay=0.8, ramp_up_end=0.8
    )
    memory, baseline = method.memory(SPEC), 0.0
    for seed, after in enumerate((1.3, 0.6, 1.1, 0.9)):
        case = Case(seed)
        student, teacher, _ = both(method, case, memory, after=after)
        strong = TEACHER * case.strong
        given = sampled(strong) if labels == "sample" else [int(z.argmax()) for z in strong]
        assert terms(student) == pytest.approx({"unsupervised": hard(case.strong, given)}, rel=1e-5)
        gain = supervised(case, 1.0) - supervised(case, after)  # before the student's step, less after it
        baseline = 0.8 * baseline + 0.2 * gain
        expected = {
            "teacher_supervised": supervised(case, TEACHER),
            "teacher_consistency": 0.3 * (0.5 / 0.8) * uda(TEACHER * case.weak, strong, 0.6, 0.5),
            "teacher_feedback": (gain - baseline) * hard(strong, given),
        }
        assert terms(teacher) == pytest.approx(expected, rel=1e-4)
        assert student.pseudo_labels is not None
        assert student.pseudo_labels.labels.tolist() == given
        assert teacher.metrics["student_gain"].item() == pytest.approx(gain, rel=1e-4)
    assert memory.baseline.item() == pytest.approx(baseline, rel=1e-4)


def test_teacher_loss__a_gain_makes_its_labels_likelier() -> None:
    """The feedback's gradient is (h - h~) times that of cross-entropy to constant classes, p - y on every row."""
    method, case = MetaPseudoLabels(baseline_decay=0.8), Case(3)
    _, teacher, nets = both(method, case, method.memory(SPEC), after=1.1)
    (found,) = torch.autograd.grad(teacher.terms["teacher_feedback"], list(nets.networks["teacher"].parameters()))
    strong = TEACHER * case.strong
    gain = supervised(case, 1.0) - supervised(case, 1.1)
    expected = np.zeros(K)
    for label, p, x in zip(sampled(strong), paper.softmax(strong), case.strong, strict=True):
        expected += 0.8 * gain * (p - paper.one_hot(label, K)) * x / U
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)
    assert not any(value.requires_grad for value in teacher.metrics.values())


def test_teacher_loss__no_gradient_through_its_targets() -> None:
    method, case = MetaPseudoLabels(threshold=0.0, ramp_up_end=0.0), Case(1)
    _, teacher, nets = both(method, case, method.memory(SPEC), after=1.1)
    (found,) = torch.autograd.grad(teacher.terms["teacher_consistency"], list(nets.networks["teacher"].parameters()))
    targets, predicted = paper.softmax(TEACHER * case.weak / 0.7), paper.softmax(TEACHER * case.strong)
    np.testing.assert_allclose(found, ((predicted - targets) * case.strong).sum(0) / U, rtol=1e-3, atol=1e-6)


def test_loss__trains_the_student_on_constant_classes() -> None:
    method, case = MetaPseudoLabels(), Case(2)
    student, _, nets = both(method, case, method.memory(SPEC), after=1.1)
    (found,) = torch.autograd.grad(student.total, nets.factor)
    labels = np.array([paper.one_hot(label, K) for label in sampled(TEACHER * case.strong)])
    np.testing.assert_allclose(found, ((paper.softmax(case.strong) - labels) * case.strong).sum(0) / U, rtol=1e-3)
    assert nets.asked[:3] == ["predict teacher", "logits", "predict model"]


@pytest.mark.parametrize(("progress", "ends"), [(0.7, False), (0.71, True), (1.0, True)])
def test_losses__end_with_labeled_images_alone(progress: float, ends: bool) -> None:
    method, case = MetaPseudoLabels(finetune=0.3), Case()
    case.labeled1 = 0.5 * case.labeled  # the teacher's own augmentation
    student, teacher, _ = both(method, case, method.memory(SPEC), after=1.1, progress=progress)
    assert (set(terms(student)), set(terms(teacher))) == (
        ({"supervised"}, {"teacher_supervised"})
        if ends
        else ({"unsupervised"}, {"teacher_supervised", "teacher_consistency", "teacher_feedback"})
    )
    if ends:
        assert student.total.item() == pytest.approx(supervised(case, 1.0), rel=1e-5)
        assert teacher.total.item() == pytest.approx(supervised(case, 0.5 * TEACHER), rel=1e-5)


def test_first_phase__trains_both_networks_apart() -> None:
    case = Case()
    case.labeled1 = 0.5 * case.labeled
    nets: Any = Pair()
    found: list[Loss] = [
        objective.loss(nets, case.batch(), None, Step(0, 0.0)) for objective in MetaPseudoLabels().first_phase()
    ]
    assert [objective.trains for objective in MetaPseudoLabels().first_phase()] == [("model",), ("teacher",)]
    assert [loss.total.item() for loss in found] == pytest.approx(
        [supervised(case, 1.0), supervised(case, 0.5 * TEACHER)], rel=1e-5
    )


def test_gain__is_that_of_the_step_alone() -> None:
    """With batch norm, whose statistics every training forward moves, a step of length zero gains exactly nothing."""
    state = fresh_state(stage(MetaPseudoLabels(), net=network(norm=True)))
    state.set_rates(0.5)
    for rate, moves in ((0.0, False), (0.1, True)):
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        step = Step(9, 0.5)
        batch = state.stream.batch(step, with_unlabeled=True)
        for index, objective in enumerate(state.objectives):
            loss = objective.loss(state.nets, batch, state.memory, step)
            state.update(index, loss)
        assert (loss.metrics["student_gain"].item() != 0.0) == moves


def test_label__follows_the_probabilities() -> None:
    case = Case()
    probs = torch.tensor([[0.2, 0.5, 0.3]]).expand(20_000, 3)
    drawn = MetaPseudoLabels().label(probs, case.batch())
    np.testing.assert_allclose(np.bincount(drawn.numpy()) / len(drawn), [0.2, 0.5, 0.3], atol=0.01)

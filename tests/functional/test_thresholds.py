"""Moving thresholds against their definitions and at their edges."""

from __future__ import annotations

import math

import pytest
import torch

from understudy.functional.fairness import class_fairness
from understudy.functional.thresholds import (
    ANNEALINGS,
    MAPPINGS,
    annealed,
    curriculum,
    flags_per_class,
    learning_status,
    newest_labels,
    self_adaptive,
)


def test_newest_labels__the_last_counting_row_of_an_image_wins() -> None:
    flags = torch.tensor([4, -1, -1, 2])
    ids, labels = torch.tensor([1, 0, 1, 1, 3, 2]), torch.tensor([3, 1, 2, 0, 1, 4])
    counts = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    assert newest_labels(flags, ids, labels, counts).tolist() == [4, 2, -1, 1]
    assert flags.tolist() == [4, -1, -1, 2]


def test_flags_per_class__those_without_come_first() -> None:
    assert flags_per_class(torch.tensor([2, -1, 0, 2, -1, -1]), 4).tolist() == [3, 1, 0, 2, 0]


def test_learning_status__images_without_a_flag_hold_it_down_in_warm_up() -> None:
    counts = torch.tensor([8, 4, 2, 0])
    assert learning_status(counts, warm_up=True).tolist() == [0.5, 0.25, 0.0]
    assert learning_status(counts, warm_up=False).tolist() == [1.0, 0.5, 0.0]
    for warm_up in (True, False):
        assert learning_status(torch.tensor([5, 0, 0]), warm_up=warm_up).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_curriculum__rises_from_zero_to_one(mapping: str) -> None:
    mapped = curriculum(torch.linspace(0, 1, 11), mapping)
    assert (mapped.diff() > 0).all()
    assert mapped[[0, -1]].tolist() == pytest.approx([0.0, 1.0])
    assert mapped[5].item() == pytest.approx({"convex": 1 / 3, "linear": 0.5, "concave": math.log2(1.5)}[mapping])


def test_self_adaptive__the_most_frequent_class_has_the_level_itself() -> None:
    assert self_adaptive(torch.tensor(0.8), torch.tensor([0.5, 0.25, 0.25])).tolist() == pytest.approx([0.8, 0.4, 0.4])


@pytest.mark.parametrize("schedule", ANNEALINGS)
def test_annealed__rises_to_one(schedule: str) -> None:
    eta = [annealed(progress / 10, schedule, 4) for progress in range(11)]
    assert eta == sorted(eta)
    assert eta[0] >= 0.25
    assert eta[-1] == pytest.approx(1.0, abs=0.01)


def test_class_fairness__no_row_counts() -> None:
    probs = torch.randn(5, 3).softmax(-1).requires_grad_()
    third = torch.full((3,), 1 / 3)
    for loss in (
        class_fairness(probs, torch.zeros(5), third, third),
        class_fairness(probs[:0], torch.zeros(0), third, third),
    ):
        assert loss == 0
        (gradient,) = torch.autograd.grad(loss, probs)
        assert (gradient == 0).all()


def test_class_fairness__one_predicted_class_and_classes_never_seen_are_finite() -> None:
    probs = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]], requires_grad=True)
    balance, histogram = torch.tensor([0.9, 0.1, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    loss = class_fairness(probs, torch.ones(2), balance, histogram)
    (gradient,) = torch.autograd.grad(loss, probs)
    assert loss.isfinite()
    assert gradient.isfinite().all()

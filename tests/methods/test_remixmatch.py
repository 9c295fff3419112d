"""ReMixMatch's loss against its paper's equations over several steps, its gradient, and what it asks networks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods import paper_mixing as paper
from tests.methods.fixed import SPEC, B, K, U, step, terms
from tests.methods.paper_mixing import FixedOnImages, Pictures
from understudy.functional.alignment import Alignment
from understudy.methods.remixmatch import ReMixMatch

WEIGHTS = {"supervised": 1.0, "unsupervised": 0.7, "unmixed": 1.3, "rotation": 0.4}


def pair(num_views: int = 2, mix: str = "mixup", teacher: str = "ema", **settings: Any) -> tuple[Any, paper.ReMixMatch]:
    """The method, and its transcription with the same settings."""
    settings = {"temperature": 0.5, "alpha": 0.6, "num_views": num_views, "mix": mix} | settings
    method = ReMixMatch(
        **settings,
        teacher=teacher,
        lambda_u=WEIGHTS["unsupervised"],
        lambda_u1=WEIGHTS["unmixed"],
        lambda_r=WEIGHTS["rotation"],
        ramp_up_end=0.8,
        alignment=Alignment(target="labeled", momentum=0.3),
    )
    return method, paper.ReMixMatch(**settings, momentum=0.3, scale=1.0 if teacher == "ema" else 1.5)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.parametrize("teacher", ["ema", "model"])
@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("num_views", [1, 3])
def test_remixmatch__over_steps(mix: str, teacher: str, temperature: float, num_views: int) -> None:
    method, reference = pair(num_views, mix, teacher, temperature=temperature)
    memory, ramp = method.memory(SPEC), 0.5 / 0.8
    for seed in range(3):
        loss, nets = step(method, Pictures(seed), memory=memory, nets=FixedOnImages())
        expected = reference.loss(Pictures(seed))
        expected = {name: WEIGHTS[name] * value for name, value in expected.items()}
        expected["unsupervised"] *= ramp
        expected["unmixed"] *= ramp
        assert terms(loss) == pytest.approx(expected, rel=1e-4)
        assert nets.asked == [f"{teacher} in training", "logits", "still", "logits", "moving", "rotation"]
    np.testing.assert_allclose(memory.balance.unlabeled.numpy(), reference.balance, rtol=1e-4)


def test_remixmatch__gradient_flows_through_trained_views_alone() -> None:
    """Finite differences of the equations, in which guesses are constants."""
    method, _ = pair()
    loss, nets = step(method, Pictures(), nets=FixedOnImages(), progress=0.9)
    for name, weight in WEIGHTS.items():
        (found,) = torch.autograd.grad(loss.terms[name], nets.factor, retain_graph=True)
        for number in range(K):
            nudge = 1e-5 * np.eye(K)[number]
            up, down = (pair()[1].loss(Pictures(), factor=1 + sign * nudge)[name] for sign in (1, -1))
            assert found[number].item() == pytest.approx(weight * (up - down) / 2e-5, rel=1e-3, abs=1e-4)
    assert loss.pseudo_labels is not None
    assert loss.pseudo_labels.weight.tolist() == [1.0] * U
    assert not any(value.requires_grad for value in loss.metrics.values())


def test_remixmatch__ramp_spares_the_labeled_and_the_rotation_term() -> None:
    method, _ = pair()
    start = terms(step(method, Pictures(), nets=FixedOnImages(), progress=0.0)[0])
    assert start["unsupervised"] == start["unmixed"] == 0
    assert start["supervised"] > 0
    assert start["rotation"] > 0


def test_remixmatch__networks() -> None:
    nets = ReMixMatch().networks(nn.Linear(7, K), SPEC)
    head: Any = nets.get_submodule("rotation")
    assert (head.in_features, head.out_features) == (SPEC.feature_width, 4)
    assert [objective.trains for objective in ReMixMatch().objectives()] == [("model", "rotation")]
    assert ReMixMatch(mu=3).unlabeled_batch_size(B) == 3 * B

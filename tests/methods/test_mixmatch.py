"""MixMatch's loss against its paper's equations, its gradient, and what it asks networks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.methods import paper_mixing as paper
from tests.methods.fixed import SPEC, B, K, U, step, terms
from tests.methods.paper_mixing import FixedOnImages, Pictures
from understudy.core.errors import ConfigError
from understudy.core.types import Step
from understudy.functional.criteria import CrossEntropy
from understudy.methods.mixmatch import MixMatch


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5)])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_views", [1, 2, 3])
def test_mixmatch(mix: str, teacher: str, scale: float, temperature: float, num_views: int) -> None:
    settings: dict[str, Any] = {"num_views": num_views, "temperature": temperature, "alpha": 0.6, "mix": mix}
    method = MixMatch(**settings, teacher=teacher, lambda_u=7.0, ramp_up_end=0.8)
    memory = method.memory(replace(SPEC, shape=(1, paper.SIDE, paper.SIDE)))
    loss, nets = step(method, Pictures(), memory=memory, nets=FixedOnImages())
    labeled, unlabeled = paper.mixmatch(Pictures(), **settings, scale=scale)
    assert terms(loss) == pytest.approx({"supervised": labeled, "unsupervised": 7 * 0.5 / 0.8 * unlabeled}, rel=1e-4)
    assert nets.asked == [f"{teacher} in training", "logits"], "all mixed rows must share one training forward"
    assert loss.metrics["mask_ratio"].item() == 1


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (1.0, 1.0)])
def test_mixmatch__ramp(progress: float, share: float) -> None:
    found = [
        terms(step(MixMatch(ramp_up_end=end), Pictures(), progress=progress, nets=FixedOnImages())[0])
        for end in (0.0, 0.4)
    ]
    assert found[1]["supervised"] == found[0]["supervised"]
    assert found[1]["unsupervised"] == pytest.approx(share * found[0]["unsupervised"], rel=1e-5)


def test_mixmatch__gradient_flows_through_the_mixed_rows_alone() -> None:
    """Finite differences of the equations, in which guesses are constants."""
    settings: dict[str, Any] = {"num_views": 2, "temperature": 0.5, "alpha": 0.75, "mix": "mixup"}
    loss, nets = step(
        MixMatch(**settings, teacher="ema", lambda_u=1.0, ramp_up_end=0.0), Pictures(), nets=FixedOnImages()
    )
    for index, name in enumerate(("supervised", "unsupervised")):
        (found,) = torch.autograd.grad(loss.terms[name], nets.factor, retain_graph=True)
        for number in range(K):
            nudge = 1e-5 * np.eye(K)[number]
            up, down = (
                paper.mixmatch(Pictures(), **settings, scale=1.0, factor=1 + sign * nudge)[index] for sign in (1, -1)
            )
            assert found[number].item() == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-5)
    given = loss.pseudo_labels
    assert given is not None
    assert given.weight.tolist() == [1.0] * U
    assert not any(value.requires_grad for value in loss.metrics.values())


def test_mixmatch__labeled_rows_obey_the_criterion_and_soft_targets() -> None:
    """With nothing mixed, the labeled term is the criterion of the labeled rows, be they classes or probabilities."""
    method = MixMatch(alpha=0.0, criterion=CrossEntropy(label_smoothing=0.3, class_weights="inverse"))
    batch, nets = Pictures().batch(), FixedOnImages()
    sharp: Any = nets
    expected = method.labeled_term(sharp.logits(batch.labeled.view())[0], batch)
    soft = torch.nn.functional.one_hot(batch.labeled.targets, K).float()
    for targets in (batch.labeled.targets, soft):
        one = replace(batch, labeled=replace(batch.labeled, targets=targets))
        loss = method.loss(sharp, one, method.memory(SPEC), Step(7, 0.5))
        torch.testing.assert_close(loss.terms["supervised"], expected)


def test_mixmatch__vectors_can_be_mixed_and_not_cut() -> None:
    assert list(MixMatch().memory(SPEC).parameters()) == []
    with pytest.raises(ConfigError) as caught:
        MixMatch(mix="cutmix").memory(SPEC)
    assert str(caught.value) == (
        f"mixmatch.mix is 'cutmix', which pastes parts of images, and these rows of shape ({K},) are not "
        "images; choose mixup"
    )


def test_mixmatch__batch_size() -> None:
    assert MixMatch(mu=3).unlabeled_batch_size(B) == 3 * B

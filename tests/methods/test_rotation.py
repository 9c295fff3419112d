"""Rotation's loss against its paper's equations, and its gradient."""

from __future__ import annotations

import pytest
from torch import nn

from tests.methods import paper_pretext as paper
from tests.methods.fixed import SPEC, Case, step
from tests.methods.paper import Rows
from tests.methods.paper_mixing import Pictures
from understudy.methods.rotation import Rotation


def expected(case: Case, factor: Rows | float = 1.0) -> float:
    return paper.rotation(case.weak, lambda image: paper.projected(image, 4, factor, images=True))


def test_rotation__equations() -> None:
    for seed in range(3):
        loss, nets = step(Rotation(), Pictures(seed), nets=paper.nets_with(4, images=True))
        assert loss.total.item() == pytest.approx(expected(Pictures(seed)), rel=1e-4)
        assert nets.asked == ["logits", "projection"]


def test_rotation__gradient() -> None:
    loss, nets = step(Rotation(), Pictures(), nets=paper.nets_with(4, images=True))
    paper.check_gradient(loss.total, nets, lambda factor: expected(Pictures(), factor))
    assert 0 <= loss.metrics["rotation_accuracy"].item() <= 1


def test_rotation__networks() -> None:
    layer = Rotation().networks(nn.Linear(7, 5), SPEC).get_submodule("projection")
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features) == (SPEC.feature_width, 4)

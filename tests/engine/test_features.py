"""Networks without features: methods that use features are refused before training, all others train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contract.tiny import same_execution, stage, unchecked_shapes
from tests.recipes.pretrain_victim import small_stage
from understudy.core.errors import UserError
from understudy.engine.fit import fit
from understudy.methods.base import METHODS, Method
from understudy.methods.comatch import CoMatch
from understudy.methods.simclr import SimCLR
from understudy.recipes.pretrain import Pretrain


class Templates(nn.Module):
    """A classifier of 8x8 images with neither a linear layer nor a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.templates = nn.Parameter(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x.flatten(1) @ self.templates
        return out


class Squeezed(nn.Sequential):
    """A classifier whose logits come from a convolution, as in SqueezeNet."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("kind", [METHODS.get(name) for name in METHODS.names()], ids=METHODS.names())
def test_stage__refuses_exactly_the_methods_that_use_features(kind: type[Method[Any]]) -> None:
    if kind.needs_features:
        with pytest.raises(UserError, match=f"^method {kind.name} needs features, and Templates has no layer whose"):
            stage(kind(), steps=2, net=Templates())
        return
    with same_execution(), unchecked_shapes():
        assert fit(stage(kind(), steps=2, net=Templates())).steps == 2


def test_stage__features_of_a_last_convolution_serve() -> None:
    with same_execution(), unchecked_shapes():
        assert fit(stage(CoMatch(), steps=2, net=Squeezed())).steps == 2


def test_stage__sentence_about_missing_features() -> None:
    with pytest.raises(UserError) as caught:
        stage(SimCLR(), net=Templates())
    assert str(caught.value) == (
        "method simclr needs features, and Templates has no layer whose input could be its features; let its logits "
        "come from an nn.Linear on one vector per row, defined after all other linear layers, or choose another method"
    )


def test_pretrain__a_head_to_replace_is_checked_first() -> None:
    training = small_stage()
    training = type(training)(**{**vars(training), "network": Squeezed()})
    with pytest.raises(UserError, match=r"Squeezed has no nn\.Linear whose input could be its features"):
        Pretrain().check(training)

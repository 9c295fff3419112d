"""Networks seen through another head: whose logits a loss gets, and how often the classifier runs for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.models import build
from understudy.models.nets import Networks
from understudy.models.second_head import SecondHead

SHAPE, CLASSES = (6,), 3


@pytest.fixture
def nets() -> Networks:
    torch.manual_seed(0)
    classifier = build("mlp", shape=SHAPE, num_classes=CLASSES)
    found = Networks(model=classifier, teacher=build("mlp", shape=SHAPE, num_classes=CLASSES))
    with torch.no_grad():
        for parameter in found.ema.parameters():
            parameter.mul_(1.1)
    found.add_module("other", nn.Linear(found.predict_with_features(rows(2), by="model")[1].shape[1], CLASSES))
    return found


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def counted(nets: Networks) -> list[int]:
    """The rows of each forward of the classifier, from now on."""
    sizes: list[int] = []
    for name in ("model", "ema"):
        nets.get_submodule(name).register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    return sizes


def test_logits__are_the_other_heads(nets: Networks) -> None:
    a, b, other = rows(4), rows(3, 1), nets.get_submodule("other")
    plain = nets.logits_and_features(a, b)
    for found in (SecondHead(nets, "other").logits(a, b), SecondHead(nets, "other").through("model", a, b)):
        for logits, (own, features) in zip(found, plain, strict=True):
            torch.testing.assert_close(logits, other(features))
            assert not torch.allclose(logits, own)


def test_own_logits__take_a_forward_only_for_views_not_run(nets: Networks) -> None:
    a, b, c = rows(4), rows(3, 1), rows(2, 2)
    expected = (*nets.logits(a, b), *nets.logits(c))
    sizes, heads = counted(nets), SecondHead(nets, "other")
    heads.logits(a, b)
    for own, plain in zip(heads.own_logits(a, b), expected, strict=False):
        torch.testing.assert_close(own, plain)
    assert sizes == [7]
    torch.testing.assert_close(heads.own_logits(c, a), (expected[2], expected[0]))
    assert sizes == [7, 2]


def test_predict__runs_a_network_once_per_view(nets: Networks) -> None:
    a, other = rows(4), nets.get_submodule("other")
    plain: Any = {by: nets.predict_with_features(a, by=by) for by in ("ema", "model")}
    sizes, heads = counted(nets), SecondHead(nets, "other")
    for by, (own, features) in plain.items():
        torch.testing.assert_close(heads.own_predict(a, by=by), own)
        torch.testing.assert_close(heads.predict(a, by=by), other(features))
        torch.testing.assert_close(heads.predict_with_features(a, by=by)[1], features)
        assert not heads.predict(a, by=by).requires_grad
    assert sizes == [4, 4]
    heads.predict(a.clone())
    assert sizes == [4, 4, 4]


def test_other_networks__are_those_of_the_run(nets: Networks) -> None:
    a, heads = rows(4), SecondHead(nets, "other")
    torch.testing.assert_close(heads.through("teacher", a), nets.through("teacher", a))
    torch.testing.assert_close(heads.predict(a, by="teacher"), nets.predict(a, by="teacher"))
    torch.testing.assert_close(
        heads.predict_with_features(a, by="teacher"), nets.predict_with_features(a, by="teacher")
    )
    assert heads.execution is nets.execution
    with heads.still_statistics():
        heads.logits(a)

"""Batch-norm statistics stay, move and are evaluated exactly when they should be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from understudy.models import build, evaluation_check, frozen_statistics, recompute_statistics


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 3))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_frozen_statistics__buffers_stay_bit_equal_and_gradients_flow() -> None:
    net, x = network(), torch.randn(16, 3)
    before = snapshot(net)
    with frozen_statistics(net):
        net(x).sum().backward()
    assert same(net, before)
    assert net[0].weight.grad.any()
    net(x)
    assert not same(net, before)


def test_frozen_statistics__stay_even_when_the_batch_is_not_finite() -> None:
    net = network()
    before = snapshot(net)
    with frozen_statistics(net):
        net(torch.full((4, 3), float("nan")))
    assert same(net, before)


def test_frozen_statistics__output_is_that_of_train_mode() -> None:
    net, x = network(), torch.randn(16, 3)
    net[2].eval()
    with frozen_statistics(net):
        frozen = net(x)
    assert torch.equal(frozen, net(x))


def test_frozen_statistics__evaluation_mode_still_uses_the_running_ones() -> None:
    net, x = network(), torch.randn(16, 3)
    net(x)
    net.eval()
    with frozen_statistics(net):
        inside = net(x)
    assert torch.equal(inside, net(x))


def test_frozen_statistics__ends_when_the_forward_fails_and_nests() -> None:
    net = network()
    with pytest.raises(RuntimeError), frozen_statistics(net):
        net(torch.randn(4, 9))
    with frozen_statistics(net), frozen_statistics(net):
        pass
    assert net[1].track_running_stats


def test_recompute_statistics__are_the_mean_over_the_batches() -> None:
    net, batches = network(), [torch.randn(16, 3) for _ in range(3)]
    net[3].eval()
    net(batches[0])
    recompute_statistics(net, iter(batches))
    entering = [net[0](x) for x in batches]
    torch.testing.assert_close(net[1].running_mean, torch.stack([h.mean(0) for h in entering]).mean(0))
    torch.testing.assert_close(net[1].running_var, torch.stack([h.var(0) for h in entering]).mean(0))
    assert net[1].momentum == 0.1
    assert [net.training, net[1].training, net[2].training, net[3].training] == [True, True, True, False]


def test_recompute_statistics__no_batches_change_nothing() -> None:
    net = network()
    net(torch.randn(16, 3))
    before = snapshot(net)
    recompute_statistics(net, [])
    assert same(net, before)


def test_evaluation_check__fails_on_stale_statistics_and_passes_once_recomputed() -> None:
    torch.manual_seed(0)
    net = build("resnet_small", shape=(1, 8, 8), num_classes=3)
    x = torch.rand(30, 1, 8, 8) + torch.arange(3).repeat(10).view(-1, 1, 1, 1)
    targets = torch.arange(3).repeat(10)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        with frozen_statistics(net):
            nn.functional.cross_entropy(net(x), targets).backward()
        optimizer.step()
    before = snapshot(net)
    assert not evaluation_check(net, x, targets)
    assert same(net, before)
    assert net.training
    recompute_statistics(net, [x])
    assert evaluation_check(net, x, targets)
    assert evaluation_check(net, x, nn.functional.one_hot(targets, 3).float())


def test_evaluation_check__fails_on_statistics_that_are_not_finite() -> None:
    net = network()
    net[1].running_var.fill_(float("nan"))
    assert not evaluation_check(net, torch.randn(8, 3), torch.zeros(8, dtype=torch.long))

"""The optimizers do what their papers say, and the rate follows its curve."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from tests.contract.tiny import network
from understudy.engine.optim import SGD, AdamW, Muon, Optimizer, layer_scales, learning_rate_factor, orthogonalized


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (64, 3, 3, 3), (16, 16, 1, 1), (40, 40)])
def test_orthogonalized__singular_values_near_one(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape) * 7
    (result,) = orthogonalized([tensor])
    assert result.shape == tensor.shape
    values = torch.linalg.svdvals(result.flatten(1))
    assert values.min() > 0.3  # five iterations bring the largest first
    assert values.max() < 1.3
    assert values.median() > 0.65


def test_orthogonalized__keeps_the_singular_vectors() -> None:
    tensor = torch.randn(6, 20)
    left, _, right = torch.linalg.svd(tensor, full_matrices=False)
    between = left.T @ orthogonalized([tensor])[0] @ right.T
    assert torch.allclose(between, between.diag().diag(), atol=1e-4)


def test_orthogonalized__batches_of_one_shape_and_zeros() -> None:
    tensors = [torch.randn(8, 18), torch.randn(8, 3), torch.randn(8, 18), torch.zeros(8, 18)]
    together = orthogonalized(tensors)
    for tensor, result in zip(tensors, together, strict=True):
        torch.testing.assert_close(result, orthogonalized([tensor])[0], rtol=1e-4, atol=1e-5)
    assert not together[3].any()


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_learning_rate_factor__rises_then_falls_to_the_final_share(decay: str) -> None:
    curve = [learning_rate_factor(i / 100, warmup=0.2, decay=decay, final=0.1) for i in range(101)]
    assert curve[10] == pytest.approx(0.5)
    assert curve[20] == pytest.approx(1.0)
    assert curve[60] == pytest.approx(0.55)
    assert curve[100] == pytest.approx(0.1)
    assert all(a < b for a, b in itertools.pairwise(curve[2:21]))
    assert all(a > b for a, b in itertools.pairwise(curve[20:]))


def test_learning_rate_factor__constant_and_edges() -> None:
    assert [learning_rate_factor(p, warmup=0.0, decay="constant", final=0.0) for p in (0.0, 0.5, 1.0)] == [
        1.0,
        1.0,
        1.0,
    ]
    assert learning_rate_factor(0.0, warmup=0.5, decay="cosine", final=0.0) == 0.02
    assert learning_rate_factor(1.0, warmup=1.0, decay="cosine", final=0.0) == 1.0


def test_muon__matches_its_definition_on_one_filter() -> None:
    conv = nn.Conv2d(4, 8, 3, bias=False)
    start, gradients = conv.weight.detach().clone(), [torch.randn(8, 4, 3, 3) for _ in range(2)]
    optimizer = Muon(lr=0.1, momentum=0.5).build([conv])
    expected, buffer = start, torch.zeros_like(start)
    for gradient in gradients:
        conv.weight.grad = gradient.clone()
        optimizer.step()
        buffer = 0.5 * buffer + gradient
        update = orthogonalized([gradient + 0.5 * buffer])[0]
        expected = expected * (8**0.5 / expected.norm()) - 0.1 * update
    torch.testing.assert_close(conv.weight.detach(), expected)


def test_muon__other_parameters_follow_torch_sgd() -> None:
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    one = Muon(sgd_lr=0.1, sgd_momentum=0.9, weight_decay=0.01).build([ours])
    decay, plain = [theirs.weight], [theirs.bias]
    other = torch.optim.SGD(
        [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )
    for _ in range(3):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


@pytest.mark.parametrize("settings", [SGD(), AdamW(), Muon()], ids=lambda s: s.name)
def test_build__biases_and_norms_take_no_decay(settings: SGD | AdamW | Muon) -> None:
    net = network()
    optimizer = settings.build([net])
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] > 0 for p in g["params"]}
    everything = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in everything} == {id(p) for p in net.parameters()}
    assert len(everything) == len(list(net.parameters()))
    assert all(p.ndim > 1 for p in net.parameters() if id(p) in decayed)


def test_build__frozen_parameters_are_left_out() -> None:
    net = network()
    net[1].requires_grad_(False)
    optimizer = Muon().build([net])
    assert id(net[1].weight) not in {id(p) for group in optimizer.param_groups for p in group["params"]}


def test_layer_scales__fall_towards_the_input() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()), nn.Linear(2, 2))
    scales = layer_scales([net], 0.5)
    assert [[scales[id(p)] for p in part.parameters()] for part in net] == [[0.25] * 2, [0.5] * 2, [1.0] * 2]


@pytest.mark.parametrize("kind", [SGD, AdamW, Muon])
def test_build__layer_decay_slows_the_first_blocks_alone(kind: type[Optimizer]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before = copy.deepcopy(net.state_dict())
    moved = []
    for layer_decay in (1.0, 0.1):
        net.load_state_dict(before)
        optimizer = kind(layer_decay=layer_decay).build([net])
        net(torch.ones(2, 4, 3, 3)).square().sum().backward()
        optimizer.step()
        net.zero_grad()
        moved.append([float((net.state_dict()[name] - before[name]).abs().mean()) for name in ("0.bias", "2.bias")])
    assert moved[1][0] == pytest.approx(0.1 * moved[0][0], rel=1e-3)
    assert moved[1][1] == pytest.approx(moved[0][1], rel=1e-6)

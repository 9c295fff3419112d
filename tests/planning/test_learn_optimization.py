"""`learn_optimization`: rules for networks that were measured, a range test for the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.planning.small import CPU, plenty, sided, training, with_known
from understudy.core.budget import Budget
from understudy.planning.choice import PlanningBudget
from understudy.planning.learn_optimization import LearnedOptimization, learn_optimization


def own() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 2))


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = own(), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x * self.scale)
        return logits


def learned(network: nn.Module, name: str = "module:Sequential", **options: Any) -> LearnedOptimization:
    allowance = options.pop("allowance", plenty())
    return learn_optimization(
        training(with_known(sided(120), 60)),
        network,
        name,
        default_optimizer="adamw",
        default_batch_size=32,
        run=Budget(cpu_s=100),
        device=CPU,
        allowance=allowance,
        options=options,
    )


def test_learn_optimization__range_test_of_an_own_module() -> None:
    network = own()
    before = [parameter.clone() for parameter in network.parameters()]
    found = learned(network)
    assert found.lr is not None
    assert found.lr.how == "measured"
    assert 1e-4 <= found.lr.value <= 0.01, "at most ten times from the default"
    curve = found.figures["range_test"]
    assert len(curve) >= 10
    assert curve[-1][1] < curve[0][1] / 2, "the rates go high enough to learn"
    assert all(torch.equal(one, two) for one, two in zip(before, network.parameters(), strict=True))
    assert network.training


def test_learn_optimization__range_test_that_ends_while_the_loss_falls() -> None:
    """A test cut short by the clock has not seen the rate of the lowest loss, so its last rate is no guide."""

    class Clock(PlanningBudget):
        reads = 0

        def read(self) -> float:
            self.reads += 1
            return float(self.reads)

    allowance = Clock(Budget(wall_s=1000))
    allowance.whole_s = 350  # of which a tenth goes into the range test: 36 steps, up to a rate of 0.004
    found = learned(Scaled(30.0), allowance=allowance)  # inputs so large that the loss falls at small rates already
    assert found.lr is not None
    assert (found.lr.value, found.lr.how) == (1e-3, "measured")
    assert found.lr.reason == (
        "the default of adamw; the loss was still falling when the time of the range test was over, after 36 steps "
        "from 1e-05 to 0.004"
    )


def test_learn_optimization__a_larger_scale_wants_a_smaller_rate() -> None:
    """What the range test is for: inputs a hundred times as large blow up at rates that suited before."""

    small, large = (learned(Scaled(scale), optimizer={"name": "sgd"}).lr for scale in (1.0, 300.0))
    assert small is not None
    assert large is not None
    assert large.value < small.value / 2


def test_learn_optimization__no_rate_helps() -> None:
    """A network that cannot learn, since all of its inputs are lost on the way."""
    network = own()
    network.insert(2, nn.Dropout(1.0))
    found = learned(network, optimizer={"name": "sgd"})
    assert found.lr is not None
    assert "no rate lowered the loss" in found.lr.reason
    assert found.lr.value == 0.03


def test_learn_optimization__rules_for_networks_of_the_house() -> None:
    found = learned(own(), "resnet_small")
    assert found.lr is not None
    assert (found.lr.value, found.lr.how) == (1e-3, "rule")
    assert (found.batch_size.value, found.batch_size.how) == (32, "rule")
    assert "range_test" not in found.figures


def test_learn_optimization__no_clock_no_range_test() -> None:
    found = learned(own(), allowance=PlanningBudget(Budget(steps=10)))
    assert found.lr is not None
    assert found.lr.how == "rule"
    assert "no range test, since runs with a budget of steps" in found.lr.reason


def test_learn_optimization__what_was_asked_stays() -> None:
    found = learned(own(), optimizer={"name": "sgd", "lr": 0.5}, batch_size=7)
    assert [choice.value for choice in found.choices] == ["sgd", 0.5, 7]
    assert {choice.how for choice in found.choices} == {"asked"}

"""`learn_size` and `learn_architecture`: the most that the budget can train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.planning.small import CPU, plenty
from understudy.core.budget import Budget
from understudy.core.errors import UserError
from understudy.planning import learn_architecture as module
from understudy.planning.choice import PlanningBudget
from understudy.planning.learn_architecture import learn_architecture, learn_size
from understudy.planning.speeds import Speed

RUN = Budget(cpu_s=100)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[Any, float]:
    """Rows a second by network, and by size; what is not set is slow."""
    found: dict[Any, float] = {}

    def speed(_: nn.Module, name: str, shape: tuple[int, ...], *__: Any, batch_size: int, **___: Any) -> Speed:
        return Speed(name, shape[-1], batch_size, found.get((name, shape[-1]), found.get(name, 1.0)))

    monkeypatch.setattr(module, "training_speed", speed)
    return found


def test_learn_architecture__the_largest_that_gets_enough_views(rates: dict[Any, float]) -> None:
    needed = dict(module._NETWORKS["small"])
    rates |= {"resnet_small": 1e6, "resnet_medium": needed["resnet_medium"] / 100, "wrn_28_2": 1.0}
    learned = learn_architecture((3, 32, 32), 10, run=RUN, device=CPU, allowance=plenty())
    assert (learned.network.value, learned.network.how) == ("resnet_medium", "measured")
    assert learned.network.reason == (
        "in one run it can be shown 1.0 million views, less than the 20.0 million from which the larger wrn_28_2 is "
        "expected to be better"
    )
    assert [speed["network"] for speed in learned.figures["speeds"]] == ["resnet_small", "resnet_medium"]


def test_learn_architecture__just_short_of_enough(rates: dict[Any, float]) -> None:
    needed = dict(module._NETWORKS["small"])
    rates |= {"resnet_small": 1e6, "resnet_medium": needed["resnet_medium"] / 101}
    learned = learn_architecture((3, 32, 32), 10, run=RUN, device=CPU, allowance=plenty())
    assert learned.network.value == "resnet_small"


def test_learn_architecture__twice_the_time_twice_the_views(rates: dict[Any, float]) -> None:
    needed = dict(module._NETWORKS["small"])
    rates |= {"resnet_small": 1e6, "resnet_medium": needed["resnet_medium"] / 101}
    learned = learn_architecture((3, 32, 32), 10, run=Budget(cpu_s=200), device=CPU, allowance=plenty())
    assert learned.network.value == "resnet_medium"


@pytest.mark.parametrize(
    ("shape", "budget", "network", "why"),
    [
        ((3, 32, 32), Budget(steps=50), "resnet_small", "runs with a budget of steps must be reproducible"),
        ((3, 32, 32), Budget(cpu_s=5), "resnet_small", "a budget of 5 cpu-s is too short to plan in"),
        ((7,), Budget(steps=50), "mlp", "the rows are vectors"),
    ],
)
def test_learn_architecture__rules_where_nothing_may_be_measured(
    shape: tuple[int, ...], budget: Budget, network: str, why: str
) -> None:
    learned = learn_architecture(shape, 3, run=budget, device=CPU, allowance=PlanningBudget(budget))
    assert (learned.network.value, learned.network.how) == (network, "rule")
    assert why in learned.network.reason


def test_learn_architecture__measured_for_real() -> None:
    learned = learn_architecture((1, 8, 8), 3, run=RUN, device=CPU, allowance=PlanningBudget(Budget(cpu_s=50)))
    assert learned.network.how == "measured"
    assert all(speed["rows_per_s"] > 10 for speed in learned.figures["speeds"])
    assert learned.cost.cpu_s < 10


def test_learn_architecture__what_was_asked_stays() -> None:
    learned = learn_architecture((3, 32, 32), 10, run=RUN, device=CPU, options={"network": "resnet18"})
    assert (learned.network.value, learned.network.how) == ("resnet18", "asked")


def own(*last: nn.Module, classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.ReLU(), nn.Linear(5, classes), *last)


def test_learn_architecture__looks_at_an_own_module() -> None:
    network = own()
    before = [parameter.clone() for parameter in network.parameters()]
    learned = learn_architecture((3, 8, 8), 4, run=RUN, device=CPU, module=network)
    assert (learned.network.value, learned.network.how) == ("Sequential", "asked")
    total = sum(parameter.numel() for parameter in network.parameters())
    assert learned.figures == {"parameters": total, "feature_width": 5, "takes": [3, 8, 8]}
    assert all(torch.equal(one, two) for one, two in zip(before, network.parameters(), strict=True))


def test_learn_architecture__an_own_module_that_expects_normalized_inputs() -> None:
    network = own()
    network.pretrained_cfg = {"mean": (0.485, 0.456, 0.406)}
    learned = learn_architecture((3, 8, 8), 4, run=RUN, device=CPU, module=network)
    assert "inputs normalized by mean (0.485, 0.456, 0.406)" in learned.network.reason


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (own(nn.Softmax(-1)), "returns probabilities; it must return logits"),
        (own(classes=5), "gives 5 logits and the data has 4 classes"),
        (nn.Conv2d(1, 4, 3), "its first convolution takes 1"),
        (nn.Conv2d(3, 4, 3), r"returns a tensor of shape \(2, 4, 6, 6\)"),
    ],
)
def test_learn_architecture__a_module_whose_output_is_no_class_scores(network: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        learn_architecture((3, 8, 8), 4, run=RUN, device=CPU, module=network)


def sized(default: int, **options: Any) -> Any:
    return learn_size(
        default, channels=3, num_classes=10, run=RUN, device=CPU, allowance=plenty(), options=options or None
    )


def test_learn_size__the_largest_that_gets_enough_views(rates: dict[Any, float]) -> None:
    enough = module._VIEWS_FOR_SIZE / 100
    rates |= {("resnet_small", size): rate for size, rate in ((224, enough / 4), (160, enough / 2), (128, enough))}
    choice = sized(224)
    assert (choice.value, choice.how) == (128, "measured")
    assert "the images themselves would allow 224 px" in choice.reason


def test_learn_size__does_not_time_sizes_that_cannot_be_fast_enough(rates: dict[Any, float]) -> None:
    """At 224 px 1,000 views: 64 px have a twelfth of the pixels, so even the smallest shows too few."""
    timed: list[int] = []
    rates |= {("resnet_small", 224): 10.0, ("resnet_small", 64): 100.0}
    speed = module.training_speed

    def noted(_: nn.Module, name: str, shape: tuple[int, ...], *more: Any, **others: Any) -> Speed:
        timed.append(shape[-1])
        return speed(_, name, shape, *more, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "training_speed", noted)
        choice = sized(224)
    assert timed == [224, 64]
    assert choice.value == 64
    assert "a run can show resnet_small 10,000 views of 64 px" in choice.reason


def test_learn_size__never_beyond_the_images(rates: dict[Any, float]) -> None:
    rates["resnet_small"] = 1e9
    assert sized(112).value == 112


def test_learn_size__small_images_are_trained_as_they_are() -> None:
    assert sized(64) is None
    assert sized(32) is None


def test_learn_size__at_least_64_px(rates: dict[Any, float]) -> None:
    rates["resnet_small"] = 0.1
    assert sized(224).value == 64


def test_learn_size__what_was_asked_stays() -> None:
    assert (sized(224, size=96).value, sized(224, size=96).how) == (96, "asked")

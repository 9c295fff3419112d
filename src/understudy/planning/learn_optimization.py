"""Optimizer, learning rate and batch size: rules from benchmarks, and a range test for unknown networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from understudy.core.budget import Budget, Cost
from understudy.core.seeding import generator
from understudy.data.training_data import TrainingData
from understudy.engine.optim import OPTIMIZERS
from understudy.planning.choice import Choice, Learned, PlanningBudget, asked
from understudy.planning.speeds import Speed, training_speed

_BATCHES = (32, 64, 128, 256, 512)  # larger ones leave too few steps in budgets of minutes
_ENOUGH = 0.9  # of the best speed, at which a smaller batch is preferred because it takes more steps
_SHARE = 0.1  # of the planning time, for each of the two measurements
_RATES = np.geomspace(1e-5, 0.3, 61)  # about 13 steps per factor of ten
_SMOOTHING, _DIVERGED = 0.8, 3.0  # averages five batches; the test ends when that average has tripled
_MIN_STEPS, _MIN_FALL = 10, 0.05  # of a range test that says anything: its steps, and the share the loss must fall by
_BATCH = 64  # labels of one step of the range test: less noise than in training, at little cost
_MAX_FACTOR = 10  # between the rate found and the default: beyond it the test is more likely wrong than the default
_STILL = 0.05  # a smoothed loss this near its lowest has not turned: it varies by as much from batch to batch


@dataclass(frozen=True)
class LearnedOptimization(Learned):
    """The optimizer, its learning rate and the batch size; the budget determines the length."""

    optimizer: Choice[str]
    lr: Choice[float] | None
    batch_size: Choice[int]


def learn_optimization(
    data: TrainingData,
    network: nn.Module,
    network_name: str,
    *,
    default_optimizer: str,
    default_batch_size: int,
    run: Budget,
    device: torch.device,
    allowance: PlanningBudget | None = None,
    options: Mapping[str, Any] | None = None,
) -> LearnedOptimization:
    """The optimizer by the kind of network, the rate by its default or a range test, and the batch size by speed.

    Args:
        network: The network, which is not changed.
        default_optimizer: The optimizer that suits networks of this kind.
        run: Budget of one training run.
    """
    begun = Cost.now()
    allowance, options = allowance or PlanningBudget(run), options or {}
    figures: dict[str, Any] = {}
    optimizer = asked(options, "optimizer.name")
    known = not network_name.startswith("module:") and ":" not in network_name
    if optimizer is None:
        reason = {
            "muon": "its convolutions are dense; the benchmarks of such networks were run with it",
            "sgd": "its convolutions are separable, where Muon's matrices cost more than the network",
            "adamw": "it is the most robust optimizer for a network that is not known",
        }[default_optimizer]
        if network_name == "mlp":
            reason = "vectors differ in scale, which it compensates"
        optimizer = Choice("optimizer.name", default_optimizer, "rule", reason)
    lr = asked(options, "optimizer.lr")
    if lr is None:
        default_lr = float(OPTIMIZERS.get(optimizer.value)().lr)
        if known or allowance.refusal:
            why = "" if known else f"; no range test, since {allowance.refusal}"
            if known and optimizer.value == default_optimizer:
                why = ", with which the benchmarks were run"
            lr = Choice("optimizer.lr", default_lr, "rule", f"the default of {optimizer.value}{why}")
        else:
            lr, figures["range_test"] = _range_test(data, network, optimizer.value, default_lr, device, allowance)
    batch_size = asked(options, "batch_size")
    if batch_size is None:
        batch_size, speeds = _batch_size(data, network, network_name, default_batch_size, device, allowance)
        figures["speeds"] = [speed.to_json() for speed in speeds]
    return LearnedOptimization(
        optimizer=optimizer, lr=lr, batch_size=batch_size, figures=figures, cost=Cost.now() - begun
    )


def _batch_size(
    data: TrainingData,
    network: nn.Module,
    name: str,
    default: int,
    device: torch.device,
    allowance: PlanningBudget,
) -> tuple[Choice[int], list[Speed]]:
    """The batch size: by the number of labels on a processor, else the smallest that keeps the device busy."""
    if device.type == "cpu":
        reason = f"the default for {len(data.labeled):,} labels on a processor"
        if default < _BATCHES[1]:
            reason += "; with few labels most methods did better in small steps than in large ones"
        return Choice("batch_size", default, "rule", reason), []
    if allowance.refusal:
        return Choice("batch_size", default, "rule", f"the default, since {allowance.refusal}"), []
    speeds: list[Speed] = []
    limit = _SHARE * allowance.whole_s / len(_BATCHES)
    for batch_size in _BATCHES:
        try:
            speeds.append(
                training_speed(
                    copy.deepcopy(network),
                    name,
                    data.row_shape,
                    data.domain,
                    canvas=data.rows.shape[-1],
                    batch_size=batch_size,
                    device=device,
                    clock=allowance.read,
                    limit_s=limit,
                )
            )
        except torch.OutOfMemoryError:
            break
    best = max(speed.rows_per_s for speed in speeds)
    chosen = next(speed for speed in speeds if speed.rows_per_s >= _ENOUGH * best)
    reason = f"{chosen.rows_per_s:,.0f} rows a second, within 10 % of the fastest batch that fits the memory"
    return Choice("batch_size", min(chosen.batch_size, len(data.labeled)), "measured", reason), speeds


def _range_test(
    data: TrainingData,
    network: nn.Module,
    optimizer: str,
    default: float,
    device: torch.device,
    allowance: PlanningBudget,
) -> tuple[Choice[float], list[list[float]]]:
    """The rate by a range test (Smith, 2017): a tenth of the one where the loss is lowest while the rate rises."""
    trained = copy.deepcopy(network).to(device).train()
    stepper = OPTIMIZERS.get(optimizer)().build([trained])
    targets = data.targets.to(device)
    random = generator("range test", 0)
    losses: list[float] = []
    begun = allowance.read()
    for rate in _RATES:
        for group in stepper.param_groups:
            group["lr"] = float(rate)
        positions = random.integers(0, len(data.labeled), min(_BATCH, max(8, len(data.labeled))))
        x = data.render(data.labeled[positions], "plain", device=device)
        loss = F.cross_entropy(trained(x).float(), targets[torch.from_numpy(positions).to(device)])
        stepper.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        value = float(loss.detach())
        if not np.isfinite(value):
            break
        losses.append(value if not losses else _SMOOTHING * losses[-1] + (1 - _SMOOTHING) * value)
        if losses[-1] > _DIVERGED * min(losses) or allowance.read() - begun > _SHARE * allowance.whole_s:
            break
    curve = [[float(rate), round(loss, 4)] for rate, loss in zip(_RATES, losses, strict=False)]
    if len(losses) < _MIN_STEPS:
        reason = f"the default of {optimizer}; the time was enough for only {len(losses)} steps of a range test"
        return Choice("optimizer.lr", default, "rule", reason), curve
    if min(losses) > (1 - _MIN_FALL) * losses[0]:
        reason = f"the default of {optimizer}; in a range test no rate lowered the loss within {len(losses)} steps"
        return Choice("optimizer.lr", default, "measured", reason), curve
    # A tenth of the rate at the lowest loss: the loss was still falling there, and the peak rate is held for long.
    lowest = float(_RATES[int(np.argmin(losses))])
    if len(losses) < len(_RATES) and losses[-1] <= (1 + _STILL) * min(losses) and lowest / 10 < default:
        reason = (
            f"the default of {optimizer}; the loss was still falling when the time of the range test was over, after "
            f"{len(losses)} steps from 1e-05 to {_RATES[len(losses) - 1]:.1g}"
        )
        return Choice("optimizer.lr", default, "measured", reason), curve
    rate = float(f"{np.clip(lowest / 10, default / _MAX_FACTOR, default * _MAX_FACTOR):.1g}")
    reason = (
        f"in a range test of {len(losses)} steps from 1e-05 the loss was lowest at {lowest:.1g}, and the rate is a "
        f"tenth of that, at most {_MAX_FACTOR} times from the {default:g} that is usual with {optimizer}"
    )
    return Choice("optimizer.lr", rate, "measured", reason), curve

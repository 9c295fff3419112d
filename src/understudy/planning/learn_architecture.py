"""Network and image size: the largest that the budget can train, by speeds measured on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from understudy.augment import DOMAINS
from understudy.core.budget import Budget, Cost
from understudy.core.errors import UserError
from understudy.core.seeding import seed_torch
from understudy.models import build, check_network, feature_width
from understudy.planning.choice import Choice, Learned, PlanningBudget, asked
from understudy.planning.speeds import Speed, training_speed

TINY_PX, SMALL_PX = 16, 64  # where the lists of networks below change; a judgment
# Number of views from which a network is expected to beat the one before it. Only one was measured: resnet_medium is
# behind at 20,000 (benchmarks/planner_grid.json); the others are estimates by size. The first one is the fallback.
_NETWORKS: dict[str, tuple[tuple[str, float], ...]] = {
    "tiny": (("cnn", 0), ("resnet_small", 1e6)),
    "small": (("resnet_small", 0), ("resnet_medium", 1e6), ("wrn_28_2", 2e7)),
    "large": (("resnet_small", 0), ("resnet_medium", 1e6), ("resnet18", 1e7)),
}
_USUAL = "resnet_small"
_SIZES = (224, 160, 128, 112, 96, 80, 64)  # each has 0.5 to 0.8 times the pixels of the one before
_VIEWS_FOR_SIZE = 1e5  # views of images over 64 px that a run must be able to show; an estimate
_FASTER = 1.5  # at most; how much faster a smaller size is than by its pixels, if its rows fit a faster cache
_BATCH = 32  # the smallest batch that planning considers
_SHARE = 0.15  # of the planning time, at most: symmetries take twice as much, and trials need the rest


@dataclass(frozen=True)
class LearnedArchitecture(Learned):
    """The network and the training resolution."""

    network: Choice[str]
    size: Choice[int] | None = None


def learn_size(
    default: int,
    *,
    channels: int,
    num_classes: int,
    run: Budget,
    device: torch.device,
    allowance: PlanningBudget,
    options: Mapping[str, Any] | None = None,
) -> Choice[int] | None:
    """The training resolution in px for images over 64 px; determined before any is decoded.

    Args:
        default: Size suggested by the files.
        run: Budget of one training run.
    """
    if (wanted := asked(options or {}, "size")) is not None:
        return wanted
    if default <= SMALL_PX:
        return None
    if allowance.refusal:
        reason = f"as large as the images are, up to 224 px, since {allowance.refusal}"
        return Choice("size", default, "rule", reason)
    sizes = [default, *(size for size in _SIZES if size < default)]
    views, timed = 0.0, default
    for size in sizes:
        # Half as many pixels cost at least half: a size that cannot be fast enough even by its pixels is not timed,
        # unless it is the last.
        if views and size != sizes[-1] and views * _FASTER * (timed / size) ** 2 < _VIEWS_FOR_SIZE:
            continue
        limit = _SHARE / 2 * allowance.whole_s / len(sizes)
        speed = _speed(
            _USUAL, (channels, size, size), num_classes, device, allowance, limit, canvas=round(size * 8 / 7)
        )
        views, timed = speed.rows_per_s * _seconds(run), size
        if views >= _VIEWS_FOR_SIZE:
            break
    reason = (
        f"a run can show {_USUAL} {_count(views)} views of {size} px"
        + ("" if size == default else f", and larger ones fewer than the {_count(_VIEWS_FOR_SIZE)} asked for")
        + (f"; the images themselves would allow {default} px" if size != default else ", as large as the images are")
    )
    return Choice("size", size, "measured", reason)


def learn_architecture(
    shape: tuple[int, ...],
    num_classes: int,
    *,
    run: Budget,
    device: torch.device,
    allowance: PlanningBudget | None = None,
    size: Choice[int] | None = None,
    module: nn.Module | None = None,
    options: Mapping[str, Any] | None = None,
) -> LearnedArchitecture:
    """The network that learns most in the time of one run, or a description of the user's own module.

    Args:
        shape: Shape of one row as the network sees it.
        run: Budget of one training run.
        size: The choice of `learn_size`, which becomes part of the result.
        module: The user's own network, which is inspected and kept.

    Raises:
        UserError: The module does not accept such rows, or does not give one logit per class.
    """
    begun = Cost.now()
    allowance = allowance or PlanningBudget(run)
    figures: dict[str, Any] = {}
    if module is not None:
        choice, figures = _inspected(module, shape, num_classes)
    elif (wanted := asked(options or {}, "network")) is not None:
        choice = wanted
    elif len(shape) == 1:
        choice = Choice("network", "mlp", "rule", "the rows are vectors, which a multi-layer perceptron takes")
    else:
        scale = "tiny" if min(shape[1:]) < TINY_PX else "small" if max(shape[1:]) <= SMALL_PX else "large"
        choice, figures = _by_speed(_NETWORKS[scale], shape, num_classes, run, device, allowance)
    return LearnedArchitecture(network=choice, size=size, figures=figures, cost=Cost.now() - begun)


def _by_speed(
    networks: Sequence[tuple[str, float]],
    shape: tuple[int, ...],
    num_classes: int,
    run: Budget,
    device: torch.device,
    allowance: PlanningBudget,
) -> tuple[Choice[str], dict[str, Any]]:
    """The largest network of the list that can be shown enough views in one run."""
    chosen, views, speeds = networks[0][0], 0.0, list[Speed]()
    if allowance.refusal:
        reason = f"the network that most benchmarks were run with, since {allowance.refusal}"
        return Choice("network", _USUAL, "rule", reason), {}
    reason = ""
    for name, needed in networks:
        if speeds and views < needed:  # a larger network is shown even fewer and need not be timed
            reason = f", less than the {_count(needed)} from which the larger {name} is expected to be better"
            break
        limit = _SHARE * allowance.whole_s / 2 / len(networks)
        speed = _speed(name, shape, num_classes, device, allowance, limit)
        speeds.append(speed)
        possible = speed.rows_per_s * _seconds(run)
        if possible < needed:
            reason = (
                f", and the larger {name} only {_count(possible)}, less than the {_count(needed)} from which it is "
                "expected to be better"
            )
            break
        chosen, views = name, possible
    reason = f"in one run it can be shown {_count(views)} views{reason}"
    return Choice("network", chosen, "measured", reason), {"speeds": [speed.to_json() for speed in speeds]}


def _speed(
    name: str,
    shape: tuple[int, ...],
    num_classes: int,
    device: torch.device,
    allowance: PlanningBudget,
    limit_s: float,
    canvas: int | None = None,
) -> Speed:
    seed_torch("planning")
    network = build(name, shape=shape, num_classes=max(2, num_classes))
    domain = DOMAINS["natural" if shape[0] == 3 else "gray"]
    return training_speed(
        network,
        name,
        shape,
        domain,
        canvas=canvas or shape[-1],
        batch_size=_BATCH,
        device=device,
        clock=allowance.read,
        limit_s=limit_s,
    )


def _inspected(module: nn.Module, shape: tuple[int, ...], num_classes: int) -> tuple[Choice[str], dict[str, Any]]:
    """A description of the user's module, after a check that it maps rows in [0, 1] to one logit per class."""
    check_network(module, shape, num_classes)
    total = sum(parameter.numel() for parameter in module.parameters())
    figures = {"parameters": total, "takes": list(shape)}
    with contextlib.suppress(UserError):  # a network without a linear layer trains by methods that need no features
        figures["feature_width"] = feature_width(module)
    name = type(module).__qualname__
    reason = f"it is yours: {total:,} parameters, takes rows of shape {shape} in [0, 1], gives {num_classes} logits"
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    mean = config.get("mean") if isinstance(config, Mapping) else None
    if mean and any(mean):
        figures["expects_mean"] = [float(value) for value in mean]
        reason += (
            f"; its library trained it on inputs normalized by mean {tuple(round(float(v), 3) for v in mean)}, "
            f"which it gets only if a layer of its own does so, or as --network timm:NAME"
        )
    return Choice("network", name, "asked", reason), figures


def _seconds(run: Budget) -> float:
    return run.wall_s if run.wall_s is not None else run.cpu_s or 0.0


def _count(number: float) -> str:
    """A number of views in words: 12,000 or 1.3 million."""
    if number >= 1e6:
        return f"{number / 1e6:.1f} million"
    digits = 10 ** max(0, len(str(int(number))) - 2)
    return f"{int(number) // digits * digits:,}"

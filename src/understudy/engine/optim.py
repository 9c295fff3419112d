"""Optimizers as settings, Muon, and the curve of the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from understudy.core.config import Config, Knob
from understudy.core.registry import Registry
from understudy.functional.schedules import cosine_decay, linear_decay, ramp_up

OPTIMIZERS: Registry[Any] = Registry("optimizer", "understudy.engine.optim")


@dataclass(frozen=True, kw_only=True)
class Optimizer(Config):
    """Settings that build a torch optimizer over named networks; biases and norms take no weight decay."""

    variants: ClassVar[Registry[Any] | None] = OPTIMIZERS

    layer_decay: Annotated[
        float,
        Knob("layer-wise learning-rate decay: factor from each block to the one before", 0, 1, probe=0.3),
    ] = 1.0

    def build(self, networks: list[nn.Module]) -> torch.optim.Optimizer:
        """The optimizer over every parameter of the networks that takes a gradient."""
        raise NotImplementedError


@OPTIMIZERS.register("sgd")
@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov momentum."""

    lr: Annotated[float, Knob("peak learning rate", 0, probe=0.3)] = 0.03
    momentum: Annotated[float, Knob("momentum", 0, 1, probe=0.5)] = 0.9
    weight_decay: Annotated[float, Knob("weight decay, scaled by the learning rate", 0, probe=0.1)] = 5e-4

    def build(self, networks: list[nn.Module]) -> torch.optim.Optimizer:
        """torch's SGD, fused where torch has it."""
        groups = _groups(networks, self.weight_decay, self.lr, self.layer_decay)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0, fused=True)


@OPTIMIZERS.register("adamw")
@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    lr: Annotated[float, Knob("peak learning rate", 0, probe=0.1)] = 1e-3
    weight_decay: Annotated[float, Knob("decoupled weight decay", 0, probe=1.0)] = 0.05

    def build(self, networks: list[nn.Module]) -> torch.optim.Optimizer:
        """torch's AdamW, fused where torch has it."""
        groups = _groups(networks, self.weight_decay, self.lr, self.layer_decay)
        return torch.optim.AdamW(groups, lr=self.lr, fused=True)


@OPTIMIZERS.register("adam")
@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam; its weight decay, if any, is part of the gradient."""

    lr: Annotated[float, Knob("peak learning rate", 0, probe=0.1)] = 1e-3
    weight_decay: Annotated[float, Knob("L2 penalty, added to the gradient", 0, probe=1.0)] = 0.0

    def build(self, networks: list[nn.Module]) -> torch.optim.Optimizer:
        """torch's Adam, fused where torch has it."""
        groups = _groups(networks, self.weight_decay, self.lr, self.layer_decay)
        return torch.optim.Adam(groups, lr=self.lr, fused=True)


@OPTIMIZERS.register("muon")
@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """Muon (Jordan, 2024) on dense convolution filters, Nesterov SGD on all other parameters.

    Each filter bank is brought to a fixed norm and moved by its orthogonalized momentum, so the rate says by what
    share of its length it turns in a step.
    """

    lr: Annotated[float, Knob("peak learning rate of the filters", 0, probe=0.5)] = 0.06
    momentum: Annotated[float, Knob("momentum of the filters", 0, 1, probe=0.0)] = 0.9
    sgd_lr: Annotated[float, Knob("peak learning rate of all other parameters", 0, probe=0.5)] = 0.03
    sgd_momentum: Annotated[float, Knob("momentum of all other parameters", 0, 1, probe=0.0)] = 0.9
    weight_decay: Annotated[float, Knob("weight decay of all other parameters", 0, probe=0.3)] = 5e-4

    def build(self, networks: list[nn.Module]) -> torch.optim.Optimizer:
        """One optimizer with both kinds of groups."""
        filters = [
            module.weight
            for network in networks
            for module in network.modules()
            if isinstance(module, nn.Conv2d)
            and module.groups == 1
            and module.weight.requires_grad
            and module.weight[0].numel() >= 16  # a first layer's few inputs are no matrix worth orthogonalizing
        ]
        chosen = {id(weight) for weight in filters}
        others = [p for network in networks for p in network.parameters() if p.requires_grad and id(p) not in chosen]
        scales = layer_scales(networks, self.layer_decay)
        groups = _grouped(others, self.weight_decay, self.sgd_lr, scales)
        for group in groups:
            group.update(momentum=self.sgd_momentum, orthogonal=False)
        turned = _grouped(filters, 0.0, self.lr, scales)
        for group in turned:
            group.update(momentum=self.momentum, orthogonal=True)
        return MuonOptimizer([*groups, *turned])


class MuonOptimizer(torch.optim.Optimizer):
    """Muon for the groups marked `orthogonal`, Nesterov SGD for the others."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        """Every group states lr, momentum, weight_decay and orthogonal."""
        super().__init__(groups, defaults={})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [weight.grad for weight in weights]
            buffers = [self._buffer(weight) for weight in weights]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            updates = list(torch._foreach_add(gradients, buffers, alpha=group["momentum"]))
            if group["orthogonal"]:
                updates = orthogonalized(updates)
                scales = [
                    len(weight) ** 0.5 / norm
                    for weight, norm in zip(weights, torch._foreach_norm(weights), strict=True)
                ]
                torch._foreach_mul_(weights, [scale.nan_to_num(1.0, 1.0, 1.0) for scale in scales])
            torch._foreach_add_(weights, updates, alpha=-group["lr"])

    def _buffer(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["momentum_buffer"]  # type: ignore[no-any-return]


def orthogonalized(tensors: list[Tensor], num_iterations: int = 5) -> list[Tensor]:
    """Each tensor, seen as a matrix (outputs, inputs), with all its singular values brought near 1.

    Five Newton-Schulz iterations of odd degree 5 (Jordan, 2024); matrices of one shape are handled as one batch.
    """
    results: list[Tensor] = list(tensors)
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, tensor in enumerate(tensors):
        by_shape.setdefault((len(tensor), tensor[0].numel()), []).append(index)
    for (outputs, inputs), indices in by_shape.items():
        x = torch.stack([tensors[index].reshape(outputs, inputs) for index in indices])
        x = x if outputs <= inputs else x.mT
        x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # a matrix of zeros stays one
        # The coefficients of Jordan (2024): the steepest at zero whose iterates stay near 1.
        for _ in range(num_iterations):
            gram = x @ x.mT
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        x = x if outputs <= inputs else x.mT
        for index, matrix in zip(indices, x, strict=True):
            results[index] = matrix.reshape(tensors[index].shape)
    return results


def learning_rate_factor(progress: float, *, warmup: float, decay: str, final: float) -> float:
    """The learning rate as a share of its peak: up in a straight line until `warmup`, then down to `final`.

    Args:
        warmup: Share of training at which the peak is reached.
        decay: "cosine", "linear" or "constant".
    """
    if progress < warmup:
        return max(0.02, ramp_up(progress, warmup))  # the first step, at progress 0, moves too
    rest = (progress - warmup) / max(1e-9, 1 - warmup)  # with warmup 1 there is no rest
    if decay == "constant":
        return 1.0
    return cosine_decay(rest, final) if decay == "cosine" else linear_decay(rest, final)


def blocks(network: nn.Module) -> list[nn.Module]:
    """The parts of a network from input to output that have parameters; a sequence counts as its parts."""
    parts: list[nn.Module] = []
    for child in network.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            parts += blocks(child)
        elif any(True for _ in child.parameters()):
            parts.append(child)
    return parts


def layer_scales(networks: list[nn.Module], layer_decay: float) -> dict[int, float]:
    """Each parameter's share of the full rate, by identity; the last block of a network has all of it."""
    scales: dict[int, float] = {}
    for network in networks:
        parts = blocks(network) or [network]
        for parameter in network.parameters():  # what belongs to no block, such as a class token, is first
            scales[id(parameter)] = layer_decay ** len(parts)
        for depth, part in enumerate(reversed(parts)):
            for parameter in part.parameters():
                scales[id(parameter)] = layer_decay**depth
    return scales


def _groups(networks: list[nn.Module], weight_decay: float, lr: float, layer_decay: float) -> list[dict[str, Any]]:
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    return _grouped(parameters, weight_decay, lr, layer_scales(networks, layer_decay))


def _grouped(
    parameters: Sequence[Tensor], weight_decay: float, lr: float, scales: dict[int, float]
) -> list[dict[str, Any]]:
    """Parameters by rate, matrices with weight decay and vectors without."""
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for parameter in parameters:
        groups.setdefault((parameter.ndim <= 1, scales[id(parameter)]), []).append(parameter)
    return [
        {"params": members, "lr": lr * scale, "weight_decay": 0.0 if is_vector else weight_decay}
        for (is_vector, scale), members in sorted(groups.items(), key=lambda item: item[0])
    ]

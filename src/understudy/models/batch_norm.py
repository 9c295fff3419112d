"""Batch-norm statistics: kept still, measured again, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def _norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers that keep running statistics."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Let training forwards use the statistics of their batch and leave the running ones bit-equal."""
    norms = [(norm, norm.track_running_stats) for norm in _norms(network)]
    for norm, _ in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracked in norms:
            norm.track_running_stats = tracked


@contextmanager
def _only_norms_train(network: nn.Module) -> Iterator[None]:
    """Batch norm in train mode, all else (dropout, stochastic depth) in evaluation mode; the modes come back after."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    for norm in _norms(network):
        norm.training = True
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Iterable[Float[Tensor, "n ..."]]) -> None:
    """Replace the running statistics by the mean over the batches; nothing changes when there are none."""
    norms = _norms(network)
    momenta = [norm.momentum for norm in norms]
    with _only_norms_train(network):
        try:
            for index, x in enumerate(batches):
                if index == 0:
                    for norm in norms:
                        norm.reset_running_stats()
                        norm.momentum = None  # a plain mean over all batches
                network(x)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


@torch.no_grad()
def evaluation_check(
    network: nn.Module,
    x: Float[Tensor, "n ..."],
    targets: Int[Tensor, " n"] | Float[Tensor, "n k"],
    *,
    tolerance: float = 0.5,
) -> bool:
    """Whether the running statistics serve the network: its loss on a batch is about the same with them and without.

    Args:
        tolerance: nats by which the loss in evaluation mode may exceed the loss under the batch's own statistics.
    """
    modes = [(module, module.training) for module in network.modules()]
    with _only_norms_train(network), frozen_statistics(network):
        by_batch = F.cross_entropy(network(x).float(), targets)
    try:
        network.eval()
        by_running = F.cross_entropy(network(x).float(), targets)
    finally:
        for module, mode in modes:
            module.training = mode
    return bool(by_running <= by_batch + tolerance)

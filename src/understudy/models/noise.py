"""Noise inside a network while it trains, added from outside: weights and their names stay what they were."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from understudy.models.heads import find_head
from understudy.models.residual import BasicBlock, SmallBlock, WideBlock

# The last layer of each block's branch, whose output is added to the shortcut.
_BRANCH_ENDS: dict[type[nn.Module], str] = {SmallBlock: "norm2", BasicBlock: "norm2", WideBlock: "conv2"}


class HeadDropout:
    """Features on their way into the head, some of them zero and the others scaled up, in training mode."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What the head is given instead."""
        return (nn.functional.dropout(args[0], self.rate), *args[1:]) if head.training else None


class SkippedBranch:
    """The branch of a residual block, left out for some rows and scaled up for the others, in training mode."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, layer: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """What is added to the shortcut instead."""
        if not layer.training:
            return None
        kept = torch.empty(len(output), *[1] * (output.ndim - 1), device=output.device).bernoulli_(1 - self.rate)
        return output * (kept / (1 - self.rate)).to(output.dtype)


def with_noise(network: nn.Module, *, dropout: float, stochastic_depth: float) -> tuple[nn.Module, int]:
    """A copy of the network that is disturbed in training mode alone, and the number of its branches that are skipped.

    Stochastic depth (Huang et al., 2016, https://arxiv.org/abs/1603.09382, section 3) leaves out the branch of the
    l-th of L residual blocks with probability l / L times `stochastic_depth`, row by row; it is known where blocks
    begin in this package's residual networks only, so that any other network gets dropout alone. The weights of the
    copy are those of a quiet network of the same kind, by the same names.

    Args:
        dropout: Share of the head's inputs that are zeroed.
        stochastic_depth: Probability that the last block's branch is skipped.

    Raises:
        UserError: The network has no linear layer.
    """
    noisy = copy.deepcopy(network)
    if dropout:
        find_head(noisy)[1].register_forward_pre_hook(HeadDropout(dropout))
    blocks = [module for module in noisy.modules() if type(module) in _BRANCH_ENDS]
    if not stochastic_depth:
        return noisy, 0
    for number, block in enumerate(blocks, start=1):
        end = block.get_submodule(_BRANCH_ENDS[type(block)])
        end.register_forward_hook(SkippedBranch(stochastic_depth * number / len(blocks)))
    return noisy, len(blocks)

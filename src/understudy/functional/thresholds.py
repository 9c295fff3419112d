"""Bars that a prediction must reach to count, and how they move with what has been learned."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAPPINGS = ("convex", "linear", "concave")
ANNEALINGS = ("none", "linear", "log", "exp")


def newest_labels(
    flags: Int[Tensor, "n"], ids: Int[Tensor, "u"], labels: Int[Tensor, "u"], counts: Float[Tensor, "u"]
) -> Int[Tensor, "n"]:
    """The flags by id, after each row that counts set its own; of rows with the same id the last one is kept.

    Args:
        counts: Which rows set their flag: those above zero.
    """
    position = torch.arange(len(ids), device=ids.device)
    # The highest position per id, because writing to one place twice in a batch has no defined winner on a GPU.
    writer = torch.full_like(flags, -1).scatter_reduce(0, ids, torch.where(counts > 0, position, -1), "amax")
    return torch.where(writer >= 0, labels[writer.clamp(min=0)], flags)


def flags_per_class(flags: Int[Tensor, "n"], num_classes: int) -> Int[Tensor, "_"]:
    """How many ids are flagged with no class (-1), which comes first, and with each class."""
    counts = torch.zeros(num_classes + 1, dtype=torch.long, device=flags.device)
    return counts.scatter_add(0, flags + 1, torch.ones_like(flags))


def learning_status(counts: Int[Tensor, "_"], *, warm_up: bool) -> Float[Tensor, "k"]:
    """FlexMatch's beta: flags of each class over those of the most frequent one (equation 6); 0 before any flag.

    Args:
        counts: Flags of no class, then of each class.
        warm_up: Whether ids without a flag count as a class in that maximum (equation 11).
    """
    most = (counts if warm_up else counts[1:]).max()
    return counts[1:] / most.clamp(min=1)


def curriculum(status: Float[Tensor, "k"], mapping: str) -> Float[Tensor, "k"]:
    """FlexMatch's M(beta): a share of the full threshold for each class, rising from 0 to 1 with its status."""
    if mapping == "convex":
        return status / (2 - status)
    return status if mapping == "linear" else torch.log1p(status) / math.log(2)


def self_adaptive(level: Float[Tensor, ""], balance: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """FreeMatch, equation 7: the general threshold times each class's share of the most frequent one's balance."""
    return level * balance / balance.max()


def annealed(progress: float, schedule: str, num_classes: int) -> float:
    """UDA's eta: the probability of the true class above which a labeled row is left out, from 1/k to 1.

    The 5 in `log` and `exp` is the paper's; it leaves the curves within 0.7 % of their bounds.
    """
    if schedule == "none":
        return 1.0
    rise = {
        "linear": progress,
        "log": 1 - math.exp(-5 * progress),
        "exp": math.exp(5 * (progress - 1)),
    }[schedule]
    return rise * (1 - 1 / num_classes) + 1 / num_classes

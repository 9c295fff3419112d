"""A penalty on predictions that favor a few classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed


def class_fairness(
    probs: Float[Tensor, "s k"],
    weight: Float[Tensor, "s"],
    balance: Float[Tensor, "k"],
    histogram: Float[Tensor, "k"],
) -> Float[Tensor, ""]:
    """FreeMatch, equation 11: -H(SumNorm(balance / histogram), SumNorm(mean of the rows / their histogram)).

    It is of the global batch. A class that no counted row is predicted as takes no part in the second quotient, which
    has no value there, and 0 is the result when no row counts.

    Args:
        probs: Predictions of the strong views.
        weight: How much each row counts.
        balance: Running mean of predictions.
        histogram: Running share of predicted classes.
    """
    predicted = F.one_hot(probs.detach().argmax(-1), probs.shape[-1]).to(probs.dtype)
    mean, count = distributed.gather(torch.stack((weight @ probs, weight @ predicted))[None]).sum(0)
    # A class that was never predicted has a running share near 0, and would otherwise be the whole target.
    target = balance / histogram.clamp(min=1e-6)
    quotient = torch.where(count > 0, mean / torch.where(count > 0, count, 1.0), 0.0)
    shown = quotient / quotient.sum().clamp(min=1e-12)  # the sum is 0 where no row counts
    return (target / target.sum() * torch.where(shown > 0, shown, 1.0).log()).sum()

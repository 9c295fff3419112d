"""Small changes of the input that change a prediction most, found without labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed

Divergence = Callable[[Float[Tensor, "n ..."]], Float[Tensor, "n"]]


def kl_divergence(target: Float[Tensor, "n k"], logits: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """KL[p, q] of each row in nats, where p and q are the softmax of `target` and of `logits`."""
    return (target.softmax(-1) * (target.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)


def unit_rows(x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Each row scaled to a root mean square of 1; a row of zeros stays as it is."""
    dims = tuple(range(1, x.ndim))
    smallest = torch.finfo(x.dtype).tiny
    x = x / x.abs().amax(dims, keepdim=True).clamp(min=smallest)  # otherwise a small gradient's squares underflow to 0
    return x / x.square().mean(dims, keepdim=True).sqrt().clamp(min=smallest)


def adversarial_direction(
    divergence: Divergence, start: Float[Tensor, "n ..."], *, xi: float, num_iterations: int
) -> Float[Tensor, "n ..."]:
    """The direction, of root mean square 1 per row, in which a divergence that is least at zero grows fastest.

    Power iteration on its Hessian: d becomes the gradient at xi d (Miyato et al., 2018, equation 14).

    Args:
        divergence: From one step per row to one divergence per row; rows may be coupled, as by batch norm.
        start: Random directions, which are the result if there are no iterations.
        xi: Root mean square of the step at which the gradient is taken.
    """
    direction = unit_rows(start)
    for _ in range(num_iterations):
        step = (xi * direction).requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(step).sum(), step)
        direction = unit_rows(gradient)
    return direction


def deviation(x: Float[Tensor, "n ..."]) -> Float[Tensor, "_ ..."]:
    """Standard deviation of each channel or feature over the rows of all processes, shaped to multiply rows."""
    dims = (0, *range(2, x.ndim))
    mean = distributed.mean(x.mean(dims, keepdim=True))
    return distributed.mean((x - mean).square().mean(dims, keepdim=True)).sqrt()

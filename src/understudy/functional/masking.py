"""Pictures with patches hidden, and how well what was hidden is guessed."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


def masked_patches(rng: np.random.Generator, count: int, grid: int, share: float) -> NDArray[np.float32]:
    """For each picture a grid of patches, 1 where one is hidden: so many of each, and never none or all.

    Args:
        grid: Patches along a side, at least 2.
        share: Share of the patches to hide.
    """
    total = grid * grid
    hidden = min(max(1, round(share * total)), total - 1)
    ranks = rng.random((count, total)).argsort(1).argsort(1)
    return (ranks < hidden).astype(np.float32).reshape(count, 1, grid, grid)


def hide(x: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 g g"]) -> Float[Tensor, "n c h w"]:
    """The pictures with hidden patches in the mean color of what is left of each."""
    hidden = F.interpolate(mask, x.shape[2:])
    seen = 1 - hidden
    mean = (x * seen).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)
    return x * seen + mean * hidden


def hidden_error(
    guess: Float[Tensor, "n c s s"], x: Float[Tensor, "n c h w"], mask: Float[Tensor, "n 1 g g"]
) -> Float[Tensor, ""]:
    """The mean absolute error of guessed pictures, in their resolution, over all that was hidden."""
    target = F.adaptive_avg_pool2d(x, (guess.shape[2], guess.shape[3]))
    hidden = F.interpolate(mask, guess.shape[2:])
    return ((guess - target).abs() * hidden).sum() / (hidden.sum() * x.shape[1])

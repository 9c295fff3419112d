"""Two views of the same rows: alike to each other, unlike other rows, and each feature telling something of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.core import distributed


def nt_xent(
    first: Float[Tensor, "u d"], second: Float[Tensor, "u d"], ids: Int[Tensor, "u"], temperature: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The normalized temperature-scaled cross-entropy of two views of each row, and how often the partner is nearest.

    SimCLR, equation 1, over the views of the global batch. Views of the same row, which a small pool may give several
    times, are not negatives of each other.
    """
    first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    all_views = torch.cat([distributed.gather(first), distributed.gather(second)])
    same = ids.repeat(2)[:, None] == distributed.gather(ids).repeat(2)
    partner = (first * second).sum(-1).repeat(2) / temperature
    negatives = (torch.cat([first, second]) @ all_views.T / temperature).masked_fill(same, -torch.inf)
    loss = torch.cat([partner[:, None], negatives], 1).logsumexp(1) - partner
    return loss.mean(), (partner > negatives.max(1).values).float().mean().detach()


def cross_correlation(
    first: Float[Tensor, "u d"], second: Float[Tensor, "u d"], eps: float = 1e-5
) -> Float[Tensor, "d d"]:
    """How each feature of one view goes with each of the other over the global batch (Barlow Twins, equation 2).

    Args:
        eps: Added to variances, so that a feature that never changes correlates with nothing; that of batch norm,
            which normalizes the features in the authors' code.
    """
    both = torch.stack([distributed.gather(first), distributed.gather(second)])
    centered = both - both.mean(1, keepdim=True)
    unit = centered / (centered.square().mean(1, keepdim=True) + eps).sqrt()
    return unit[0].T @ unit[1] / unit.shape[1]

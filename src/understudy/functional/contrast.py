"""Two views of the same rows: alike to each other, unlike other rows, and each feature telling something of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.core import distributed


def nt_xent(
    one: Float[Tensor, "u d"], other: Float[Tensor, "u d"], ids: Int[Tensor, "u"], temperature: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The normalized temperature-scaled cross-entropy of two views of each row, and how often the partner is nearest.

    SimCLR, equation 1, over the views of the global batch. Views of the same row, which a small pool may give several
    times, are not told apart.
    """
    one, other = F.normalize(one, dim=-1), F.normalize(other, dim=-1)
    everyone = torch.cat([distributed.gather(one), distributed.gather(other)])
    same = ids.repeat(2)[:, None] == distributed.gather(ids).repeat(2)
    partner = (one * other).sum(-1).repeat(2) / temperature
    others = (torch.cat([one, other]) @ everyone.T / temperature).masked_fill(same, -torch.inf)
    loss = torch.cat([partner[:, None], others], 1).logsumexp(1) - partner
    return loss.mean(), (partner > others.max(1).values).float().mean().detach()


def cross_correlation(
    one: Float[Tensor, "u d"], other: Float[Tensor, "u d"], eps: float = 1e-5
) -> Float[Tensor, "d d"]:
    """How each feature of one view goes with each of the other over the global batch (Barlow Twins, equation 2).

    Args:
        eps: Added to variances, so that a feature that never changes correlates with nothing.
    """
    both = torch.stack([distributed.gather(one), distributed.gather(other)])
    centered = both - both.mean(1, keepdim=True)
    unit = centered / (centered.square().mean(1, keepdim=True) + eps).sqrt()
    return unit[0].T @ unit[1] / unit.shape[1]

"""Classes that an unsure prediction can rule between, once those that confuse it are left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def shrunk_classes(probs: Float[Tensor, "u k"], threshold: float) -> Bool[Tensor, "u k"]:
    """Each row's likeliest class, and the less likely ones that are left when the fewest confusing ones are removed.

    In order of probability, classes are removed from the second on, at least one, until the first one's share of what
    is left reaches the threshold. Where it never does while another class is left, the likeliest class stands alone.
    """
    ordered, order = probs.sort(dim=-1, descending=True)
    rest = ordered.flip(-1).cumsum(-1).flip(-1)  # of each class and those after it
    left = ordered[:, :1] / (ordered[:, :1] + rest) >= threshold
    kept = torch.cat([torch.ones_like(left[:, :1]), torch.zeros_like(left[:, 1:2]), left[:, 2:]], dim=-1)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def cross_entropy_within(
    logits: Float[Tensor, "s k"], targets: Float[Tensor, "s k"], classes: Bool[Tensor, "s k"]
) -> Float[Tensor, "s"]:
    """Cross-entropy of each row to the likeliest class of its target, among its own classes alone."""
    return F.cross_entropy(logits.masked_fill(~classes, float("-inf")), targets.argmax(-1), reduction="none")

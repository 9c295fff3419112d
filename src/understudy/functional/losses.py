"""Cross-entropies that take a weight per row, so that skipped, soft and noisy labels share one formula."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "n k"],
    targets: Int[Tensor, "n"] | Float[Tensor, "n k"],
    weight: Float[Tensor, "n"],
    *,
    count: int | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The weighted sum of the rows' cross-entropies over `count` rows, or over all n: a row left out counts as zero.

    Args:
        targets: Class of each row, or its class probabilities.
        count: Rows the mean is over, when only a selection of them is given.
        label_smoothing: Share of each target spread evenly over all classes, in [0, 1].
    """
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    return (weight * losses).sum() / (len(logits) if count is None else count)

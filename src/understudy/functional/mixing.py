"""MixUp and CutMix: rows blended with partners out of the whole batch, and labels in the same shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from understudy.core import distributed

MIXES = ("mixup", "cutmix")


def own_shares(count: int, alpha: float, draws: np.random.Generator) -> NDArray[np.float64]:
    """The share each of `count` rows keeps of itself, in [0.5, 1]: max(l, 1 - l) with l ~ Beta(alpha, alpha).

    Equations 8 and 9 of MixMatch; at `alpha` 0 all rows keep everything.
    """
    if alpha == 0:
        return np.ones(count)
    drawn = draws.beta(alpha, alpha, count)
    return np.maximum(drawn, 1 - drawn)


def mixup(
    rows: Float[Tensor, "n ..."], partners: Float[Tensor, "n ..."], share: Float[Tensor, "n"]
) -> Float[Tensor, "n ..."]:
    """share * row + (1 - share) * partner, for inputs and for labels alike (MixMatch, equations 10 and 11)."""
    share = share.reshape(-1, *[1] * (rows.ndim - 1))
    return share * rows + (1 - share) * partners


def cut_boxes(
    share: NDArray[np.float64], centers: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Boxes that leave about `share` of each image, and the share that they do leave after rounding and clipping.

    As in Yun et al. (2019, https://arxiv.org/abs/1905.04899), equation 2: sides in proportion to the image's.

    Args:
        centers: Row and column of each box's center, uniform in [0, 1).

    Returns:
        First row, first column, last row, last column of each box, the last ones excluded; and the shares.
    """
    size = np.array([height, width])
    half = np.sqrt(1 - share)[:, None] * size / 2
    first = np.rint(centers * size - half).clip(0, size)
    last = np.rint(centers * size + half).clip(0, size)
    kept = 1 - (last - first).prod(1) / size.prod()
    return np.concatenate([first, last], 1).astype(np.int64), kept


def cutmix(
    rows: Float[Tensor, "n c h w"], partners: Float[Tensor, "n c h w"], boxes: Int[Tensor, "n 4"]
) -> Float[Tensor, "n c h w"]:
    """Images with their partner's pixels inside the box: first row, first column, last row, last column."""
    top, left, bottom, right = boxes[:, :, None].unbind(1)
    row, column = (torch.arange(length, device=rows.device) for length in rows.shape[2:])
    inside = ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[:, None, :]
    return torch.where(inside[:, None], partners, rows)


def mix_pairs(
    labels: Float[Tensor, "n k"], weight: Float[Tensor, "n"], order: Int[Tensor, "n"], share: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n"]]:
    """Targets and weights of rows mixed with the rows in `order`, so that the loss is that of both labels.

    For a loss that is linear in its target: w H(y, p) = share w_a H(y_a, p) + (1 - share) w_b H(y_b, p), which is
    equation 2 of Zhang et al. (2018, https://arxiv.org/abs/1710.09412) where all weights are 1.
    """
    own, other = share * weight, (1 - share) * weight[order]
    mixed = own + other
    part = torch.where(mixed > 0, own / mixed.clamp(min=torch.finfo(mixed.dtype).tiny), share)
    return mixup(labels, labels[order], part), mixed


def class_probabilities(targets: Int[Tensor, "n"] | Float[Tensor, "n k"], num_classes: int) -> Float[Tensor, "n k"]:
    """Targets as probabilities: one-hot where they are classes, as they are otherwise."""
    return targets if targets.ndim == 2 else F.one_hot(targets, num_classes).to(torch.get_default_dtype())


def mix_with_batch(
    views: Sequence[Float[Tensor, "_ ..."]],
    targets: Sequence[Float[Tensor, "_ k"]],
    draws: np.random.Generator,
    *,
    alpha: float,
    mix: str = "mixup",
) -> tuple[tuple[Float[Tensor, "_ ..."], ...], tuple[Float[Tensor, "_ k"], ...]]:
    """Each view and its targets after mixing with the shuffled rows of all views together (MixMatch, algorithm 1).

    Partners are of the global batch, so every process needs the rows of all: order, shares and boxes are drawn for
    the global batch, and each process mixes its own part.

    Args:
        draws: The same generator on every process.
        alpha: Parameter of the Beta distribution; 0 mixes nothing.
        mix: One of `MIXES`; `cutmix` is for images.
    """
    ends = np.cumsum([len(view) * distributed.world_size() for view in views])
    own = np.concatenate([distributed.share(part) for part in np.split(np.arange(ends[-1]), ends[:-1])])
    order = draws.permutation(ends[-1])[own]
    shares = own_shares(ends[-1], alpha, draws)[own]
    rows, labels = torch.cat(list(views)), torch.cat(list(targets))
    place = torch.tensor(order, device=rows.device)
    row_partners, label_partners = (
        torch.cat([distributed.gather(part) for part in parts])[place] for parts in (views, targets)
    )
    sizes = [len(view) for view in views]
    if mix == "cutmix":
        boxes, shares = cut_boxes(shares, draws.random((ends[-1], 2))[own], *rows.shape[2:])
        mixed = cutmix(rows, row_partners, torch.tensor(boxes, device=rows.device))
    share = torch.tensor(shares, dtype=rows.dtype, device=rows.device)  # of a box: what it left
    if mix == "mixup":
        mixed = mixup(rows, row_partners, share)
    return torch.split(mixed, sizes), torch.split(mixup(labels, label_partners, share), sizes)

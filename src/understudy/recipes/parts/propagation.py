"""Labels that spread over a graph of nearest neighbors, for pools far beyond what a matrix of all pairs could hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.recipes.parts.linear_heads import LinearHead, logistic_head

POWER = 3.0  # of the cosines that weight the graph's edges: gamma of Iscen et al.
# Bounds the memory and time of the fit: so many rows of 2,048 features take 410 MB.
_MAX_HEAD_ROWS = 50_000
# One block of cosines in float32 takes 134 MB.
_ROWS_AT_ONCE, _COLUMNS_AT_ONCE = 2048, 16384


@dataclass(frozen=True, eq=False)
class Propagated:
    """The labels and their certainty after diffusion over the graph.

    Args:
        label: The class of the largest score.
        certainty: 1 where a single class was reached, 0 where all were alike, or none: Iscen et al.'s weight, eq. 11.
        scores: Diffused labels (n, k), not normalized.
    """

    label: Ids
    certainty: NDArray[np.float64]
    scores: NDArray[np.float64]


def propagated_head(
    rows: Float[Tensor, "m d"], ids: Ids, labels: Ids, num_classes: int, *,
    num_neighbors: int, alpha: float, seed: int, device: torch.device, has_bias: bool = True,
) -> tuple[LinearHead, Propagated]:  # fmt: skip
    """What diffusion says of every row in `ids`, and a linear head that learned it, by its certainty.

    Labeled rows keep their label and a certainty of 1; every class counts alike, as in Iscen et al., eq. 12.

    Args:
        labels: Class of each row in `ids`, -1 where there is none.
    """
    places, cosines = nearest_neighbors(rows, ids, num_neighbors, device=device)
    found = propagate(neighbor_graph(places, cosines, POWER), labels, num_classes, alpha)
    known = labels >= 0
    label, certainty = np.where(known, labels, found.label), np.where(known, 1.0, found.certainty)
    taught = np.flatnonzero(certainty > 0)
    weight = certainty / np.maximum(1, np.bincount(label[taught], minlength=num_classes))[label]
    if len(taught) > _MAX_HEAD_ROWS:
        drawn = generator("taught", seed).permutation(len(taught))[:_MAX_HEAD_ROWS]
        taught = np.union1d(taught[drawn], np.flatnonzero(known))
    inputs = rows[torch.from_numpy(ids[taught])].numpy()
    head = logistic_head(
        inputs, label[taught], num_classes, weight=weight[taught], strength=1.0, has_bias=has_bias
    )  # fmt: skip
    agrees = float((head.logits(inputs).argmax(1) == label[taught]).mean())
    reached = int((certainty[~known] > 0).sum())
    note = (
        f"labels went over the graph of nearest neighbors to {reached:,} of {int((~known).sum()):,} unlabeled rows, "
        f"and a linear head learned them, agreeing on {100 * agrees:.1f} %"
    )
    return LinearHead(head.weight, head.bias, note), Propagated(label, certainty, found.scores)


def nearest_neighbors(
    rows: Float[Tensor, "m d"], ids: Ids, num_neighbors: int, *, device: torch.device
) -> tuple[Ids, NDArray[np.float32]]:
    """Each row's nearest others by cosine (n, neighbors) as positions in `ids`, and the cosines; exact.

    Blocks of rows meet blocks of columns, so that memory holds two blocks and never all pairs nor all rows.
    """
    count = len(ids)
    num_neighbors = max(1, min(num_neighbors, count - 1))

    def block(start: int, at_once: int) -> Tensor:
        return F.normalize(rows[torch.from_numpy(ids[start : start + at_once])].to(device).float(), dim=1)

    places = np.empty((count, num_neighbors), np.int64)
    cosines = np.empty((count, num_neighbors), np.float32)
    for start in range(0, count, _ROWS_AT_ONCE):
        queries = block(start, _ROWS_AT_ONCE)
        best = torch.full((len(queries), 0), 0.0, device=device)
        where = torch.zeros((len(queries), 0), dtype=torch.long, device=device)
        for first in range(0, count, _COLUMNS_AT_ONCE):
            found = queries @ block(first, _COLUMNS_AT_ONCE).T
            own = torch.arange(start - first, start - first + len(queries), device=device)[:, None]
            found.masked_fill_(torch.arange(found.shape[1], device=device) == own, -torch.inf)
            value, place = found.topk(min(num_neighbors, found.shape[1]), dim=1)
            best, where = torch.cat([best, value], 1), torch.cat([where, place + first], 1)
            best, order = best.topk(min(num_neighbors, best.shape[1]), dim=1)
            where = where.gather(1, order)
        part = slice(start, start + len(queries))
        places[part], cosines[part] = where.cpu().numpy(), best.cpu().numpy()
    return places, cosines


def neighbor_graph(places: Ids, cosines: NDArray[np.float32], power: float) -> Any:
    """The symmetric sparse matrix W = A + A' with A the positive cosines of neighbors to a power; its diagonal is 0.

    Iscen et al., 2019 (https://arxiv.org/abs/1904.04717), eq. 9, where the power is 3.
    """
    from scipy.sparse import coo_matrix

    count, width = places.shape
    values = np.maximum(cosines, 0).astype(np.float64).ravel() ** power
    directed = coo_matrix((values, (np.repeat(np.arange(count), width), places.ravel())), (count, count)).tocsr()
    graph = directed + directed.T
    graph.eliminate_zeros()
    return graph


def propagate(graph: Any, labels: Ids, num_classes: int, alpha: float) -> Propagated:
    """Labels diffused over a graph: (I - alpha S) Z = Y with S = D^-1/2 W D^-1/2 (Iscen et al., eq. 10).

    Args:
        labels: Class of each row, -1 where there is none.
        alpha: How far labels go: 0 stays, towards 1 everywhere.
    """
    from scipy.sparse import diags

    degree = np.asarray(graph.sum(1)).ravel()
    inverse = diags(np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1e-300)), 0.0))
    smooth = inverse @ graph @ inverse
    known = np.flatnonzero(labels >= 0)
    start = np.zeros((len(labels), num_classes))
    start[known, labels[known]] = 1
    scores = np.maximum(_solve(smooth, start, alpha), 0)
    total = scores.sum(1, keepdims=True)
    shares = scores / np.where(total > 0, total, 1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    certainty = np.where(total[:, 0] > 0, 1 - entropy / np.log(num_classes), 0.0)
    return Propagated(scores.argmax(1), np.clip(certainty, 0, 1), scores)


def _solve(
    smooth: Any, right: NDArray[np.float64], alpha: float, tolerance: float = 1e-6, most: int = 500
) -> NDArray[np.float64]:
    """Z of (I - alpha S) Z = Y by conjugate gradients, all columns at once, each with steps of its own."""
    solution = np.zeros_like(right)
    residual, direction = right.copy(), right.copy()
    square = (residual**2).sum(0)
    enough = tolerance**2 * np.maximum(square, 1e-300)
    for _ in range(most):
        if (square <= enough).all():
            break
        image = direction - alpha * (smooth @ direction)
        curvature = (direction * image).sum(0)
        step = np.where(curvature > 0, square / np.where(curvature > 0, curvature, 1), 0)
        solution += step * direction
        residual -= step * image
        before, square = square, (residual**2).sum(0)
        direction = residual + np.where(before > 0, square / np.where(before > 0, before, 1), 0) * direction
    return solution

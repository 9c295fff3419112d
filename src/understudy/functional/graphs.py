"""Images as nodes of a graph whose edges are how alike their embeddings, or their class predictions, are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

LOG_ODDS_OF_UNKNOWN = -1e9  # its exponential is 0 in float32, and it is finite, so that zero times it is zero


def relations(
    z: Float[Tensor, "n d"], bank: Float[Tensor, "m d"], known: Bool[Tensor, "m"], temperature: float
) -> Float[Tensor, "n m"]:
    """The log of each row's softmax over how near its embedding's direction is to the known ones of the bank.

    SimMatch, equations 3 and 4; CoMatch, equation 7. Where nothing is known all entries share alike.

    Args:
        bank: Embeddings of length 1.
    """
    nearness = F.normalize(z, dim=-1) @ bank.T / temperature
    return nearness.masked_fill(~known, LOG_ODDS_OF_UNKNOWN).log_softmax(-1)


def unfolded(
    relation: Float[Tensor, "n m"], probs: Float[Tensor, "n k"], labels: Int[Tensor, "m"]
) -> Float[Tensor, "n m"]:
    """Relations to labeled entries, times the probability of each entry's class, rescaled (SimMatch, equation 8)."""
    weighed = relation * probs[:, labels]
    # The sum is 0 where the bank holds nothing of the predicted classes; such a row has no relations then.
    return weighed / weighed.sum(-1, keepdim=True).clamp(min=1e-12)


def aggregated(relation: Float[Tensor, "n m"], labels: Int[Tensor, "m"], num_classes: int) -> Float[Tensor, "n k"]:
    """The sum of each row's relations to the entries of each class (SimMatch, equation 9)."""
    return relation @ F.one_hot(labels, num_classes).to(relation.dtype)


def agreement_graph(
    probs: Float[Tensor, "u k"], others: Float[Tensor, "n k"], itself: Float[Tensor, "u n"], threshold: float
) -> Float[Tensor, "u n"]:
    """Edges from each row to those that agree on the class, shares of 1 (CoMatch, equation 9).

    Args:
        itself: 1 where a row of `others` is the row, which it is always tied to by weight 1.
        threshold: Scalar product of class probabilities below which two rows have no edge.
    """
    agreement = probs @ others.T
    edges = torch.where(itself > 0, itself, torch.where(agreement >= threshold, agreement, 0.0))
    return edges / edges.sum(-1, keepdim=True)


def graph_contrast(
    z: Float[Tensor, "u d"], others: Float[Tensor, "n d"], graph: Float[Tensor, "u n"], temperature: float
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the graph's edges to the softmax of nearness of embeddings (CoMatch, equation 11)."""
    nearness = F.normalize(z, dim=-1) @ F.normalize(others, dim=-1).T / temperature
    return -(graph * nearness.log_softmax(-1)).sum(-1).mean()

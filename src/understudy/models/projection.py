"""Small networks on the classifier's features, which train beside it and are not served."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def perceptron(*widths: int, norm: bool = False) -> nn.Sequential:
    """Linear layers from each width to the next, with ReLU between them.

    Args:
        norm: Whether each hidden layer is normalized, row by row.
    """
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        if layers:
            layers += [nn.LayerNorm(width), nn.ReLU()] if norm else [nn.ReLU()]
        layers.append(nn.Linear(width, following))
    return nn.Sequential(*layers)

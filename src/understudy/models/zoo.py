"""Networks by name: each takes floats in [0, 1] and gives one logit per class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.errors import UserError, nearest
from understudy.models.plain import CNN, MLP
from understudy.models.residual import ResNetSmall, WideResNet

SMALLEST_PX = 8
IMAGE_NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {
    "resnet_small": ResNetSmall,
    "wrn_28_2": WideResNet,
    "cnn": CNN,
}
VECTOR_NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {"mlp": MLP}


def names() -> tuple[str, ...]:
    """The networks of this package; `timm:NAME` and `torchvision:NAME` name those of the two libraries."""
    return (*IMAGE_NETWORKS, *VECTOR_NETWORKS)


def build(
    name: str,
    *,
    shape: tuple[int, ...],
    num_classes: int,
    pretrained: bool = False,
    weights_file: str | Path | None = None,
) -> nn.Module:
    """A new network of that name for rows of that shape.

    Args:
        shape: (channels, height, width) of an image, or (features,) of a vector.

    Raises:
        UserError: the name is unknown, or does not go with the shape, class count or weights.
    """
    table = IMAGE_NETWORKS | VECTOR_NETWORKS
    if name not in table:
        raise UserError(f"there is no network {name!r}; {nearest(name, table)}")
    _check_sizes(name, shape, num_classes)
    if pretrained or weights_file is not None:
        raise UserError(f"{name} has no pretrained weights; leave them out, or take timm:NAME or torchvision:NAME")
    return table[name](shape, num_classes)


def _check_sizes(name: str, shape: tuple[int, ...], num_classes: int) -> None:
    if num_classes < 2:
        raise UserError(
            f"a classifier needs at least 2 classes, and there is {num_classes}; label images of another class"
        )
    if name in VECTOR_NETWORKS:
        if len(shape) != 1:
            raise UserError(f"{name} takes vectors, and the rows have shape {shape}; for images take resnet_small")
    elif len(shape) != 3:
        raise UserError(
            f"{name} takes images (channels, height, width), and the rows have shape {shape}; for vectors take mlp"
        )
    elif min(shape[1:]) < SMALLEST_PX:
        raise UserError(
            f"{name} needs images of at least {SMALLEST_PX} px a side, and these have {shape[1]}x{shape[2]}"
        )

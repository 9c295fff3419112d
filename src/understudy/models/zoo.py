"""Networks by name: each takes floats in [0, 1] and gives one logit per class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.arguments import quoted
from understudy.core.errors import UserError, nearest
from understudy.models.heads import MLP_HEAD, check_network, feature_width, with_head
from understudy.models.mobilenet import MobileNetV1
from understudy.models.own import as_module, is_code, prepared
from understudy.models.pretrained import build_timm, build_torchvision, check_torchvision, timm_config
from understudy.models.residual import ResNet18, ResNetMedium, ResNetSmall, WideResNet
from understudy.models.small_networks import CNN, MLP
from understudy.models.weights import load_weights

SMALLEST_PX = 8  # of scikit-learn's digits; smaller ones vanish in the strides
IMAGE_NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {
    "resnet_small": ResNetSmall,
    "resnet_medium": ResNetMedium,
    "wrn_28_2": WideResNet,
    "resnet18": ResNet18,
    "mobilenet_v1": MobileNetV1,
    "cnn": CNN,
}
VECTOR_NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {"mlp": MLP}
LIBRARIES = {"timm": build_timm, "torchvision": build_torchvision}
NAME_CHECKS: dict[str, Callable[[str], object]] = {"timm": timm_config, "torchvision": check_torchvision}


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
        name: With `+mlp` at its end, a perceptron of two layers stands in place of the network's head.
        shape: (channels, height, width) of an image, or (features,) of a vector.
        pretrained: Whether the library's published weights are fetched; `weights_note` tells their licence.
        weights_file: A state_dict of the same network, .safetensors or .pth; the class count may differ.

    Raises:
        UserError: the name is unknown, or does not go with the shape, class count or weights.
    """
    if name.endswith(MLP_HEAD):
        network = build(
            name.removesuffix(MLP_HEAD),
            shape=shape,
            num_classes=num_classes,
            pretrained=pretrained,
            weights_file=weights_file,
        )
        return with_head(network, MLP((feature_width(network),), num_classes))
    if is_code(name):
        if pretrained or weights_file is not None:
            raise UserError(f"pretrained and weights_file do not go with {name}; load the weights in your code")
        return prepared(as_module(name), shape, num_classes)[0]
    check_name(name)
    library, colon, inner = name.partition(":")
    _check_sizes(name, shape, num_classes)
    if pretrained and weights_file is not None:
        raise UserError("pretrained and weights_file were both given; choose one")
    if colon:
        network = LIBRARIES[library](inner, shape, num_classes, pretrained, weights_file)
        check_network(network, shape, num_classes)
        return network
    if pretrained:
        raise UserError(f"{name} has no pretrained weights; give weights_file=, or take timm:NAME or torchvision:NAME")
    network = (IMAGE_NETWORKS | VECTOR_NETWORKS)[name](shape, num_classes)
    if weights_file is not None:
        load_weights(network, weights_file)
    return network


def check_name(name: str) -> None:
    """Validate the name of a network before any image is read; own code is not run.

    Raises:
        UserError: No network has that name, or the library that should have it is not installed.
    """
    name = name.removesuffix(MLP_HEAD)
    library, colon, inner = name.partition(":")
    if colon and library in LIBRARIES:
        NAME_CHECKS[library](inner)
    elif name not in names() and not is_code(name):
        raise UserError(
            f"there is no network {quoted(name)}; {nearest(name, (*names(), 'timm:NAME', 'torchvision:NAME'))}"
        )


def _check_sizes(name: str, shape: tuple[int, ...], num_classes: int) -> None:
    if num_classes < 2:
        raise UserError(
            f"a classifier needs at least 2 classes, and there is {num_classes}; label images of another one"
        )
    if min(shape, default=0) < 1 or len(shape) not in (1, 3):
        raise UserError(f"rows of shape {shape} fit no network; give (channels, height, width) or (features,)")
    if name in VECTOR_NETWORKS and len(shape) != 1:
        raise UserError(f"{name} takes vectors, and the rows have shape {shape}; for images take resnet_small")
    if name not in VECTOR_NETWORKS and len(shape) != 3:
        raise UserError(f"{name} takes images, and the rows are vectors of shape {shape}; for vectors take mlp")
    if len(shape) == 3 and min(shape[1:]) < SMALLEST_PX:
        raise UserError(
            f"{name} needs images of at least {SMALLEST_PX} px a side, and these have {shape[1]}x{shape[2]}"
        )

"""MobileNet-v1: depthwise and pointwise convolutions, 32 times smaller at the end than at the start."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.normalize import Normalize

WIDTHS_AND_STRIDES = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


class DepthwiseConv(nn.Conv2d):
    """A 3x3 convolution of each channel alone, in float32 on a CPU whatever the type of the layers around it.

    Its weight gradient in bfloat16 is many times slower there than the arithmetic it saves.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(width, width, 3, stride=stride, padding=1, groups=width, bias=False)

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:  # noqa: A002 - nn.Conv2d's name
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


class MobileNetV1(nn.Module):
    """The network of Howard et al. (arXiv 1704.04861) with width multiplier 1: a stride of 32 in all."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.normalize = Normalize(shape[0])
        width = 32
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        for width_out, stride in WIDTHS_AND_STRIDES:
            layers += [DepthwiseConv(width, stride), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width_out, 1, bias=False), nn.BatchNorm2d(width_out), nn.ReLU()]
            width = width_out
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        x = F.adaptive_avg_pool2d(self.body(self.normalize(x)), 1).flatten(1)
        logits: Tensor = self.head(x)
        return logits

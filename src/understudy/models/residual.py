"""Residual networks: the small default for a CPU, and two from the literature."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.normalize import Normalize, PatchWhitening

Images = Float[Tensor, "n c h w"]
Maps = Float[Tensor, "n c2 h2 w2"]
Logits = Float[Tensor, "n k"]
SMALL_STEM_UP_TO_PX = 64  # above, the stem of He et al. (2016) for 224 px; below, that of their CIFAR networks
SMALLEST_WHITENED_PX = 16  # patches of 4 px at stride 2 leave too small a map of smaller images
LARGEST_FIRST_STAGE_PX = 24  # of the first blocks' maps, which cost most: 32 px images at stride 2 have 16


def conv3x3(width_in: int, width_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the side at stride 1."""
    return nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False)


def step(width_in: int, width_out: int, stride: int) -> list[nn.Module]:
    """The layers of a convolution that changes width or resolution."""
    return [conv3x3(width_in, width_out, stride), nn.BatchNorm2d(width_out), nn.ReLU()]


class SmallBlock(nn.Module):
    """Two 3x3 convolutions whose sum with the input starts as the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = conv3x3(width, width), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Images) -> Images:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


class ResNetSmall(nn.Module):
    """A residual net of short stages, the default on a CPU, for images of 8 to 224 px.

    A frozen whitening of 4x4 patches halves a 32 px image before the first trained convolution, because at 32 px one
    3x3 convolution costs as much as a whole stage at 16 px; larger images are brought down to 24 px or less first.
    The widths are small because under a CPU budget the number of images seen decides: supervised on 5,000 CIFAR-10
    labels for 240 CPU seconds, widths from 32 reached 70.7 % of held-out training images and widths from 48 68.1 %.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, widths: tuple[int, ...] | None = None) -> None:
        super().__init__()
        tiny = min(shape[1:]) < SMALLEST_WHITENED_PX
        widths = widths or ((32, 64) if tiny else (32, 64, 128))
        channels, size, first = shape[0], max(shape[1:]), widths[0]
        self.normalize = Normalize(channels)
        layers: list[nn.Module] = []
        if tiny:
            layers += step(channels, first, stride=1)
        else:
            stride = 2 if size <= SMALL_STEM_UP_TO_PX else 4
            whitening = PatchWhitening(channels, patch=4, stride=stride, padding=1 if stride == 2 else 0)
            mix = nn.Conv2d(whitening.out_channels, first, 1, bias=False)
            layers += [whitening, nn.ReLU(), mix, nn.BatchNorm2d(first), nn.ReLU()]
            size //= stride
        while size > LARGEST_FIRST_STAGE_PX:
            layers += step(first, first, stride=2)
            size //= 2
        layers.append(SmallBlock(first))
        for width_in, width_out in pairwise(widths):
            layers += [*step(width_in, width_out, stride=2), SmallBlock(width_out)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Images) -> Logits:
        x = self.body(self.normalize(x))
        logits: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class ResNetMedium(ResNetSmall):
    """The small residual net at twice its widths: four times the arithmetic, for budgets that would pass it often."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        tiny = min(shape[1:]) < SMALLEST_WHITENED_PX
        super().__init__(shape, num_classes, widths=(64, 128) if tiny else (64, 128, 256))


class WideBlock(nn.Module):
    """Pre-activation block of WRN-28-2; the first block also activates the shortcut."""

    def __init__(self, width_in: int, width_out: int, stride: int, activate_before: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width_in, eps=1e-3), conv3x3(width_in, width_out, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(width_out, eps=1e-3), conv3x3(width_out, width_out)
        self.activate_before = activate_before
        same = width_in == width_out
        self.shortcut = None if same else nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False)

    def forward(self, x: Images) -> Maps:
        y = F.leaky_relu(self.norm1(x), 0.1)
        shortcut = y if self.activate_before else x
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        total: Tensor = shortcut + self.conv2(F.leaky_relu(self.norm2(self.conv1(y)), 0.1))
        return total


class WideResNet(nn.Module):
    """WRN-28-2 with leaky ReLU of slope 0.1, the network of FixMatch and TorchSSL: 1.47 million parameters.

    Differs from the paper: running statistics move by 0.1 a step where the references take 0.001, which is right for
    a million steps and leaves a run of a thousand with the statistics of its initialization.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        widths, blocks_per_stage = (16, 32, 64, 128), 4
        self.normalize = Normalize(shape[0])
        self.stem = conv3x3(shape[0], widths[0])
        blocks: list[nn.Module] = []
        for stage in range(3):
            for index in range(blocks_per_stage):
                first = index == 0
                width_in, stride = (widths[stage], 1 if stage == 0 else 2) if first else (widths[stage + 1], 1)
                blocks.append(WideBlock(width_in, widths[stage + 1], stride, activate_before=first and stage == 0))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(widths[-1], eps=1e-3)
        self.head = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1, mode="fan_out", nonlinearity="leaky_relu")
        nn.init.xavier_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Images) -> Logits:
        x = F.leaky_relu(self.norm(self.blocks(self.stem(self.normalize(x)))), 0.1)
        logits: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the sum starts as the shortcut alone."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3x3(width_in, width_out, stride), nn.BatchNorm2d(width_out)
        self.conv2, self.norm2 = conv3x3(width_out, width_out), nn.BatchNorm2d(width_out)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False), nn.BatchNorm2d(width_out)
            )

    def forward(self, x: Images) -> Maps:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + y)


class ResNet18(nn.Module):
    """ResNet-18; up to 64 px the stem is one 3x3 convolution, beyond that the 7x7 one with stride 4 of the paper."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.normalize = Normalize(shape[0])
        small = max(shape[1:]) <= SMALL_STEM_UP_TO_PX
        entry = conv3x3(shape[0], 64) if small else nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
        stem: list[nn.Module] = [entry, nn.BatchNorm2d(64), nn.ReLU()]
        self.stem = nn.Sequential(*stem, *([] if small else [nn.MaxPool2d(3, stride=2, padding=1)]))
        blocks: list[nn.Module] = []
        width = 64
        for width_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [BasicBlock(width, width_out, stride), BasicBlock(width_out, width_out, 1)]
            width = width_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Images) -> Logits:
        x = self.blocks(self.stem(self.normalize(x)))
        logits: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits

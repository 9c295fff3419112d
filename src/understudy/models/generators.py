"""Networks that turn random vectors into images, or into rows of numbers, that look like training rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.normalize import Normalize

SMALLEST_MAP_PX = 4  # of the first map, as in DCGAN (Radford et al., 2016)
# Channels at full resolution and at most. DCGAN has 64 and 1024 on a GPU; these cost about as much as the classifier.
FINEST_WIDTH, COARSEST_WIDTH = 16, 128


class _Bound(torch.autograd.Function):
    """Clamping to [0, 1] whose gradient is blocked only where a descent step would leave the range further.

    A sigmoid's gradient vanishes where an image is black or white. A generator of images with a black background then
    has no way back once all its pixels are black.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values,), (gradient,) = ctx.saved_tensors, gradients
        outwards = ((values < 0) & (gradient > 0)) | ((values > 1) & (gradient < 0))
        return gradient.masked_fill(outwards, 0.0)


class ImageGenerator(nn.Module):
    """Images in [0, 1] of exactly the given shape: a map of 4 px or less, doubled and convolved up to full size.

    Channels double with every halving of the side, so each resolution costs about as much. Maps are normalized image
    by image: an image then depends on its own random vector alone, in a batch of any size and on any process. The
    output starts with the mean and the spread of the data's channels, and is clamped without losing its gradient.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, int, int], latent_width: int) -> None:
        super().__init__()
        channels, *size = shape
        self.sizes = [tuple(size)]
        while max(self.sizes[0]) > SMALLEST_MAP_PX:
            self.sizes.insert(0, tuple(-(-side // 2) for side in self.sizes[0]))
        widths = [min(COARSEST_WIDTH, FINEST_WIDTH << level) for level in reversed(range(len(self.sizes)))]
        height, width = self.sizes[0]
        self.start = nn.Linear(latent_width, widths[0] * height * width)
        self.start_norm = nn.GroupNorm(8, widths[0])
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, after) for after in widths[1:])
        self.finish = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.register_buffer("mean", torch.full((channels,), 0.5))
        self.register_buffer("std", torch.full((channels,), 0.25))

    def forward(self, latents: Float[Tensor, "n z"]) -> Float[Tensor, "n c h w"]:
        maps = self.start(latents).unflatten(1, (-1, *self.sizes[0]))
        maps = F.relu(self.start_norm(maps))
        for size, conv, norm in zip(self.sizes[1:], self.convs, self.norms, strict=True):
            maps = F.relu(norm(conv(F.interpolate(maps, size=size, mode="nearest"))))
        bounded: Tensor = _Bound.apply(self.mean[:, None, None] + self.std[:, None, None] * self.finish(maps))
        return bounded


class VectorGenerator(nn.Module):
    """Rows of numbers, such as points in the plane: a normal distribution as wide as the data, bent by two layers.

    Starting wide matters: a generator that starts as a small cloud sends it from place to place, and the classifier
    forgets what it learned elsewhere.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, latent_width: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, features)
        )
        self.spread = nn.Linear(latent_width, features, bias=False)
        nn.init.normal_(self.spread.weight, std=latent_width**-0.5)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def forward(self, latents: Float[Tensor, "n z"]) -> Float[Tensor, "n d"]:
        rows: Tensor = self.mean + self.std * (self.spread(latents) + self.layers(latents))
        return rows


def generator(shape: tuple[int, ...], latent_width: int, *, like: nn.Module | None = None) -> nn.Module:
    """A new generator of rows of that shape.

    Args:
        like: A classifier whose fitted input layer knows the mean and the spread of the data.
    """
    made: ImageGenerator | VectorGenerator
    if len(shape) == 3:
        made = ImageGenerator((shape[0], shape[1], shape[2]), latent_width)
    else:
        made = VectorGenerator(shape[0], latent_width)
    normalize = None if like is None else next((m for m in like.modules() if isinstance(m, Normalize)), None)
    if normalize is not None and normalize.mean.shape == made.mean.shape:
        made.mean.copy_(normalize.mean)
        made.std.copy_(normalize.std)
    return made

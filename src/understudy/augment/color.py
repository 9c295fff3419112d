"""The operations of RandAugment that change levels and leave every pixel in its place.

Each maps uint8 images and one magnitude per image to uint8 images, as Pillow and torchvision define it. Arithmetic in
float32, stored by way of int16, is two to four times faster on a processor than a look-up table per image; only
`equalize` needs the table. Products are added by separate operations, never fused, so that an image's levels do not
depend on where in a batch it stands.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Images = UInt8[Tensor, "n c h w"]
Magnitude = Float[Tensor, "n"]


def to_levels(values: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Values in [0, 256) cut to whole levels; int16 in between takes the vectorized path that uint8 lacks."""
    return values.to(torch.int16).to(torch.uint8)


def identity(images: Images, magnitude: Magnitude) -> Images:  # noqa: ARG001 - one signature for all operations
    """The images themselves."""
    return images


def brightness(images: Images, magnitude: Magnitude) -> Images:
    """Images blended with black: 0 is black, 1 the original."""
    return to_levels(images.float().mul_(_per_image(magnitude)).clamp_(max=255))


def contrast(images: Images, magnitude: Magnitude) -> Images:
    """Images blended with their mean gray level: 0 is flat gray, 1 the original."""
    mean = _gray(images).sum(-1).double().mean((-1, -2)).div_(images.shape[-1]).float()
    return _blend(images.float(), _per_image(mean), magnitude)


def color(images: Images, magnitude: Magnitude) -> Images:
    """Images blended with their gray version: 0 is black and white, 1 the original."""
    return _blend(images.float(), _gray(images), magnitude) if images.shape[1] == 3 else images


def sharpness(images: Images, magnitude: Magnitude) -> Images:
    """Images blended with their smoothed version, borders untouched: 0 is smooth, 1 the original."""
    height, width = images.shape[-2:]
    if height <= 2 or width <= 2:
        return images
    # Sums run over the flat memory, which vectorizes; they mix neighboring rows and images only in border pixels.
    levels = images.to(torch.int16).flatten()
    rows = (levels[: -2 * width] + levels[width:-width]).add_(levels[2 * width :])
    total = (rows[:-2] + rows[1:-1]).add_(rows[2:]).add_(levels[width + 1 : -width - 1], alpha=4)
    original = images.float()
    smooth = torch.zeros_like(original)
    smooth.view(-1)[width + 1 : -width - 1] = total.float().div_(13).round_()
    sharp = to_levels(smooth.sub_(original).mul_(1 - _per_image(magnitude)).add_(original).clamp_(0, 255))
    for edge in (0, -1):
        sharp[..., edge, :] = images[..., edge, :]
        sharp[..., edge] = images[..., edge]
    return sharp


def posterize(images: Images, magnitude: Magnitude) -> Images:
    """Images with only the highest bits of each level kept, a whole number of bits from 0 to 8."""
    return images & (256 - torch.exp2(8 - magnitude.floor())).to(torch.int16).to(torch.uint8)[:, None, None, None]


def solarize(images: Images, magnitude: Magnitude) -> Images:
    """Images with every level at or above the magnitude, from 0 to 255, inverted."""
    bright = images >= to_levels(magnitude.ceil())[:, None, None, None]
    return bright.view(torch.uint8).neg().bitwise_xor_(images)


def autocontrast(images: Images, magnitude: Magnitude) -> Images:  # noqa: ARG001 - one signature for all operations
    """Images with the levels of each channel stretched to the full range; a channel of one level stays."""
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    flat = low == high
    low = low.masked_fill(flat, 0).float()
    scale = (high.float() - low).mul_(1 / 255).masked_fill_(flat, 1)
    return to_levels(images.float().sub_(low).div_(scale).clamp_(max=255))


def equalize(images: Images, magnitude: Magnitude) -> Images:  # noqa: ARG001 - one signature for all operations
    """Images with the histogram of each channel made as flat as Pillow makes it."""
    levels = images.flatten(-2).long()
    one = torch.ones((), dtype=torch.int32, device=images.device)
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(-1, levels, one.expand_as(levels))
    brightest = counts.gather(-1, images.flatten(-2).amax(-1, keepdim=True).long())
    step = (levels.shape[-1] - brightest).div_(255, rounding_mode="floor")
    darker = counts.cumsum(-1, dtype=torch.int32).sub_(counts)
    table = darker.add_(step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = table.where(step > 0, torch.arange(256, dtype=torch.int32, device=images.device)).to(torch.uint8)
    return table.gather(-1, levels).view_as(images)


def _per_image(magnitude: Magnitude) -> Float[Tensor, "n 1 1 1"]:
    return magnitude[:, None, None, None]


def _gray(images: Images) -> Float[Tensor, "n 1 h w"]:
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.float().unbind(1)
    return (red * 0.2989).add_(green * 0.587).add_(blue * 0.114).floor_().unsqueeze(1)


def _blend(
    images: Float[Tensor, "n c h w"], other: Float[Tensor, "n #c #h #w"], magnitude: Magnitude
) -> UInt8[Tensor, "n c h w"]:
    share = _per_image(magnitude)
    return to_levels(images.mul_(share).add_(other * (1 - share)).clamp_(0, 255))

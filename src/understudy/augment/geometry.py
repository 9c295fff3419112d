"""The operations that move pixels: crops and turns of weak views, affine maps of RandAugment, and Cutout.

Images are uint8 and square. Affine maps take the nearest pixel, as Pillow and torchvision do by default, and leave
black where the image does not reach; they turn and shear about the center.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from understudy.augment.color import Images, Magnitude, to_levels

_GRAY_LEVEL = 127  # the fill of Cutout in FixMatch's code: the middle of 0 to 255


def crop(
    images: UInt8[Tensor, "n c s s"],
    top: Int[Tensor, "n"],
    left: Int[Tensor, "n"],
    size: int,
    *,
    reflect: bool,
    flip_rows: Bool[Tensor, "n"],
    flip_columns: Bool[Tensor, "n"],
) -> UInt8[Tensor, "n c size size"]:
    """Windows of the images, upside down or mirrored where asked.

    Args:
        reflect: Whether the image goes on past its border as its reflection, rather than as its outermost pixels.
    """
    n, channels, side, _ = images.shape
    beyond = _reflect if reflect else _hold
    steps = torch.arange(size, device=images.device)
    rows = _flip(beyond(steps + top[:, None], side), flip_rows)
    columns = _flip(beyond(steps + left[:, None], side), flip_columns)
    source = ((rows * side)[:, :, None] + columns[:, None, :]).view(n, 1, -1).expand(n, channels, size * size)
    return images.flatten(-2).gather(-1, source).view(n, channels, size, size)


def resized_crop(
    images: UInt8[Tensor, "n c s s"],
    box: Float[Tensor, "4 n"],
    size: int,
    *,
    flip_rows: Bool[Tensor, "n"],
    flip_columns: Bool[Tensor, "n"],
) -> UInt8[Tensor, "n c size size"]:
    """Boxes of the images resized with bilinear interpolation, upside down or mirrored where asked.

    Args:
        box: Top, left, height and width in pixels, inside the image.
    """
    n, channels, side, _ = images.shape
    top, left, height, width = box
    centers = (_steps(size, images) + 0.5).div_(size)
    rows = _flip((centers * height[:, None]).add_(top[:, None] - 0.5).clamp_(0, side - 1), flip_rows)
    columns = _flip((centers * width[:, None]).add_(left[:, None] - 0.5).clamp_(0, side - 1), flip_columns)

    upper = rows.long()
    plane = torch.arange(n * channels, device=images.device).view(n, channels, 1) * side
    lines = images.reshape(-1, side)
    above = lines.index_select(0, (plane + upper[:, None]).flatten())
    below = lines.index_select(0, (plane + (upper + 1).clamp_(max=side - 1)[:, None]).flatten())
    shape = (n, channels, size, side)
    picked = _between(above.view(shape).float(), below.view(shape).float(), (rows - upper)[:, None, :, None])

    before = columns.long()
    after = (before + 1).clamp_(max=side - 1)
    shape = (n, channels, size, size)
    first = picked.gather(-1, before[:, None, None].expand(shape))
    second = picked.gather(-1, after[:, None, None].expand(shape))
    return to_levels(_between(first, second, (columns - before)[:, None, None]).add_(0.5))


def transpose(images: UInt8[Tensor, "n c s s"], where: Bool[Tensor, "n"]) -> UInt8[Tensor, "n c s s"]:
    """Images with rows and columns swapped where asked; with both flips this makes every quarter turn."""
    place = torch.arange(len(images), device=images.device) + where * len(images)
    return torch.cat([images, images.mT]).index_select(0, place)


def cutout(
    images: UInt8[Tensor, "n c s s"], side: Int[Tensor, "n"], row: Int[Tensor, "n"], column: Int[Tensor, "n"]
) -> UInt8[Tensor, "n c s s"]:
    """Images with a gray square around a pixel, the part of it that lies inside the image."""
    steps = _steps(images.shape[-1], images)
    rows, columns = ((steps - (at - side // 2)[:, None]) for at in (row, column))
    inside_rows, inside_columns = ((line >= 0) & (line < side[:, None]) for line in (rows, columns))
    hole = (inside_rows[:, None, :, None] & inside_columns[:, None, None, :]).view(torch.uint8)
    return images.mul(1 - hole).add_(hole * _GRAY_LEVEL)


def rotate(images: Images, magnitude: Magnitude) -> Images:
    """Images turned counterclockwise by degrees."""
    angle = magnitude.double().deg2rad()
    cos, sin = angle.cos().float(), angle.sin().float()
    zero = torch.zeros_like(cos)
    return _affine(images, (cos, -sin, zero), (sin, cos, zero))


def shear_x(images: Images, magnitude: Magnitude) -> Images:
    """Images whose rows slide left by the magnitude times their distance below the center."""
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    return _affine(images, (one, magnitude, zero), (zero, one, zero))


def shear_y(images: Images, magnitude: Magnitude) -> Images:
    """Images whose columns slide up by the magnitude times their distance right of the center."""
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    return _affine(images, (one, zero, zero), (magnitude, one, zero))


def translate_x(images: Images, magnitude: Magnitude) -> Images:
    """Images moved right by the magnitude times their width, to the nearest whole pixel."""
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    return _affine(images, (one, zero, -(magnitude * images.shape[-1]).round()), (zero, one, zero))


def translate_y(images: Images, magnitude: Magnitude) -> Images:
    """Images moved down by the magnitude times their height, to the nearest whole pixel."""
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    return _affine(images, (one, zero, zero), (zero, one, -(magnitude * images.shape[-2]).round()))


def _affine(images: Images, to_x: tuple[Tensor, Tensor, Tensor], to_y: tuple[Tensor, Tensor, Tensor]) -> Images:
    """The nearest source pixel of each output pixel; coordinates count from the center, coefficients are (x, y, 1)."""
    n, channels, height, width = images.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    x, y = _steps(width, images) - middle_x, _steps(height, images) - middle_y
    # A border of black, one pixel wide, stands for everything outside.
    source_x = _outer(to_x, x, y, middle_x + 1).round_().clamp_(0, width + 1)
    source_y = _outer(to_y, x, y, middle_y + 1).round_().clamp_(0, height + 1)
    source = source_y.mul_(width + 2).add_(source_x).int().long().view(n, 1, -1).expand(n, channels, height * width)
    return F.pad(images, (1, 1, 1, 1)).flatten(-2).gather(-1, source).view_as(images)


def _outer(
    coefficients: tuple[Tensor, Tensor, Tensor], x: Float[Tensor, "w"], y: Float[Tensor, "h"], origin: float
) -> Float[Tensor, "n h w"]:
    of_x, of_y, constant = (value[:, None] for value in coefficients)
    return (of_x * x)[:, None, :] + ((of_y * y).add_(constant).add_(origin))[:, :, None]


def _steps(count: int, images: Tensor) -> Float[Tensor, "count"]:
    return torch.arange(count, dtype=torch.float32, device=images.device)


def _reflect(position: Int[Tensor, "n m"], side: int) -> Int[Tensor, "n m"]:
    return side - 1 - (side - 1 - position.abs()).abs()


def _hold(position: Int[Tensor, "n m"], side: int) -> Int[Tensor, "n m"]:
    return position.clamp(0, side - 1)


def _flip(position: Tensor, where: Bool[Tensor, "n"]) -> Tensor:
    return torch.where(where[:, None], position.flip(-1), position)


def _between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return second.sub_(first).mul_(share).add_(first)

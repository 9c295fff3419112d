"""Each operation against torchvision's on uint8 images, every image of a batch with a magnitude of its own.

Levels agree to one, since torchvision fuses multiplication and addition and this package does not; most operations
agree exactly. Affine maps agree but for pixels whose source lies halfway between two, where float32 decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as V
from torch import Tensor

from understudy.augment import geometry
from understudy.augment.policy import OPERATIONS

Reference = Callable[[Tensor, float], Tensor]

LEVELS: dict[str, Reference] = {
    "brightness": V.adjust_brightness,
    "color": V.adjust_saturation,
    "contrast": V.adjust_contrast,
    "sharpness": V.adjust_sharpness,
}
EXACT: dict[str, Reference] = {
    "autocontrast": lambda image, _: V.autocontrast(image),
    "equalize": lambda image, _: V.equalize(image),
    "identity": lambda image, _: image,
    "posterize": lambda image, bits: V.posterize(image, int(bits)),
    "solarize": V.solarize,
}
MOVES: dict[str, Reference] = {
    "rotate": V.rotate,
    "shear_x": lambda image, share: _affine(image, shear=[math.degrees(math.atan(share)), 0.0]),
    "shear_y": lambda image, share: _affine(image, shear=[0.0, math.degrees(math.atan(share))]),
    "translate_x": lambda image, share: _affine(image, translate=[round(share * image.shape[-1]), 0]),
    "translate_y": lambda image, share: _affine(image, translate=[0, round(share * image.shape[-2])]),
}


def _affine(image: Tensor, *, translate: list[int] | None = None, shear: list[float] | None = None) -> Tensor:
    return V.affine(image, angle=0.0, translate=translate or [0, 0], scale=1.0, shear=shear or [0.0, 0.0])


def _images(channels: int, size: int) -> Tensor:
    """Smooth random images of differing contrast, one of a single level and one of two."""
    random = torch.Generator().manual_seed(size + channels)
    coarse = torch.rand(8, channels, 7, 7, generator=random)
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    images = images * torch.linspace(60, 300, 8)[:, None, None, None] + torch.linspace(60, -30, 8)[:, None, None, None]
    images = images.clamp(0, 255).to(torch.uint8)
    images[3] = 77
    images[4, :, : size // 2] = 10
    images[4, :, size // 2 :] = 11
    return images


def _run(name: str, channels: int, size: int, reference: Reference) -> tuple[Tensor, Tensor]:
    operation, images = OPERATIONS[name], _images(channels, size)
    magnitude = torch.linspace(operation.low, operation.high * 0.999, len(images))
    before = images.clone()
    ours = operation.apply(images, magnitude)
    assert torch.equal(images, before), "an operation must not write into its input"
    theirs = torch.stack([reference(image, float(by)) for image, by in zip(images, magnitude, strict=True)])
    assert ours.dtype == torch.uint8
    return ours.int(), theirs.int()


def test_operations__are_the_fourteen_of_fixmatch() -> None:
    assert set(OPERATIONS) == LEVELS.keys() | EXACT.keys() | MOVES.keys()
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("size", [28, 32, 224])
@pytest.mark.parametrize("channels", [1, 3])
class TestAgainstTorchvision:
    @pytest.mark.parametrize("name", LEVELS)
    def test_level_operation__within_one_level(self, name: str, channels: int, size: int) -> None:
        ours, theirs = _run(name, channels, size, LEVELS[name])
        assert (ours - theirs).abs().max() <= 1
        assert (ours != theirs).float().mean() < 0.01

    @pytest.mark.parametrize("name", EXACT)
    def test_exact_operation__equal(self, name: str, channels: int, size: int) -> None:
        ours, theirs = _run(name, channels, size, EXACT[name])
        assert torch.equal(ours, theirs)

    @pytest.mark.parametrize("name", MOVES)
    def test_move__equal_but_for_ties(self, name: str, channels: int, size: int) -> None:
        ours, theirs = _run(name, channels, size, MOVES[name])
        assert (ours != theirs).float().mean() < 0.002


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_move__opposite_signs_differ(name: str) -> None:
    images = _images(1, 32)[:1]
    right, left = (OPERATIONS[name].apply(images, torch.tensor([sign * 0.3])) for sign in (1, -1))
    assert name == "rotate" or not torch.equal(right, left)


@pytest.mark.parametrize(("flip_rows", "flip_columns"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_crop__equals_numpy_padding(mode: Literal["reflect", "edge"], flip_rows: bool, flip_columns: bool) -> None:
    images = _images(3, 28)
    top, left = torch.arange(-4, 4), torch.arange(3, -5, -1)
    flags = [torch.full((8,), flag) for flag in (flip_rows, flip_columns)]
    reflect = mode == "reflect"
    ours = geometry.crop(images, top, left, 28, reflect=reflect, flip_rows=flags[0], flip_columns=flags[1])
    for index, (row, column) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        padded = np.pad(images[index].numpy(), ((0, 0), (4, 4), (4, 4)), mode=mode)
        expected = padded[:, row + 4 : row + 32, column + 4 : column + 32]
        expected = expected[:, ::-1] if flip_rows else expected
        expected = expected[:, :, ::-1] if flip_columns else expected
        np.testing.assert_array_equal(ours[index].numpy(), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("canvas", "size"), [(37, 32), (256, 224)])
def test_resized_crop__within_one_level_of_torchvision(channels: int, canvas: int, size: int) -> None:
    images = _images(channels, canvas)
    boxes = [(0, 0, canvas, canvas), (3, 2, canvas - 5, canvas - 9), (1, 4, canvas - 8, canvas - 4)]
    flip = torch.tensor([False, True, False])
    box = torch.tensor(boxes).float().T
    ours = geometry.resized_crop(images[:3], box, size, flip_rows=flip & False, flip_columns=flip)
    for index, (image, (top, left, height, width)) in enumerate(zip(images[:3], boxes, strict=True)):
        expected = V.resized_crop(image.float(), top, left, height, width, [size, size], antialias=False)
        expected = V.horizontal_flip(expected) if flip[index] else expected
        assert (ours[index] - expected.round()).abs().max() <= 1


def test_transpose__swaps_only_where_asked() -> None:
    images = _images(3, 28)[:2]
    ours = geometry.transpose(images, torch.tensor([True, False]))
    assert torch.equal(ours[0], images[0].mT)
    assert torch.equal(ours[1], images[1])


def test_cutout__fills_the_part_of_the_square_inside_with_gray() -> None:
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    side, row, column = torch.tensor([0, 4, 4]), torch.tensor([3, 0, 4]), torch.tensor([3, 7, 4])
    ours = geometry.cutout(images, side, row, column)
    expected = torch.zeros_like(images)
    expected[1, :, :2, 5:] = 127
    expected[2, :, 2:6, 2:6] = 127
    assert torch.equal(ours, expected)

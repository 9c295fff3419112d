"""Pictures with large and small shapes, as photographs have, and what happens to files on their way."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from understudy.data.collection import Collection
from understudy.data.load import load

SIDE = 48


def photo(seed: int, side: int = SIDE) -> Image.Image:
    """A colored gradient with some sharp discs, bars and a little grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    angle = random.uniform(0, 6.28)
    ramp = 0.5 + 0.5 * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5))
    pixels = ramp[..., None] * random.uniform(40, 220, 3)
    for _ in range(9):
        cx, cy, radius = *random.uniform(0, 1, 2), random.uniform(0.06, 0.25)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        if random.random() < 0.4:
            inside = (abs(x - cx) < radius) & (abs(y - cy) < radius / 2)
        pixels[inside] = random.uniform(0, 255, 3)
    pixels += random.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    margin = share * image.width / 2
    box = (margin, margin, image.width - margin, image.height - margin)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 60": lambda image: jpeg(image, 60),
    "jpeg 30": lambda image: jpeg(image, 30),
    "resized": lambda image: image.resize((image.width // 2,) * 2).resize(image.size, Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.12),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.15),
    "cropped 3 %": lambda image: cropped(image, 0.03),
}
FLAWED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blank": lambda image: jpeg(Image.new("RGB", image.size, (90, 120, 60)), 60),
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.1),
    "overexposed": lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.88),
    "blurry": lambda image: image.filter(ImageFilter.GaussianBlur(2.5)),
    "gray": lambda image: image.convert("L").convert("RGB"),
}


def rows_of(images: list[Image.Image]) -> torch.Tensor:
    """The images as uint8 [n 3 h w]."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2).copy())


def collected(images: list[Image.Image], labels: list[int], **more: object) -> Collection:
    """A collection of images in memory."""
    return load((np.stack([np.asarray(image) for image in images]), labels), **more)  # type: ignore[arg-type]

"""Robustness: common corruptions of images at five strengths."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import UserError, nearest
from understudy.core.seeding import generator

STRENGTHS = (1, 2, 3, 4, 5)  # the five of CIFAR-10-C
_REFERENCE_PX = 32  # side of the CIFAR-10-C images whose blurs and clouds are scaled

Images = NDArray[np.uint8]
Unit = NDArray[np.float32]
Draw = np.random.Generator


@dataclass(frozen=True)
class Robustness:
    """Accuracy on clean images, and by corruption at strengths 1 to 5."""

    n: int
    clean: float
    accuracy: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean over all corruptions and strengths."""
        shares = [share for by_strength in self.accuracy.values() for share in by_strength]
        return sum(shares) / len(shares)


def corrupt(images: Images, corruption: str, strength: int, seed: int = 0) -> Images:
    """The uint8 images [n c h w] under one of `CORRUPTIONS`; strength 0 leaves them as they are.

    The corruptions and most of their strengths, the tables of five numbers below, are those of CIFAR-10-C (Hendrycks
    and Dietterich, 2019, https://arxiv.org/abs/1903.12261). Lengths scale with the side of the image, from their 32 px.
    The corruption of an image depends on the seed and on its position in the array.

    Raises:
        UserError: The corruption or the strength is unknown.
    """
    if corruption not in CORRUPTIONS:
        raise UserError(f"there is no corruption {corruption!r}; {nearest(corruption, CORRUPTIONS)}")
    if strength == 0:
        return images
    if strength not in STRENGTHS:
        raise UserError(f"corruptions have strengths 1 to 5, or 0 for none, but {strength} was given")
    unit: Unit = images.astype(np.float32) / np.float32(255)
    changed = CORRUPTIONS[corruption](unit, strength - 1, generator("corruption", corruption, strength, seed))
    rounded: Images = np.round(changed.clip(0, 1) * 255).astype(np.uint8)
    return rounded


def gaussian_noise(images: Unit, level: int, draw: Draw) -> Unit:
    """Images with normal noise, as of a sensor in low light."""
    return images + (0.04, 0.06, 0.08, 0.09, 0.10)[level] * draw.standard_normal(images.shape, np.float32)


def shot_noise(images: Unit, level: int, draw: Draw) -> Unit:
    """Images with Poisson noise, as of few photons."""
    photons = (500, 250, 100, 75, 50)[level]
    counted: Unit = (draw.poisson(images * photons) / photons).astype(np.float32)
    return counted


def impulse_noise(images: Unit, level: int, draw: Draw) -> Unit:
    """Images with some values set to black or white."""
    share, drawn = (0.01, 0.02, 0.03, 0.05, 0.07)[level], draw.random(images.shape, np.float32)
    return np.where(drawn < share, np.float32(0) + (drawn < share / 2), images)


def speckle_noise(images: Unit, level: int, draw: Draw) -> Unit:
    """Images with noise in proportion to the brightness."""
    return images * (1 + (0.06, 0.1, 0.12, 0.16, 0.2)[level] * draw.standard_normal(images.shape, np.float32))


def gaussian_blur(images: Unit, level: int, draw: Draw) -> Unit:  # noqa: ARG001 - one signature for all corruptions
    """Images out of focus."""
    from scipy.ndimage import gaussian_filter

    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[level] * _scale(images)
    blurred: Unit = gaussian_filter(images, (0, 0, sigma, sigma), mode="nearest")
    return blurred


def motion_blur(images: Unit, level: int, draw: Draw) -> Unit:  # noqa: ARG001 - one signature for all corruptions
    """Images of a camera that moved sideways."""
    from scipy.ndimage import gaussian_filter1d

    blurred: Unit = gaussian_filter1d(images, (0.8, 1.1, 1.4, 1.8, 2.2)[level] * _scale(images), mode="nearest")
    return blurred


def fog(images: Unit, level: int, draw: Draw) -> Unit:
    """Images behind clouds that are denser in some places."""
    from scipy.ndimage import gaussian_filter

    density = (0.2, 0.5, 0.75, 1.0, 1.5)[level]
    clouds = draw.random((len(images), 1, *images.shape[2:]), np.float32)
    layers = [gaussian_filter(clouds, (0, 0, part, part), mode="wrap") for part in np.array(images.shape[2]) / (4, 8)]
    layers = [layer / np.maximum(layer.std((2, 3), keepdims=True), 1e-6) for layer in layers]
    cloud = layers[0] + 0.5 * layers[1]
    low, high = cloud.min((2, 3), keepdims=True), cloud.max((2, 3), keepdims=True)
    cloud = (cloud - low) / np.maximum(high - low, 1e-6)
    brightest = images.max((1, 2, 3), keepdims=True)
    faded: Unit = (images + density * cloud) * brightest / np.maximum(brightest + density, 1e-6)
    return faded


def brightness(images: Unit, level: int, draw: Draw) -> Unit:  # noqa: ARG001 - one signature for all corruptions
    """Images in more light: the largest of a pixel's channels is raised, and the others with it."""
    value = images.max(1, keepdims=True)
    raised = np.minimum(value + np.float32((0.05, 0.1, 0.15, 0.2, 0.3)[level]), 1)
    brighter: Unit = np.where(value > 0, images * raised / np.maximum(value, 1e-6), raised)
    return brighter


def contrast(images: Unit, level: int, draw: Draw) -> Unit:  # noqa: ARG001 - one signature for all corruptions
    """Images with pixels moved towards their mean."""
    mean = images.mean((2, 3), keepdims=True)
    drawn: Unit = (images - mean) * np.float32((0.75, 0.5, 0.4, 0.3, 0.15)[level]) + mean
    return drawn


def pixelate(images: Unit, level: int, draw: Draw) -> Unit:  # noqa: ARG001 - one signature for all corruptions
    """Images taken at a lower resolution."""
    from PIL import Image

    height, width = images.shape[2:]
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[level]
    low = max(1, int(width * share)), max(1, int(height * share))

    def lowered(channel: Unit) -> Unit:
        image = Image.fromarray(channel)
        return np.asarray(image.resize(low, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX))

    return np.stack([[lowered(channel) for channel in image] for image in images])


def jpeg(images: Unit, level: int, draw: Draw) -> Unit:  # noqa: ARG001 - one signature for all corruptions
    """Images after compression."""
    from PIL import Image

    quality = (80, 65, 58, 50, 40)[level]

    def compressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        buffer = io.BytesIO()
        flat = image.transpose(1, 2, 0)
        Image.fromarray(flat[..., 0] if flat.shape[-1] == 1 else flat).save(buffer, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(buffer))
        return (decoded[..., None] if decoded.ndim == 2 else decoded).transpose(2, 0, 1)

    levels = np.round(images * 255).astype(np.uint8)
    result: Unit = np.stack([compressed(image) for image in levels]).astype(np.float32) / np.float32(255)
    return result


CORRUPTIONS: dict[str, Callable[[Unit, int, Draw], Unit]] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        speckle_noise,
        gaussian_blur,
        motion_blur,
        fog,
        brightness,
        contrast,
        pixelate,
        jpeg,
    )
}


def _scale(images: Unit) -> float:
    return float(max(images.shape[2:])) / _REFERENCE_PX

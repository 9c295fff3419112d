"""Numbers that change with the share of training done."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor


def ramp_up(progress: float, end: float) -> float:
    """From 0 to 1 in a straight line, reached at progress `end`; 1 from the start when `end` is 0."""
    return 1.0 if end <= 0 else min(1.0, max(0.0, progress / end))


def cosine_ramp_up(progress: float, end: float) -> float:
    """From 0 to 1 along half a cosine, reached at progress `end`; 1 from the start when `end` is 0."""
    return 0.5 - 0.5 * math.cos(math.pi * ramp_up(progress, end))


def gaussian_ramp_up(progress: float, end: float) -> float:
    """exp(-5 (1 - T)^2), where T rises from 0 to 1 at progress `end`; 1 from the start when `end` is 0.

    The 5 is that of Laine and Aila (2017); with it the ramp starts at 0.7 %.
    """
    return math.exp(-5 * (1 - ramp_up(progress, end)) ** 2)


def cosine_decay(progress: float, final: float) -> float:
    """From 1 to `final` along half a cosine."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def linear_decay(progress: float, final: float) -> float:
    """From 1 to `final` in a straight line."""
    return final + (1 - final) * (1 - min(1.0, progress))


def ema_decay_at(decay: float, num_updates: int) -> float:
    """The decay of a running average that forgets its start: min(decay, (1 + t) / (10 + t)).

    1 and 10 are those of TensorFlow's `ExponentialMovingAverage`: the first update already counts 90 %, and 0.999 is
    reached after 9,000 updates.
    """
    return min(decay, (1 + num_updates) / (10 + num_updates))


def ema_decay_of(num_updates: Float[Tensor, ""], decay: float) -> Float[Tensor, ""]:
    """As `ema_decay_at`, of a count that lives on the device."""
    return ((1 + num_updates) / (10 + num_updates)).clamp(max=decay)

"""Noise for rows that are not images: every element's share comes from a hash of its row's draws and its place."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MASK = 0xFFFF_FFFF  # 32 bits, in which the hash below is defined
_NOISE, _DROPOUT = 1, 2  # purposes, so that the two draws of a row are independent


def perturb(
    rows: Float[Tensor, "n d"],
    draws: Float[Tensor, "n 2"],
    noise: float,
    dropout: float,
    scale: Float[Tensor, "d"] | None,
) -> Float[Tensor, "n d"]:
    """Rows plus Gaussian noise of `noise` times `scale`, with each feature zero at a chance of `dropout`."""
    step = _normal(_hash(draws, rows.shape[1], _NOISE)).mul_(noise)
    noisy = rows + (step if scale is None else step.mul_(scale))
    if dropout == 0:
        return noisy
    return noisy.masked_fill_(_hash(draws, rows.shape[1], _DROPOUT) < round(dropout * 2**32), 0.0)


def _hash(draws: Float[Tensor, "n 2"], width: int, purpose: int) -> Int[Tensor, "n d"]:
    """Thirty-two mixed bits for each row, column and purpose."""
    seed = (draws * 2**24).long()
    mixed = _mix(_mix(seed[:, 0] + purpose * 0x9E37_79B9) + seed[:, 1])
    return _mix(mixed[:, None] + _mix(torch.arange(width, device=draws.device)))


def _mix(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """The finalizer of MurmurHash3 on 32 bits held in 64."""
    value = value & _MASK
    value = ((value ^ (value >> 16)) * 0x85EB_CA6B) & _MASK
    value = ((value ^ (value >> 13)) * 0xC2B2_AE35) & _MASK
    return value ^ (value >> 16)


def _normal(bits: Int[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Standard normal numbers by the inverse distribution function, in double precision and then rounded."""
    centered = (bits.double() + 0.5) / 2**31 - 1
    return torch.erfinv(centered).mul_(math.sqrt(2)).float()

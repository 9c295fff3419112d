"""Named views of a batch: which operations each row gets, decided by its own draws and by nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from understudy.augment import color, geometry, vectors
from understudy.augment.domains import Domain

View = Literal["plain", "weak", "strong"]


@dataclass(frozen=True)
class Operation:
    """An operation, the range its magnitude is drawn from uniformly, and the magnitude that changes nothing."""

    apply: Callable[[Tensor, Tensor], Tensor]
    low: float = 0.0
    high: float = 0.0
    neutral: float = 0.0


# Table 12 of the FixMatch paper.
OPERATIONS: dict[str, Operation] = {
    "autocontrast": Operation(color.autocontrast),
    "brightness": Operation(color.brightness, 0.05, 0.95, neutral=1.0),
    "color": Operation(color.color, 0.05, 0.95, neutral=1.0),
    "contrast": Operation(color.contrast, 0.05, 0.95, neutral=1.0),
    "equalize": Operation(color.equalize),
    "identity": Operation(color.identity),
    "posterize": Operation(color.posterize, 4.0, 9.0, neutral=9.0),  # cut to whole bits: 4 to 8, equally likely
    "rotate": Operation(geometry.rotate, -30.0, 30.0),
    "sharpness": Operation(color.sharpness, 0.05, 0.95, neutral=1.0),
    "shear_x": Operation(geometry.shear_x, -0.3, 0.3),
    "shear_y": Operation(geometry.shear_y, -0.3, 0.3),
    "solarize": Operation(color.solarize, 0.0, 255.0, neutral=255.0),
    "translate_x": Operation(geometry.translate_x, -0.3, 0.3),
    "translate_y": Operation(geometry.translate_y, -0.3, 0.3),
}

_ROUNDS = 2  # operations per image, as in FixMatch (Sohn et al., 2020, appendix D)
_WEAK_DRAWS = 7  # top, left, area, aspect, hflip, upside down, transposed
_STRONG_DRAWS = _WEAK_DRAWS + 2 * _ROUNDS + 3  # (operation, magnitude) per round; cutout's side, row and column
_WIDE_VECTOR = 8  # features from which on one may be dropped without losing the class; points in the plane have 2
_PIECE = 2**20  # values an operation works on at a time on a processor, so that its temporaries stay in the cache


def num_draws(view: View, domain: Domain) -> int:
    """How many uniform numbers a row's view consumes."""
    if view == "plain":
        return 0
    if domain.vector:
        return 2
    return _WEAK_DRAWS if view == "weak" else _STRONG_DRAWS


def render(
    rows: Tensor,
    view: View,
    domain: Domain,
    draws: NDArray[np.float32] | Float32[Tensor, "n k"],
    *,
    size: int,
    scale: Tensor | NDArray[np.float32] | None = None,
) -> Tensor:
    """The rows' view as floats: images [n c size size] in [0, 1], vectors in their own shape and units.

    A row's view depends on the row and its draws alone, to the bit, in whatever batch it is rendered.

    Args:
        rows: uint8 images [n c s s] of 1 or 3 channels on a square canvas of at least `size`, or float vectors.
        draws: Uniform numbers in [0, 1), `num_draws(view, domain)` for each row, in the memory of the processor.
        scale: Standard deviation of each feature of a vector; 1 when absent.
    """
    uniforms = np.ascontiguousarray(draws, dtype=np.float32)
    assert uniforms.shape == (len(rows), num_draws(view, domain)), f"{uniforms.shape} draws for {len(rows)} rows"
    if domain.vector:
        return _render_vectors(rows, view, domain, uniforms, scale)
    assert rows.dtype == torch.uint8, f"images must be uint8, not {rows.dtype}"
    assert rows.ndim == 4, f"images must be [n c s s], not {tuple(rows.shape)}"
    assert rows.shape[2] == rows.shape[3] >= size, f"a canvas of {tuple(rows.shape[2:])} cannot give {size} px"
    if view == "plain" or len(rows) == 0:
        margin = (rows.shape[-1] - size) // 2
        images = rows[..., margin : margin + size, margin : margin + size]
    else:
        columns = _upload(uniforms.T, rows.device)
        images = _in_pieces(lambda part, of: _shift_and_turn(part, of, domain, size), rows, columns)
        if view == "strong":
            images = _distort(images, domain, uniforms)
            images = _cut(images, domain, columns[-3:])
    return _to_unit(images)


def _shift_and_turn(
    rows: UInt8[Tensor, "n c s s"], draws: Float[Tensor, "k n"], domain: Domain, size: int
) -> UInt8[Tensor, "n c size size"]:
    """The geometry of a weak view: a window, or a zoom into a larger canvas, mirrored and turned where allowed."""
    top, left, area, aspect, mirrored, upside_down, transposed = draws[:_WEAK_DRAWS]
    spare = rows.shape[-1] - size
    flip_columns = (mirrored < 0.5) & domain.hflip
    flip_rows = (upside_down < 0.5) & domain.rotations
    if spare and domain.area is not None:
        box = _draw_box(top, left, area, aspect, rows.shape[-1], domain)
        images = geometry.resized_crop(rows, box, size, flip_rows=flip_rows, flip_columns=flip_columns)
    else:
        pad = 0 if spare else round(size * domain.shift)
        row, column = ((draw * (spare + 2 * pad + 1)).long() - pad for draw in (top, left))
        images = geometry.crop(
            rows, row, column, size, reflect=domain.reflect, flip_rows=flip_rows, flip_columns=flip_columns
        )
    return geometry.transpose(images, transposed < 0.5) if domain.rotations else images


def _draw_box(
    top: Tensor, left: Tensor, area: Tensor, aspect: Tensor, side: int, domain: Domain
) -> Float[Tensor, "4 n"]:
    """Top, left, height and width in pixels of the part of the canvas that is shown."""
    assert domain.area is not None
    low, high = domain.area
    edge = (area * (high - low) + low).sqrt() * side
    stretch = (aspect * (domain.aspect - 1 / domain.aspect) + 1 / domain.aspect).sqrt()
    height, width = (edge / stretch).clamp_(max=side), (edge * stretch).clamp_(max=side)
    return torch.stack([top * (side - height), left * (side - width), height, width])


def _distort(images: UInt8[Tensor, "n c s s"], domain: Domain, draws: NDArray[np.float32]) -> UInt8[Tensor, "n c s s"]:
    """Images after RandAugment: in each round the batch is sorted by operation and each runs on its own images."""
    operations = [OPERATIONS[name] for name in domain.operations]
    ranges = [(op.low, op.high, op.neutral) for op in operations]
    low, high, neutral = np.array(ranges, dtype=np.float32).T
    low, span = neutral + domain.magnitude * (low - neutral), domain.magnitude * (high - low)
    place = np.arange(len(images))  # where each image stands in the batch as sorted so far
    for turn in range(_ROUNDS):
        drawn, amount = draws[:, _WEAK_DRAWS + 2 * turn], draws[:, _WEAK_DRAWS + 2 * turn + 1]
        kind = (drawn * np.float32(len(operations))).astype(np.int64)
        order = np.argsort(kind, kind="stable")
        magnitude = _upload((low[kind] + span[kind] * amount)[order], images.device)
        images = images.index_select(0, _upload(place[order], images.device))
        counts = np.bincount(kind, minlength=len(operations)).tolist()
        groups = zip(operations, torch.split(images, counts), torch.split(magnitude, counts), strict=True)
        images = torch.cat([_in_pieces(op.apply, part, of) for op, part, of in groups if len(part)])
        place[order] = np.arange(len(images))
    return images.index_select(0, _upload(place, images.device))


def _cut(images: UInt8[Tensor, "n c s s"], domain: Domain, draws: Float[Tensor, "3 n"]) -> UInt8[Tensor, "n c s s"]:
    size = images.shape[-1]
    side = (draws[0] * (int(size * domain.cutout) + 1)).long()
    row, column = (draws[1:] * size).long()
    return geometry.cutout(images, side, row, column)


def _to_unit(images: UInt8[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
    unit = torch.empty(images.shape, device=images.device)
    count = _piece(images)
    for target, source in zip(torch.split(unit, count), torch.split(images, count), strict=True):
        target.copy_(source).div_(255)
    return unit


def _in_pieces(apply: Callable[[Tensor, Tensor], Tensor], images: Tensor, numbers: Tensor) -> Tensor:
    """The operation's result, worked out a few images at a time on a processor, all at once elsewhere.

    Args:
        numbers: What the operation takes beside the images; its last axis counts them.
    """
    count = _piece(images)
    if len(images) <= count:
        return apply(images, numbers)
    parts = zip(torch.split(images, count), torch.split(numbers, count, dim=-1), strict=True)
    return torch.cat([apply(part, of) for part, of in parts])


def _piece(images: Tensor) -> int:
    """How many images to work on at a time."""
    return max(1, _PIECE // math.prod(images.shape[1:])) if images.device.type == "cpu" else max(1, len(images))


def _upload(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device, by a copy the processor does not wait for."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _render_vectors(
    rows: Tensor, view: View, domain: Domain, draws: NDArray[np.float32], scale: Tensor | NDArray[np.float32] | None
) -> Tensor:
    rows = rows.float()
    if view == "plain" or rows.numel() == 0:
        return rows.contiguous()
    flat = rows.reshape(len(rows), -1)
    if scale is not None:
        scale = torch.as_tensor(scale, dtype=torch.float32).to(rows.device, non_blocking=True).reshape(-1)
    noise = domain.weak_noise if view == "weak" else domain.strong_noise
    dropout = domain.dropout if view == "strong" and flat.shape[1] > _WIDE_VECTOR else 0.0
    return vectors.perturb(flat, _upload(draws, rows.device), noise, dropout, scale).reshape(rows.shape)

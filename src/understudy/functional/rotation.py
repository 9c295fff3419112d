"""Quarter turns of images, which a network learns to tell apart without any label."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

NUM_TURNS = 4  # as often an image can be turned by 90 degrees, the angle that needs no interpolation


def quarter_turns(x: Float[Tensor, "n c s s"], turns: Int[Tensor, "n"]) -> Float[Tensor, "n c s s"]:
    """Each square image turned by so many times 90 degrees, counter-clockwise."""
    turned = torch.stack([torch.rot90(x, turn, dims=(2, 3)) for turn in range(NUM_TURNS)])
    return turned[turns, torch.arange(len(x), device=x.device)]


def every_quarter_turn(x: Float[Tensor, "n c s s"]) -> tuple[Float[Tensor, "_ c s s"], Int[Tensor, "_"]]:
    """All images as they are, then all turned once, twice and three times; and by how much each was turned."""
    turned = torch.cat([torch.rot90(x, turn, dims=(2, 3)) for turn in range(NUM_TURNS)])
    return turned, torch.arange(NUM_TURNS, device=x.device).repeat_interleave(len(x))

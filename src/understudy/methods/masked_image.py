"""Masked images: who can guess the hidden part of a picture from the rest knows what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.masking import hidden_error, hide, masked_patches
from understudy.methods.base import Pretext, register
from understudy.models.nets import Networks

# Cells per side of the guessed picture: a sixteenth of 256 px, which the paper finds to teach as much as every pixel.
# It keeps the layer small that guesses a whole picture from one vector.
MAX_CELLS = 16


@register
@dataclass(frozen=True, kw_only=True)
class MaskedImage(Pretext[nn.Module]):
    """Masked image modeling after SimMIM (Xie et al., 2022), equation 1, for networks of any kind.

    L = mean over masked pixels of |x - y|: x is the image, and y its reconstruction by a linear layer from the
    features of the same image with random patches masked.

    Differs from the paper: the image is reconstructed from the input vector of the classifier's head, which every
    network has, so a single layer predicts the whole image, at 16 x 16 px at most (the paper finds that a sixteenth of
    the resolution works as well). Patches are masked in the image itself, as convolutions require, by the mean color
    of the visible patches instead of a learned token.
    """

    paper: ClassVar[str] = "Xie et al., 2022, https://arxiv.org/abs/2111.09886"
    summary: ClassVar[str] = "Pretext: reconstruct masked patches of an image from the visible ones."
    use_when: ClassVar[str] = "before another method, if views must not differ in color or orientation"
    views: ClassVar[tuple[str, ...]] = ("weak",)
    needs_images: ClassVar[bool] = True

    masked_share: Annotated[float, Knob("share of patches that are masked", 0, 1, probe=0.2)] = 0.6
    grid: Annotated[int, Knob("number of patches along each side of an image", 2, probe=3)] = 6

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a layer that draws a picture from its features."""
        channels, cells = spec.shape[0], min(MAX_CELLS, *spec.shape[1:])
        decoder = nn.Linear(spec.feature_width, channels * cells * cells)
        return Networks(model=classifier, projection=nn.Sequential(decoder, nn.Unflatten(1, (channels, cells, cells))))

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equation 1 on one step."""
        x = batch.unlabeled.view("weak")
        drawn = masked_patches(batch.random("mask"), len(x) * distributed.world_size(), self.grid, self.masked_share)
        mask = torch.from_numpy(distributed.share(drawn)).to(x.device)
        (guess,) = nets.through("projection", *self.features(nets, hide(x, mask)))
        return Loss({"reconstruction": hidden_error(guess, x, mask)})

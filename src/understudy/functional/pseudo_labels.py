"""From predictions on unlabeled rows to targets and weights."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def confidence_and_label(probs: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
    """The largest probability of each row, in [0, 1], and its class."""
    confidence, label = probs.max(-1)
    return confidence, label


def above_threshold(
    confidence: Float[Tensor, "n"], threshold: float | Float[Tensor, ""] | Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """1 where the confidence reaches the threshold, or the row's own one, else 0."""
    return (confidence >= threshold).to(confidence.dtype)


def truncated_gaussian(
    confidence: Float[Tensor, "n"], mean: Float[Tensor, ""], variance: Float[Tensor, ""], num_deviations: float
) -> Float[Tensor, "n"]:
    """SoftMatch, equation 6: 1 above the mean confidence, falling as a Gaussian below it, in (0, 1].

    Args:
        num_deviations: The Gaussian's width, in halves of the standard deviation (the paper's n_sigma).
    """
    below = (confidence - mean).clamp(max=0.0)
    width = (2 * variance / num_deviations**2).clamp(min=torch.finfo(confidence.dtype).tiny)
    return torch.exp(-(below**2) / width)


def align(probs: Float[Tensor, "n k"], target: Float[Tensor, "k"], current: Float[Tensor, "k"]) -> Float[Tensor, "n k"]:
    """Distribution alignment (ReMixMatch, section 3.1): probabilities scaled by target / current and renormalized."""
    # A class that was never predicted has a running balance near 0; the bound keeps its factor finite.
    scaled = probs * (target / current.clamp(min=1e-6))
    return scaled / scaled.sum(-1, keepdim=True)


def entropy(probs: Float[Tensor, "... k"]) -> Float[Tensor, "..."]:
    """Shannon entropy as a share of its largest value, in [0, 1]."""
    # 0 log 0 is 0; a probability under 1e-12 adds less than float32 resolves beside 1.
    return -(probs * probs.clamp(min=1e-12).log()).sum(-1) / math.log(probs.shape[-1])


def sharpen(probs: Float[Tensor, "n k"], temperature: float) -> Float[Tensor, "n k"]:
    """Probabilities raised to 1 / temperature and renormalized (MixMatch, equation 7); one-hot at temperature 0."""
    if temperature == 0:
        return torch.nn.functional.one_hot(probs.argmax(-1), probs.shape[-1]).to(probs.dtype)
    # The bound keeps the logarithm of 0 finite; up to temperature 1, such a class gets a share of 1e-12 at most.
    return (probs.clamp(min=1e-12).log() / temperature).softmax(-1)

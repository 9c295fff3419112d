"""Losses of classifiers that tell real rows from generated ones, and of the generators that learn from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def realness(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """log Z of each row, Z = sum_k exp l_k: the logit of being real, beside a class "generated" of logit 0."""
    return logits.logsumexp(-1)


def entropy(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """Entropy of each row's class probabilities, in nats."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def matching(real: Float[Tensor, "d"], generated: Float[Tensor, "d"], distance: str) -> Float[Tensor, ""]:
    """Distance of two mean features: the mean "absolute" difference, or the "squared" Euclidean norm of the text."""
    difference = real - generated
    return difference.abs().mean() if distance == "absolute" else difference.square().sum()


def pull_away(features: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean squared cosine between different rows (Zhao et al., 2017, equation 4); 0 for a single row."""
    unit = F.normalize(features, dim=-1)
    count = len(features)
    squares = (unit @ unit.T).square()
    return (squares.sum() - squares.diagonal().sum()) / max(1, count * (count - 1))


def collapse_note(history: Sequence[Mapping[str, float]]) -> str:
    """A sentence about a generator that collapsed, from the evaluations of its run; empty where it did not.

    Args:
        history: Means since the evaluation before; `adversarial` is the share of steps whose terms counted.
    """
    lines = [line for line in history if "adversarial" in line]
    paused = [line for line in lines if line["adversarial"] < 1]
    if not paused:
        return ""
    had = "had" if lines[-1]["adversarial"] == 1 else "had not"
    least, last = min(line["generated_spread"] for line in paused), lines[-1]["generated_spread"]
    return (
        f"The generator collapsed: its images differed from one another only {100 * least:.0f} % as much as real ones. "
        f"The adversarial terms were off meanwhile, in part of {len(paused)} of {len(lines)} intervals, "
        f"and it {had} recovered at the end, where its images differed {100 * last:.0f} % as much."
    )


def relative_spread(generated: Float[Tensor, "g ..."], real: Float[Tensor, "r ..."]) -> Float[Tensor, ""]:
    """Standard deviation of generated rows over that of real ones, each the mean over pixels or features.

    About 1 where generated rows differ from one another as real rows do, near 0 where they are all alike.
    """
    spread_generated, spread_real = (rows.float().std(0, correction=0).mean() for rows in (generated, real))
    return spread_generated / spread_real.clamp(min=1e-6)  # a batch of one real row has no spread

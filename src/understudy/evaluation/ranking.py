"""Comparison of several methods on the same blocks: ranks, and p-values adjusted for many tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from understudy.core.errors import DataError

Scores = Float[np.ndarray, "blocks methods"]


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods are equally good, on their ranks within blocks.

    Args:
        mean_ranks: One per method, 1 the best; tied methods share the mean of their ranks.
        p_value: From the chi-square distribution, conservative below about ten blocks; 1 if all methods always tie.
    """

    num_blocks: int
    mean_ranks: tuple[float, ...]
    statistic: float
    p_value: float


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values (1979): rejecting those up to alpha keeps the family-wise error rate at alpha."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return tuple(adjusted.tolist())


def ranks(scores: Scores) -> Scores:
    """Each method's rank within its block, 1 for the highest score; equal scores share the mean of their ranks."""
    from scipy.stats import rankdata

    ranked: Scores = np.asarray(rankdata(-scores, axis=1), dtype=np.float64)
    return ranked


def friedman(scores: Scores) -> Friedman:
    """Friedman's test over blocks in which every method has a score.

    Raises:
        DataError: There are fewer than three methods or two blocks, too few for the test.
    """
    from scipy.stats import friedmanchisquare

    blocks, methods = scores.shape
    if blocks < 2 or methods < 3:
        raise DataError(
            f"Friedman's test needs 2 blocks and 3 methods, got {blocks} and {methods}; add seeds or methods"
        )
    ranked = ranks(scores)
    if (ranked == ranked[:, :1]).all():
        statistic, p_value = 0.0, 1.0
    else:
        test = friedmanchisquare(*scores.T)
        statistic, p_value = float(test.statistic), float(test.pvalue)
    return Friedman(blocks, tuple(ranked.mean(0).tolist()), statistic, p_value)

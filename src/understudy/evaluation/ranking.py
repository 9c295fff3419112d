"""Several methods on the same blocks: ranks, and what is left of small p-values when many were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from understudy.core.errors import DataError
from understudy.evaluation.intervals import Interval

Scores = Float[np.ndarray, "blocks methods"]


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods are equally good, on their ranks within blocks.

    Args:
        mean_ranks: One per method, 1 the best; tied methods share the mean of their ranks.
        p_value: By the chi-square distribution, which is cautious below about ten blocks; 1 when all are always tied.
    """

    num_blocks: int
    mean_ranks: tuple[float, ...]
    statistic: float
    p_value: float


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values (1979): refusing those of at most alpha errs anywhere with a chance of at most alpha."""
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
        DataError: There are fewer than three methods or two blocks, for which there is no such test.
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
        found = friedmanchisquare(*scores.T)
        statistic, p_value = float(found.statistic), float(found.pvalue)
    return Friedman(blocks, tuple(ranked.mean(0).tolist()), statistic, p_value)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Interval | None:
    """Student's interval of the mean of independent figures; None for fewer than two."""
    from scipy.stats import t

    figures = np.asarray(values, dtype=float)
    if len(figures) < 2:
        return None
    half = float(t.ppf((1 + level) / 2, len(figures) - 1) * figures.std(ddof=1) / np.sqrt(len(figures)))
    return Interval(float(figures.mean()) - half, float(figures.mean()) + half, level)


def paired_effect(first: ArrayLike, second: ArrayLike, *, corrected: bool = False) -> float | None:
    """Cohen's d of paired figures: the mean difference in units of its standard deviation; None where that is zero.

    Args:
        corrected: By Hedges' exact factor (1981): d is too large on average, of 3 pairs by 77 %, of 5 by 25 %. It takes
            3 pairs or more.
    """
    from scipy.special import gammaln

    differences = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    if len(differences) < (3 if corrected else 2) or are_equal(differences):
        return None
    effect = float(differences.mean() / differences.std(ddof=1))
    half = (len(differences) - 1) / 2
    return effect * float(np.exp(gammaln(half) - gammaln(half - 0.5)) / np.sqrt(half)) if corrected else effect


def are_equal(differences: ArrayLike) -> bool:
    """Whether the figures agree but for rounding, so that no t statistic can be made of them."""
    return bool(np.ptp(np.asarray(differences, dtype=float)) < 1e-12)

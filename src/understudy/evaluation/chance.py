"""Comparison of a classifier with guessing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def chance_accuracy(labels: NDArray[np.integer], num_classes: int) -> float:
    """The accuracy of always predicting the most common class, or of uniform guesses if that is higher."""
    return max(1 / num_classes, float(np.bincount(labels).max(initial=0)) / max(1, len(labels)))


def p_of_chance(num_right: int, n: int, chance: float) -> float:
    """The one-sided exact p-value of at least `num_right` correct guesses, each with this chance of being correct."""
    from scipy.stats import binomtest

    return float(binomtest(num_right, n, min(1.0, chance), alternative="greater").pvalue) if n else 1.0


def guessing_note(
    names: Sequence[str], supports: Sequence[int], accuracy: float, low: float, steps: int | None = None
) -> str | None:
    """A note if a classifier is not proven better than always predicting the most frequent class; else None.

    Args:
        supports: Test images per class.
        low: Lower bound of the interval of the accuracy.
        steps: Length of the training.
    """
    if sum(map(bool, supports)) <= 1:  # with one class any constant answer is right
        return None
    most = max(supports)
    guess = most / sum(supports)
    if low > guess:
        return None
    how = "No better" if accuracy <= guess else "Not proven better"
    longer = "" if steps is None else f" than {steps:,} {'step' if steps == 1 else 'steps'}"
    name = names[list(supports).index(most)]
    return f"{how} than always answering {name!r} ({100 * guess:.1f} %): train longer{longer}."

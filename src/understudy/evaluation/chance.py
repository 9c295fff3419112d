"""Is a classifier better than guessing?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def chance_accuracy(labels: NDArray[np.integer], num_classes: int) -> float:
    """The accuracy of the best guess that looks at no image: of always naming the most common class."""
    return max(1 / num_classes, float(np.bincount(labels).max(initial=0)) / max(1, len(labels)))


def p_of_chance(num_right: int, n: int, chance: float) -> float:
    """The one-sided exact p-value of so many right answers or more by guesses that are right with this chance."""
    from scipy.stats import binomtest

    return float(binomtest(num_right, n, min(1.0, chance), alternative="greater").pvalue) if n else 1.0

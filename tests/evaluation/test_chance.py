"""Better than guessing, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.evaluation.chance import chance_accuracy, p_of_chance


def test_chance_accuracy__of_the_most_common_class() -> None:
    assert chance_accuracy(np.array([0, 0, 0, 1]), 2) == 0.75
    assert chance_accuracy(np.array([0, 1]), 10) == 0.5
    assert chance_accuracy(np.array([], np.int64), 10) == 0.1


def test_p_of_chance__by_hand() -> None:
    assert p_of_chance(3, 3, 0.5) == pytest.approx(1 / 8)
    assert p_of_chance(2, 3, 0.5) == pytest.approx(4 / 8)
    assert p_of_chance(0, 3, 0.5) == pytest.approx(1.0)
    assert p_of_chance(0, 0, 0.5) == 1.0
    assert p_of_chance(5, 5, 1.0) == pytest.approx(1.0)

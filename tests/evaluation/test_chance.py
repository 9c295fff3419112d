"""Better than guessing, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.evaluation.chance import chance_accuracy, guessing_note, p_of_chance


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


def test_guessing_note__only_where_the_interval_reaches_the_constant_answer() -> None:
    names, supports = ["bag", "dress", "shirt"], [30, 60, 10]
    expected = "than always answering 'dress' (60.0 %): train longer"
    assert guessing_note(names, supports, 0.08, 0.05, 7) == f"No better {expected} than 7 steps."
    assert guessing_note(names, supports, 0.65, 0.6, 1) == f"Not proven better {expected} than 1 step."
    assert guessing_note(names, supports, 0.6, 0.5) == f"No better {expected}."
    assert guessing_note(names, supports, 0.7, 0.61) is None
    assert guessing_note(names, [0, 50, 0], 0.5, 0.4) is None

"""What all methods share."""

from __future__ import annotations

from understudy.functional.criteria import GeneralizedCrossEntropy
from understudy.methods.fixmatch import FixMatch
from understudy.methods.supervised import Supervised


def test_baseline__keeps_criterion_and_average() -> None:
    criterion = GeneralizedCrossEntropy(q=0.3)
    assert FixMatch(criterion=criterion, ema_decay=0.9).baseline() == Supervised(criterion=criterion, ema_decay=0.9)

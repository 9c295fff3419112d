"""Decisions on two models: every case in a table, and words that never contradict the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.budget import Cost
from understudy.core.text import p_equals
from understudy.evaluation.intervals import Interval
from understudy.evaluation.verdict import Candidate, HeldOut, compute_verdict
from understudy.evaluation.verdict_rule import Facts, decide, interval_words

UP, DOWN, OPEN = Interval(0.01, 0.05), Interval(-0.05, -0.01), Interval(-0.02, 0.03)


def validated(difference: float) -> dict[str, Any]:
    return {"validation_difference": difference, "num_validation": 50}


@pytest.mark.parametrize(
    ("interval", "changes", "outcome", "delivered", "words"),
    [
        (UP, {}, "helped", "method", "Delivered: the model trained with the unlabeled images."),
        (UP, {"cost_ratio": 1.04}, "helped", "method", ""),
        (UP, {"cost_ratio": 0.5}, "helped", "method", ""),
        (UP, {"is_divided": True}, "helped", "method", ""),
        (UP, {"share_used": 0.07}, "helped", "method", ""),
        (UP, {"cost_ratio": 2.3}, "better", "method", "its training cost 2.3 times as much"),
        (UP, {"learned_from_pool": False}, "better", "method", "the model of uda, the better one"),
        (UP, {"fewest_steps": 1}, "better", "method", "a training of only 1 step tells little"),
        (DOWN, {}, "hurt", "supervised", "on the labels alone, because the unlabeled images hurt."),
        (DOWN, {"cost_ratio": 2.0}, "hurt", "supervised", ""),
        (DOWN, {"cost_ratio": 0.6}, "worse", "supervised", "its training cost 0.6 times as much"),
        (DOWN, {"is_divided": True}, "worse", "supervised", "its budget was divided among several trainings"),
        (DOWN, {"share_used": 0.07}, "worse", "supervised", "only 7 % of the unlabeled images were used"),
        (DOWN, {"share_used": 0.5}, "hurt", "supervised", ""),
        (DOWN, {"fewest_steps": 9}, "worse", "supervised", "a training of only 9 steps tells little"),
        (DOWN, {"fewest_steps": 10}, "hurt", "supervised", ""),
        (DOWN, {"learned_from_pool": False, "share_used": 0.0}, "worse", "supervised", "uda learned from the labels"),
        (OPEN, {}, "not proven", "supervised", "because nothing else is proven."),
        (OPEN, {"fewest_steps": 3}, "not proven", "supervised", "only 3 steps, so give a longer budget."),
        (OPEN, validated(0.1), "not proven", "method", "did better on the 50 other images"),
        (OPEN, validated(-0.1), "not proven", "supervised", "did better on the 50 other images"),
        (OPEN, validated(0.0), "not proven", "supervised", "the simpler training wins a tie"),
        (OPEN, {"learned_from_pool": False}, "not proven", "supervised", "uda learned from the labels only."),
        (None, {}, "unproven", "method", "as asked for"),
        (None, validated(-0.1), "unproven", "supervised", "did better on the 50 other images"),
    ],
)  # fmt: skip
def test_decide__every_case(
    interval: Interval | None, changes: dict[str, Any], outcome: str, delivered: str, words: str
) -> None:
    facts = Facts(method="uda", interval=interval, **changes)
    found = decide(facts)
    assert (found.outcome, found.delivered) == (outcome, delivered)
    assert words in found.reason
    assert bool(found.causes) == (outcome in ("better", "worse"))
    if not facts.learned_from_pool:
        assert "unlabeled" not in found.opening + found.reason


COUNTS = st.integers(0, 400)


@settings(max_examples=60)
@given(COUNTS, COUNTS, COUNTS, st.booleans(), st.floats(0.2, 5), st.booleans())
def test_decide__words_and_numbers_agree(
    gains: int, losses: int, same: int, learned: bool, cost: float, divided: bool
) -> None:
    if not gains + losses + same:
        return
    baseline, method = (np.repeat(rows, [gains, losses, same]) for rows in ([0, 1, 1], [1, 0, 1]))
    found = compute_verdict(
        HeldOut(np.ones(len(baseline), int), baseline, method),
        baseline=Candidate("supervised", Cost(1, 1), 100),
        method=Candidate("uda", Cost(cost, cost), 100),
        facts=Facts(method="uda", learned_from_pool=learned, is_divided=divided),
    )
    assert found.comparison is not None
    interval, p_value = found.comparison.interval, found.comparison.p_value
    proven = found.outcome not in ("not proven", "unproven")
    assert proven == (0 not in interval) == (p_value < 0.05)
    if proven:
        assert (found.outcome in ("helped", "better")) == (gains > losses)
        assert (found.delivered == "method") == (gains > losses)
    if found.outcome in ("helped", "hurt"):
        assert learned
        assert found.outcome == "hurt" or cost <= 1.051
        assert found.outcome == "helped" or (cost >= 0.949 and not divided)
    low, high = (float(bound) for bound in interval_words(interval).split(" to "))
    assert (low > 0 or high < 0) if proven else low <= 0 <= high, "what is printed says the same"
    printed = p_equals(p_value).split()[-1]
    assert (float(printed) < 0.05) == proven


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.0123, 0.05, "+1.2 to +5.0"), (0.0003, 0.05, "+0.03 to +5.00"), (0.0, 0.05, "0 to +5.0"),
     (-0.05, -0.00001, "-5.000 to -0.001")],
)  # fmt: skip
def test_interval_words__only_zero_reads_as_zero(low: float, high: float, text: str) -> None:
    assert interval_words(Interval(low, high)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.00001, "p < 0.0001"), (0.012, "p = 0.012"), (0.04996, "p = 0.04996"), (0.0501, "p = 0.05")]
)
def test_p_equals__reads_on_its_own_side_of_five_percent(value: float, text: str) -> None:
    assert p_equals(value) == text

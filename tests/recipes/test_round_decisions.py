"""How many rounds a budget pays for, and which students are too little trained to be returned."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recipes.rounds_victim import small_stage, train
from understudy.core.budget import Budget, Cost
from understudy.recipes import rounds
from understudy.recipes.parts.round_decisions import Classifier, RoundPlan, plan_rounds, why_fewer, why_starved
from understudy.recipes.self_training import SelfTraining


def trained_for(steps: int, number: int = 1) -> Classifier:
    """A classifier of a run with so many steps."""
    return Classifier(number, type("Run", (), {"steps": steps})(), np.zeros(0, bool))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "left", "labeling", "expected"),
    [
        (2, 0.8, 0.0, RoundPlan(2, 1.0, 0.0)),
        (2, 0.8, 0.2, RoundPlan(2, 1.0, 0.2)),
        (2, 0.8, 0.21, RoundPlan(1, 1.0, 0.21)),
        (4, 0.8, 0.15, RoundPlan(2, 1.0, 0.15)),
        (4, 0.8, 0.8, RoundPlan(1, 0.5, 0.4)),
        (1, 0.0, 0.5, RoundPlan(1, 0.0, 0.0)),
    ],
)
def test_plan_rounds__labeling_takes_at_most_half_of_what_is_left(
    wanted: int, left: float, labeling: float, expected: RoundPlan
) -> None:
    found = plan_rounds(wanted, left, labeling)
    assert found.num_rounds == expected.num_rounds
    assert (found.pool_share, found.labeling) == pytest.approx((expected.pool_share, expected.labeling))


@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 50))
def test_plan_rounds__every_round_has_half_of_its_full_share(wanted: int, left: float, labeling: float) -> None:
    found = plan_rounds(wanted, left, labeling)
    assert 1 <= found.num_rounds <= wanted
    assert left - found.num_rounds * found.labeling >= 0.5 * left - 1e-9
    assert bool(why_fewer(found, wanted, 1, left, labeling)) == (found.num_rounds < wanted or found.pool_share < 1)


def test_why_fewer__says_what_labeling_takes() -> None:
    why = why_fewer(plan_rounds(4, 0.7, 0.2), 4, 1, 0.7, 0.2)
    assert why == (
        "1 of 4 rounds are run, since labeling the pool takes 20 % of the budget and 70 % is left; "
        "a longer budget pays for more"
    )
    part = why_fewer(plan_rounds(1, 0.7, 0.9), 1, 1, 0.7, 0.9)
    assert part.startswith("round 1 labels 39 % of the pool, a random part, since labeling the pool takes 90 % of")


def test_why_starved__fewer_than_half_of_the_first_teachers_steps() -> None:
    teacher = trained_for(52, 0)
    assert why_starved(trained_for(26), teacher) == ""
    assert why_starved(trained_for(1), teacher) == (
        "the training of round 1 was cut to 1 steps, the first teacher's had 52"
    )


def test_rounds__a_dear_labeling_drops_rounds_and_shrinks_the_pool() -> None:
    """Labeling the pool is said to cost 90 % of the budget."""
    recipe = SelfTraining(num_rounds=4, threshold=0.0, gate=1.0)
    stage = replace(small_stage(), budget=Budget(cpu_s=1.0))
    with mock.patch.object(rounds, "labeling_cost", return_value=Cost(0.9, 0.9)):
        found = train(recipe, stage)
    assert [line["name"] for line in found.rounds] == ["teacher", "round 1"]
    assert "1 of 4 rounds are run and round 1 labels" in found.rounds[0]["note"]
    pool = len(stage.data.unlabeled)
    assert found.rounds[1]["coverage"] == found.rounds[1]["num_pseudo_labels"] / pool
    assert 0.1 * pool < found.rounds[1]["num_pseudo_labels"] < 0.5 * pool
    assert found.rounds[1]["returned"]


def test_rounds__labels_of_a_part_of_the_pool_are_shown_at_their_rows() -> None:
    """The part is random, so that its labels do not stand at the first positions of the pool."""
    stage, seen = replace(small_stage(), budget=Budget(cpu_s=1.0)), []
    recipe = SelfTraining(num_rounds=1, threshold=0.0, gate=1.0)
    with mock.patch.object(rounds, "labeling_cost", return_value=Cost(0.9, 0.9)):
        train(recipe, stage, observe=[lambda report: seen.append(report.round)])
    (labels,) = [ended.pseudo_labels for ended in seen if ended and ended.pseudo_labels is not None]
    pool = np.concatenate([stage.data.labeled, stage.data.unlabeled])
    ids = pool[labels.ids.numpy()]
    assert len(ids) < len(stage.data.unlabeled)
    assert set(ids) <= set(stage.data.unlabeled)
    assert ids.tolist() != stage.data.unlabeled[: len(ids)].tolist()


def test_rounds__a_starved_student_is_not_returned_without_validation() -> None:
    stage = replace(small_stage(), budget=Budget(steps=100))
    recipe = SelfTraining(num_rounds=1, threshold=0.0, gate=1.0, teacher_share=0.95)
    found = train(recipe, stage)
    assert [line["steps"] for line in found.rounds] == [95, 5]
    assert found.rounds[0]["returned"]
    assert found.stopped == "the training of round 1 was cut to 5 steps, the first teacher's had 95"

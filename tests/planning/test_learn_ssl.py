"""`learn_ssl`: labels alone while they still teach, a method once they are exhausted, trials where these can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.planning.small import sided, training, with_known
from tests.planning.test_learn_regularization import Played
from understudy.core.budget import Budget
from understudy.planning import learn_ssl as module
from understudy.planning.learn_ssl import LearnedSSL, learn_ssl

RUN = Budget(cpu_s=100)


def learned(images: Any = None, *, rows_per_s: float | None = 1e5, run: Budget = RUN, **more: Any) -> LearnedSSL:
    data = training(images if images is not None else with_known(sided(200), 40))
    return learn_ssl(data, mu=3, batch_size=32, rows_per_s=rows_per_s, run=run, **more)


def test_learn_ssl__many_passes_take_the_default() -> None:
    found = learned()
    assert (found.method.value, found.method.how) == (module.DEFAULT, "measured")
    assert found.mu is not None
    assert found.mu.value == 3
    assert found.recipe is not None
    assert (found.recipe.value, found.recipe.how) == ("plain", "rule")


def test_learn_ssl__passes_by_hand() -> None:
    """A step of 32 labeled rows and 96 unlabeled ones, a third of whose cost is predicting and 0.7 training."""
    found = learned(rows_per_s=100.0)
    steps = 100 / (32 * (1 + 3 * (1 / 3 + 0.7)) / 100)
    labels = 32  # a fifth of 40 is held out
    assert found.figures["passes_over_labels"] == pytest.approx(steps * 32 / labels, rel=1e-3)


def test_learn_ssl__few_passes_leave_the_labels_alone() -> None:
    found = learned(rows_per_s=10.0)
    assert found.method.value == "supervised"
    assert found.method.reason == (
        "in this budget a run with unlabeled images sees each label about 8 times, and in the benchmarks they paid off "
        "only from about 20 times on; give about 3 times the budget, or --method softmatch to try it anyway"
    )
    assert found.mu is None


@pytest.mark.parametrize(("labels", "enough"), [(40, True), (400, False)])
def test_learn_ssl__more_labels_per_class_need_more_passes(labels: int, enough: bool) -> None:
    """A hundred passes are plenty for sixteen labels a class and too few for two hundred."""
    images = with_known(sided(1000), labels)
    kept = labels * 4 / 5
    found = learned(images, rows_per_s=kept * (1 + 3 * (1 / 3 + 0.7)))
    assert found.figures["passes_over_labels"] == pytest.approx(100, rel=1e-3)
    assert found.figures["passes_needed"] == max(20, kept / 2)
    assert (found.method.value != "supervised") == enough


def test_learn_ssl__a_pool_smaller_than_the_labels() -> None:
    found = learned(with_known(sided(100), 80))
    assert found.method.value == "supervised"
    assert "only 0.3 unlabeled images per labeled one" in found.method.reason


def test_learn_ssl__no_pool() -> None:
    found = learned(sided(100))
    assert (found.method.value, found.method.reason) == (
        "supervised",
        "there are no unlabeled images to learn from",
    )


def test_learn_ssl__a_budget_of_steps_takes_the_default() -> None:
    found = learned(rows_per_s=None, run=Budget(steps=3))
    assert (found.method.value, found.method.how) == (module.DEFAULT, "rule")


def test_learn_ssl__what_was_asked_stays() -> None:
    found = learned(rows_per_s=1.0, options={"method": {"name": "vat"}, "recipe": {"name": "pretrain"}})
    assert [(choice.value, choice.how) for choice in found.choices] == [("vat", "asked"), ("pretrain", "asked")]


def played(**outcomes: float) -> Played:
    data = training(with_known(sided(700), 500))
    trials = Played(data, data.labeled[:300], np.zeros(300, np.int64), None, "", None, None)  # type: ignore[arg-type]
    trials.outcomes, trials.asked = outcomes, {}
    return trials


@pytest.mark.parametrize(
    ("outcomes", "passes", "chosen"),
    [
        ({"supervised": 0.4, "softmatch": 0.6, "freematch": 0.61}, "some", "softmatch"),  # a tie keeps the default
        ({"supervised": 0.4, "softmatch": 0.5, "freematch": 0.7}, "some", "freematch"),
        ({"supervised": 0.8, "softmatch": 0.5, "freematch": 0.4}, "some", "supervised"),
        ({"supervised": 0.51, "softmatch": 0.5, "freematch": 0.4}, "some", "softmatch"),  # chance explains one point
        ({"supervised": 0.8, "softmatch": 0.5, "freematch": 0.4}, "many", "softmatch"),  # the run is far longer
    ],
)
def test_learn_ssl__trials(outcomes: dict[str, float], passes: str, chosen: str) -> None:
    rows_per_s = {"some": 3000.0, "many": 1e6}[passes]
    found = learned(with_known(sided(1000), 400), rows_per_s=rows_per_s, trials=played(**outcomes))
    share = found.figures["passes_over_labels"] / found.figures["passes_needed"]
    assert share > 1
    assert (share < module._AMPLE) == (passes == "some")
    assert (found.method.value, found.method.how) == (chosen, "tried")
    for name, share in outcomes.items():
        assert f"{name} {100 * share:.1f} %" in found.method.reason


def test_learn_ssl__no_trial_where_the_rule_is_sure() -> None:
    trials = played(supervised=0.1, softmatch=0.9, freematch=0.9)
    assert learned(rows_per_s=10.0, trials=trials).method.value == "supervised"
    assert not trials.asked


def test_longer__names_no_number_that_nobody_can_use() -> None:
    assert [module._longer(times) for times in (1.2, 7.4, 19007.0)] == [
        "about 2 times the budget",
        "about 7 times the budget",
        "a far longer budget",
    ]

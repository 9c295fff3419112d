"""Budgets are parsed from what people write, and anything that is no length of time is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.budget import Budget, Cost, format_seconds
from understudy.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", Budget(wall_s=90)),
        ("10m", Budget(wall_s=600)),
        ("2h", Budget(wall_s=7200)),
        (" 1.5 H ", Budget(wall_s=5400)),
        ("1200cpu-s", Budget(cpu_s=1200)),
        ("5000steps", Budget(steps=5000)),
        ("0.5s", Budget(wall_s=0.5)),
        ("10 epochs", Budget(epochs=10)),
        ("1epoch", Budget(epochs=1)),
    ],
)
def test_parse__what_people_write(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected
    assert Budget.parse(expected) is expected


@pytest.mark.parametrize(
    "text", ["", "0s", "0steps", "0.0m", "-5s", "ten minutes", "10", "10 d", "1.5steps", "1e3s", "nan", "infs", "5s5s"]
)
def test_parse__nonsense_and_zero(text: str) -> None:
    sentence = (
        f"budget {text!r} is not a length of time or a number of steps above zero; "
        "give for example 90s, 10m, 2h, 1200cpu-s, 5000steps or 10epochs"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        Budget.parse(text)


@given(st.text(max_size=12))
def test_parse__any_text_is_a_budget_or_a_sentence(text: str) -> None:
    refused = None
    try:
        budget = Budget.parse(text)
    except ConfigError as error:
        refused = str(error)
    assert "give for example" in refused if refused else (budget.is_timed or budget.steps or budget.epochs)


def test_parse__longer_than_a_number_can_be() -> None:
    with pytest.raises(ConfigError, match=r"a budget must be above zero, got Budget\(wall_s=inf"):
        Budget.parse("9" * 400 + "h")


@given(st.floats(0.001, 1e6), st.sampled_from(["s", "m", "h", "cpu-s"]))
def test_parse__any_length(number: float, unit: str) -> None:
    budget = Budget.parse(f"{number:.4f}{unit}")
    seconds = float(f"{number:.4f}") * {"s": 1, "m": 60, "h": 3600, "cpu-s": 1}[unit]
    assert (budget.cpu_s if unit == "cpu-s" else budget.wall_s) == pytest.approx(seconds)
    assert budget.is_timed


@pytest.mark.parametrize("text", ["90s", "10m", "2h", "0.5s", "1200cpu-s", "12.345678cpu-s", "5000steps", "2.5epochs"])
def test_text__is_parsed_as_the_same_budget(text: str) -> None:
    assert Budget.parse(text).text == text


@given(st.floats(0.001, 1e6).map(lambda number: round(number, 6)))
def test_text__of_any_length_of_time(seconds: float) -> None:
    assert Budget.parse(Budget(wall_s=seconds).text).wall_s == pytest.approx(seconds, rel=1e-9, abs=1e-6)
    assert Budget.parse(Budget(cpu_s=seconds).text) == Budget(cpu_s=seconds)


@pytest.mark.parametrize("text", ["0epochs", "0.0 epochs", "10000000epochs"])
def test_parse__epochs_out_of_range(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a number of epochs above zero; give for example 10epochs"):
        Budget.parse(text)


def test_with_epochs_as_steps__batches_of_the_training_images() -> None:
    assert Budget(epochs=2.5).with_epochs_as_steps(num_images=100, batch_size=32) == Budget(steps=8)
    assert Budget(epochs=0.001).with_epochs_as_steps(num_images=100, batch_size=32) == Budget(steps=1)
    assert Budget(wall_s=5).with_epochs_as_steps(num_images=100, batch_size=32) == Budget(wall_s=5)


@pytest.mark.parametrize(
    "limits", [{}, {"wall_s": 0}, {"steps": -1}, {"cpu_s": float("inf")}, {"wall_s": float("nan")}]
)
def test_budget__limits_above_zero(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"a budget must be above zero, got Budget\(.*\); give for example 90s"):
        Budget(**limits)


def test_budget__prints() -> None:
    assert str(Budget(wall_s=90)) == "90 s"
    assert str(Budget(wall_s=600, steps=50)) == "10 min or 50 steps"
    assert str(Budget(cpu_s=1200)) == "1200 cpu-s"
    assert not Budget(steps=5).is_timed


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.4, "8.4 s"), (90, "90 s"), (600, "10 min"), (7500, "2 h 5 min"), (0, "0.0 s")]
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_cost__adds_up_and_is_a_share_of_a_budget() -> None:
    spent = Cost(5, 20) - Cost(1, 2) + Cost(1, 2)
    assert spent == Cost(5, 20)
    assert spent.share_of(Budget(wall_s=10)) == 0.5
    assert spent.share_of(Budget(wall_s=10, cpu_s=25)) == 0.8
    assert spent.share_of(Budget(wall_s=10, steps=10), 9) == 0.9
    assert spent.share_of(Budget(steps=10)) == 0.0


def test_cost__the_clocks_advance() -> None:
    before = Cost.now()
    sum(range(10**5))
    spent = Cost.now() - before
    assert spent.wall_s > 0
    assert spent.cpu_s >= 0

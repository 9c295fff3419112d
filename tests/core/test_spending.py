"""What a command spent its time on, by a clock that the test moves."""

from __future__ import annotations

import time

import pytest

from understudy.core.budget import Budget, Cost
from understudy.core.spending import Spending, process_begun, spent_line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The wall clock's reading; the processor works half of the time."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: now[0] / 2)
    return now


def test_spending__every_moment_belongs_to_one_part(clock: list[float]) -> None:
    spending = Spending()
    clock[0] += 1
    spending.enter("reading")
    clock[0] += 2
    with spending.part("planning"):
        clock[0] += 4
        with spending.part("training"):
            clock[0] += 8
        clock[0] += 16
    clock[0] += 32
    assert {name: cost.wall_s for name, cost in spending.parts.items()} == {
        "start": 1,
        "reading": 34,
        "planning": 20,
        "training": 8,
    }
    assert sum(cost.cpu_s for cost in spending.parts.values()) == 31.5
    assert spending.wall_s("planning", "training", "report") == 28
    assert spending.to_json()["planning"] == {"wall_s": 20.0, "cpu_s": 10.0}


def test_spending__parts_are_in_the_order_of_a_command(clock: list[float]) -> None:
    spending = Spending()
    for name in ("evaluation", "report", "training", "reading"):  # evaluation and report are timed before training
        clock[0] += 1
        spending.enter(name)
    assert list(spending.parts) == ["start", "reading", "training", "evaluation", "report"]


def test_spending__a_command_that_began_before(clock: list[float]) -> None:
    assert Spending(Cost(97.0, 0.0)).parts["start"] == Cost(3.0, 50.0)


def test_process_begun__at_least_its_processor_time_ago(clock: list[float]) -> None:
    assert process_begun() == Cost(50.0, 0.0)


@pytest.mark.parametrize(
    ("training", "budget", "resumed", "sentence"),
    [
        ((55, 50), "60s", False, "The command took 60 s (start 5.0 s, training 55 s), close to the budget of 60 s."),
        ((60, 50), "60s", False, "The command took 65 s (start 5.0 s, training 60 s), close to the budget of 60 s."),
        ((70, 50), "60s", False, "The command took 75 s (start 5.0 s, training 70 s), 25 % more than the budget of "
         "60 s."),
        ((25, 20), "60s", False, "The command took 30 s (start 5.0 s, training 25 s), less than the budget of 60 s."),
        ((70, 50), "60s", True, "Since it was resumed, the command took 75 s (start 5.0 s, training 70 s)."),
        ((70, 50), "9steps", False, "The command took 75 s (start 5.0 s, training 70 s)."),
        ((70, 50), "50cpu-s", False, "Planning and training took 50.0 CPU-s, close to the budget of 50 cpu-s. The "
         "whole command took 75 s (start 5.0 s, training 70 s)."),
        ((70, 60), "50cpu-s", False, "Planning and training took 60.0 CPU-s, 20 % more than the budget of 50 cpu-s. "
         "The whole command took 75 s (start 5.0 s, training 70 s)."),
    ],
)  # fmt: skip
def test_spent_line__names_every_part_and_an_overrun(
    training: tuple[float, float], budget: str, resumed: bool, sentence: str
) -> None:
    parts = {"start": Cost(5, 4), "training": Cost(*training), "report": Cost(0.01, 0.01)}
    assert spent_line(parts, Budget.parse(budget), resumed=resumed) == sentence

"""What a recipe may spend: grants, what is paid from them, and the same grants after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.core.budget import Budget, Cost
from understudy.recipes.base import Purse


def finished(cpu_s: float, steps: int) -> Any:
    """What stands for a finished run: its cost and steps."""
    return type("Finished", (), {"cost": Cost(cpu_s, cpu_s), "steps": steps})()


def test_purse__grants_of_what_is_left() -> None:
    purse = Purse(Budget(cpu_s=1000.0), None)
    granted = purse.grant("first", 0.25).cpu_s
    assert granted is not None
    assert 249 < granted <= 250
    purse.pay(finished(400.0, 10))
    granted = purse.grant("second", 0.5).cpu_s
    assert granted is not None
    assert 299 < granted <= 300
    assert 400 <= purse.cost.cpu_s < 402


def test_purse__steps() -> None:
    purse = Purse(Budget(steps=100), None)
    assert purse.grant("first", 0.3) == Budget(steps=30)
    purse.pay(finished(1.0, 30))
    assert purse.grant("second", 1.0) == Budget(steps=70)


def test_purse__remembers_grants(tmp_path: Path) -> None:
    first = Purse(Budget(cpu_s=1000.0), tmp_path / "run")
    granted = first.grant("teacher", 0.5)
    first.pay(finished(123.0, 1))
    again = Purse(Budget(cpu_s=1000.0), tmp_path / "run")
    assert again.grant("teacher", 0.9) == granted


def test_purse__never_grants_nothing() -> None:
    purse = Purse(Budget(cpu_s=10.0), None)
    purse.pay(finished(50.0, 1))
    assert purse.grant("late", 1.0).cpu_s == 0.01


def test_purse__keeps_a_reserve_for_later_work() -> None:
    purse = Purse(Budget(cpu_s=1000.0), None)
    purse.pay(finished(400.0, 10))
    granted = purse.grant("first", 0.5, reserve=0.2).cpu_s
    assert granted is not None
    assert 199 < granted <= 200
    assert 0.59 < purse.left <= 0.6


def test_purse__reads_a_decision_of_an_earlier_process(tmp_path: Path) -> None:
    assert Purse(Budget(cpu_s=9.0), tmp_path / "run").recorded("plan", lambda: 3) == 3
    assert Purse(Budget(cpu_s=9.0), tmp_path / "run").recorded("plan", lambda: 4) == 3

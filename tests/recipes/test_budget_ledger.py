"""The budget of a recipe: grants, what is paid from them, and the same grants after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.core.budget import Budget, Cost
from understudy.recipes.parts.budget_ledger import BudgetLedger


def finished(cpu_s: float, steps: int) -> Any:
    """What stands for a finished run: its cost and steps."""
    return type("Finished", (), {"cost": Cost(cpu_s, cpu_s), "steps": steps})()


def test_budget_ledger__grants_of_what_is_left() -> None:
    ledger = BudgetLedger(Budget(cpu_s=1000.0), None)
    granted = ledger.grant("first", 0.25).cpu_s
    assert granted is not None
    assert 249 < granted <= 250
    ledger.pay(finished(400.0, 10))
    granted = ledger.grant("second", 0.5).cpu_s
    assert granted is not None
    assert 299 < granted <= 300
    assert 400 <= ledger.cost.cpu_s < 402


def test_budget_ledger__steps() -> None:
    ledger = BudgetLedger(Budget(steps=100), None)
    assert ledger.grant("first", 0.3) == Budget(steps=30)
    ledger.pay(finished(1.0, 30))
    assert ledger.grant("second", 1.0) == Budget(steps=70)


def test_budget_ledger__remembers_grants(tmp_path: Path) -> None:
    first = BudgetLedger(Budget(cpu_s=1000.0), tmp_path / "run")
    granted = first.grant("teacher", 0.5)
    first.pay(finished(123.0, 1))
    again = BudgetLedger(Budget(cpu_s=1000.0), tmp_path / "run")
    assert again.grant("teacher", 0.9) == granted


def test_budget_ledger__never_grants_nothing() -> None:
    ledger = BudgetLedger(Budget(cpu_s=10.0), None)
    ledger.pay(finished(50.0, 1))
    assert ledger.grant("late", 1.0).cpu_s == 0.01


def test_budget_ledger__keeps_a_reserve_for_later_work() -> None:
    ledger = BudgetLedger(Budget(cpu_s=1000.0), None)
    ledger.pay(finished(400.0, 10))
    granted = ledger.grant("first", 0.5, reserve=0.2).cpu_s
    assert granted is not None
    assert 199 < granted <= 200
    assert 0.59 < ledger.left <= 0.6


def test_budget_ledger__reads_a_decision_of_an_earlier_process(tmp_path: Path) -> None:
    assert BudgetLedger(Budget(cpu_s=9.0), tmp_path / "run").recorded("plan", lambda: 3) == 3
    assert BudgetLedger(Budget(cpu_s=9.0), tmp_path / "run").recorded("plan", lambda: 4) == 3

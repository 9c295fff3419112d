"""Budgets become shares of training: monotone, complete, and on time even where the cost of a step changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.contract.tiny import network, run, stage
from understudy.core.budget import Budget, Cost
from understudy.engine import pace as pace_module
from understudy.engine.ledger import Ledger
from understudy.engine.pace import MAX_WARMUP, Pace, Pacer
from understudy.methods.fixmatch import FixMatch


def simulate(budget: Budget, warmup: float, cost: Callable[[int, float], float]) -> tuple[list[float], float]:
    """The progress before each step of a run that follows the pacer, and the seconds it took.

    Args:
        cost: Seconds of a step, from its phase and the share of the budget spent before it.
    """
    pacer = Pacer(budget, warmup)
    pace, phase, spent = pacer.start(), 1 if warmup > 0 else 2, 0.0
    seen: list[float] = []
    while True:
        step, share = len(seen), Cost(spent, spent).share_of(budget, len(seen))
        if phase == 1 and pace.progress(step) >= warmup:
            phase = 2
            pace = pacer.enter_second_phase(pace, step, share) if budget.is_timed else pace
        elif budget.is_timed:
            pace = pacer.propose(pace, step, share) or pace
        seen.append(pace.progress(step))
        if seen[-1] >= 1.0:
            return seen, spent
        spent += cost(phase, share)


@given(
    warmup=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    steps=st.integers(30, 400),
    second=st.floats(0.3, 8.0),
    late=st.floats(0.5, 2.0),
)
def test_pacer__a_timed_run_ends_on_time(warmup: float, steps: int, second: float, late: float) -> None:
    def cost(phase: int, share: float) -> float:
        return (1.0 if phase == 1 else second) * (late if share > 0.5 else 1.0)

    seconds = steps * max(1.0, second)
    seen, spent = simulate(Budget(wall_s=seconds), warmup, cost)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert all(before <= after for before, after in itertools.pairwise(seen))
    assert abs(spent - seconds) <= 0.1 * seconds + 3 * max(1.0, second) * late


@given(steps=st.integers(1, 300), warmup=st.sampled_from([0.0, 0.1, 1.0]))
def test_pacer__a_counted_run_takes_its_steps(steps: int, warmup: float) -> None:
    seen, _ = simulate(Budget(steps=steps), warmup, lambda *_: 1.0)
    assert len(seen) == steps + 1
    assert seen[-1] == 1.0
    assert all(before < after for before, after in itertools.pairwise(seen))


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_pacer__the_first_limit_of_two_counts(warmup: float) -> None:
    assert len(simulate(Budget(wall_s=1000.0, steps=50), warmup, lambda *_: 1.0)[0]) == 51
    assert abs(len(simulate(Budget(wall_s=50.0, steps=1000), warmup, lambda *_: 1.0)[0]) - 51) <= 5


def test_pace__stays_in_bounds() -> None:
    pace = Pace(10, 0.3, 20, 0.5)
    assert [pace.progress(step) for step in (10, 15, 20, 99)] == pytest.approx([0.3, 0.4, 0.5, 0.5])
    assert Pace(10, 0.0, 20, 0.5).progress(0) == 0.0


class Clock:
    """Seconds that pass only where a costly network runs."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def install(self, monkeypatch: pytest.MonkeyPatch, cpu: float = 1.0) -> None:
        monkeypatch.setattr(Cost, "now", classmethod(lambda cls: cls(self.seconds, cpu * self.seconds)))
        monkeypatch.setattr(pace_module, "CLOCK_S", 0.0)


class Costly(nn.Module):
    """Takes a hundredth of a second per row."""

    clock: Clock

    def forward(self, x: Tensor) -> Tensor:
        self.clock.seconds += 0.01 * len(x)
        return x

    def __deepcopy__(self, _: Any) -> Costly:
        copied = Costly()
        copied.clock = self.clock
        return copied


@pytest.mark.parametrize("budget", [Budget(wall_s=20.0), Budget(cpu_s=40.0)], ids=str)
def test_fit__ends_with_its_budget(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, costly = Clock(), Costly()
    costly.clock = clock
    clock.install(monkeypatch, cpu=2.0)
    ended = run(stage(FixMatch(mu=3), budget=budget, net=nn.Sequential(costly, network()), warmup=0.2))
    assert ended.trained.cost.wall_s == pytest.approx(20.0, rel=0.1)
    assert ended.meta["phase"] == 2
    assert ended.trained.history[-1]["progress"] == 1.0


@pytest.mark.parametrize(("seconds", "least", "most"), [(60.0, 40, 60), (3.0, 5, 30)])
def test_fit__a_timed_first_phase_has_steps_enough_or_half_of_the_time(
    seconds: float, least: int, most: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, costly = Clock(), Costly()
    costly.clock = clock
    clock.install(monkeypatch)
    phases: list[int] = []
    training = stage(FixMatch(mu=3), budget=Budget(wall_s=seconds), net=nn.Sequential(costly, network()), warmup=0.02)
    ended = run(training, tmp_path, observe=[lambda report: phases.append(report.phase)])
    assert least <= phases.count(1) <= most
    assert 0.02 < ended.meta["pacer"]["warmup"] <= MAX_WARMUP
    assert ended.trained.cost.wall_s == pytest.approx(seconds, rel=0.1, abs=0.5)
    assert any(getattr(entry, "warmup", 0) > 0.02 for entry in Ledger(tmp_path / "ledger.jsonl").entries)


def test_pacer__a_budget_that_was_over_when_the_second_phase_began_ends_it() -> None:
    """A first phase may take longer than the whole budget; no later mark would be passed then."""
    pacer = Pacer(Budget(cpu_s=1.0), warmup=0.5)
    pace = pacer.enter_second_phase(Pace(0, 0.0, 1, 0.5), 1, 1.8)
    assert pacer.propose(pace, 1, 1.8) is None
    ended = pacer.propose(pace, 2, 2.1)
    assert ended is not None
    assert ended.progress(2) == 1.0

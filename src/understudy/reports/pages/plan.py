"""The part of a run's page about its plan: each setting, what decided it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.budget import format_seconds
from understudy.core.text import percent
from understudy.reports.page import PageTable, Section

_HOW = {
    "asked": "requested",
    "measured": "measured",
    "tried": "short trials",
    "rule": "rule from benchmarks",
}
_PARTS = ("data", "architecture", "optimization", "regularization", "ssl")


def plan_section(result: Mapping[str, Any]) -> Section:
    """A table of the choices; empty where fixed defaults were asked for."""
    plan = result.get("plan")
    if not plan:
        return Section("Settings and their reasons")
    rows = [
        (choice["key"], _value(choice["value"]), _HOW[choice["how"]], choice["reason"]) for choice in _choices(plan)
    ]
    if plan["note"]:
        planning = f"Nothing was measured or tried, because {plan['note']}."
    else:
        spent = format_seconds(plan["cost"]["wall_s"])
        planning = f"Planning (inspecting the images, timing the machine, short trials) took {spent}, "
        planning += f"{percent(plan['share'], 0)} of the budget of {plan['budget']}."
    return Section(
        "Settings and their reasons",
        [planning, "Override a setting with its option, or edit plan.toml and pass it with --plan."],
        tables=[PageTable(("setting", "value", "decided by", "why"), rows)],
    )


def is_about_plan(note: str, result: Mapping[str, Any]) -> bool:
    """Whether a sentence of the log is one of those that the table holds."""
    plan = result.get("plan")
    if not plan:
        return False
    return any(note.startswith(f"{choice['key']} = ") for choice in _choices(plan)) or note.startswith("Planned ")


def _choices(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        choice
        for part in _PARTS
        for name, choice in plan[part].items()
        if name not in ("cost", "figures") and isinstance(choice, Mapping)
    ]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

"""A plan as a table: every setting with its value, what decided it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.display.console import say
from understudy.display.tables import new_table
from understudy.planning.plan import format_setting

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.planning.plan import Plan

_HOW = {"asked": "you", "measured": "measured", "tried": "trials", "rule": "rule"}


def print_plan(console: Console, plan: Plan) -> None:
    """Print what will be trained, a table of the choices for each part of the plan, and the cost of planning."""
    recipe = "plain" if plan.ssl.recipe is None else plan.ssl.recipe.value
    say(console, plan.decision("labeled and unlabeled images", method=plan.ssl.method.value, recipe=recipe))
    say(console)
    table = new_table()
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("by", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for part in plan.parts.values():
        for choice in part.choices:
            table.add_row(choice.key, format_setting(choice.value), _HOW[choice.how], choice.reason)
        if part.choices:
            table.add_section()
    console.print(table)
    say(console, plan.summary)
    say(console)

"""`understudy methods`: what can be asked for by name, and the knobs of each method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A method, to see its knobs.", show_default=False)
    ] = None,
) -> None:
    """List the methods, networks and domains, or explain one method and its knobs.

    Choose one with [bold]--method[/bold] of [bold]understudy train[/bold], and turn its knobs with
    [bold]--set method.KNOB=VALUE[/bold].

    [bold]Examples:[/bold]
      understudy methods
      understudy methods fixmatch
    """
    from understudy.cli.console import open_console

    console = open_console()
    if name is None:
        _print_all(console)
    else:
        _print_one(console, name)


def _print_all(console: Console) -> None:
    from understudy.augment import DOMAINS
    from understudy.cli.console import say
    from understudy.engine.optim import OPTIMIZERS
    from understudy.methods.base import METHODS
    from understudy.models import names

    for name in METHODS.names():
        kind = METHODS.get(name)
        console.print(name, style="bold")
        for what, text in (("idea", kind.summary), ("use", kind.use_when), ("paper", kind.paper)):
            say(console, f"  {what:<6} {text}")
    say(console)
    say(console, f"networks    {', '.join(names())}, timm:NAME, torchvision:NAME")
    say(console, f"domains     {', '.join(DOMAINS)}")
    say(console, f"optimizers  {', '.join(OPTIMIZERS.names())}")
    say(console)
    say(console, "Knobs of a method: understudy methods NAME")


def _print_one(console: Console, name: str) -> None:
    from understudy.cli.console import say
    from understudy.cli.tables import new_table
    from understudy.core.config import knobs
    from understudy.methods.base import METHODS

    kind = METHODS.get(name)
    default = kind()
    console.print(name, style="bold")
    for text in (kind.summary, f"Use {kind.use_when}.", f"Paper: {kind.paper}"):
        say(console, text)
    say(console)
    table = new_table()
    table.add_column("--set method.")
    table.add_column("default", justify="right")
    table.add_column("allowed")
    table.add_column("meaning")
    for knob_name, knob in knobs(kind).items():
        table.add_row(knob_name, _plain(getattr(default, knob_name)), knob.allowed, knob.help)
    console.print(table)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

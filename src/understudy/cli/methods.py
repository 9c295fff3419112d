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
    """List the methods, recipes, presets, networks and domains, or explain one method or recipe and its settings.

    Choose one with [bold]--method[/bold] of [bold]understudy train[/bold], and turn its knobs with
    [bold]--set method.KNOB=VALUE[/bold].

    [bold]Examples:[/bold]
      understudy methods
      understudy methods fixmatch
    """
    from understudy.display.console import open_console

    console = open_console()
    if name is None:
        _print_all(console)
    else:
        _print_one(console, name)


def _print_all(console: Console) -> None:
    from understudy.augment import DOMAINS
    from understudy.display.console import say
    from understudy.engine.optim import OPTIMIZERS
    from understudy.experiment import presets
    from understudy.methods.base import METHODS
    from understudy.models import names
    from understudy.recipes.base import RECIPES

    kinds = [METHODS.get(name) for name in METHODS.names()]
    say(console, "METHODS, chosen with --method")
    for kind in (kind for kind in kinds if not kind.pretext):
        _print_entry(console, kind, idea=kind.summary, use=kind.use_when, cost=cost(kind), paper=kind.paper)
    say(console)
    say(console, "PRETEXT METHODS, chosen with --recipe pretrain --set recipe.pretext.name=NAME")
    for kind in (kind for kind in kinds if kind.pretext):
        _print_entry(console, kind, idea=kind.summary, use=kind.use_when, paper=kind.paper)
    say(console)
    say(console, "RECIPES, chosen with --recipe")
    for kind in map(RECIPES.get, RECIPES.names()):
        _print_entry(console, kind, idea=kind.summary, use=kind.use_when)
    say(console)
    say(console, "PRESETS, chosen with --preset")
    for name in presets.names():
        console.print(name, style="bold")
        say(console, f"  idea   {presets.summary(name)}")
    say(console)
    say(console, f"networks    {', '.join(names())}, timm:NAME, torchvision:NAME")
    say(console, f"domains     {', '.join(DOMAINS)}")
    say(console, f"optimizers  {', '.join(OPTIMIZERS.names())}")
    say(console)
    say(console, "Settings of a method or recipe: understudy methods NAME")


def _print_entry(console: Console, kind: Any, **facts: str) -> None:
    from understudy.display.console import say

    console.print(kind.name, style="bold")
    for what, text in facts.items():
        say(console, f"  {what:<6} {text}")


def _print_one(console: Console, name: str) -> None:
    from understudy.display.console import say
    from understudy.methods.base import METHODS
    from understudy.recipes.base import RECIPES

    if name in RECIPES.names():
        recipe = RECIPES.get(name)
        console.print(f"{name} (recipe)", style="bold")
        for text in (recipe.summary, f"Use {recipe.use_when}."):
            say(console, text)
        _print_settings(console, recipe(), "recipe")
        return
    kind = METHODS.get(name)
    console.print(name, style="bold")
    for text in (kind.summary, f"Use {kind.use_when}.", f"A step costs {cost(kind)}.", f"Paper: {kind.paper}"):
        say(console, text)
    _print_settings(console, kind(), "method")


def _print_settings(console: Console, config: Any, key: str) -> None:
    from understudy.core.config import lines
    from understudy.display.console import say

    say(console)
    say(console, f"Settings, changed with --set {key}.KEY=VALUE:")
    for line in lines(config):
        say(console, f"  {line.key} = {line.value}   ({line.allowed})")
        say(console, f"      {line.help}")


def cost(kind: Any) -> str:
    """What a step of a method costs, in words."""
    if kind.cost is None:
        return "not measured"
    return f"{kind.cost:.1f} supervised steps of as many labeled images, at mu 7 when every image counts"

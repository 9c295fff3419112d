"""`understudy methods`: everything that has a name, and the settings of each method and recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.cli import options

if TYPE_CHECKING:
    from rich.console import Console


def methods(name: options.MethodName = None) -> None:
    """List methods, recipes, presets, networks and domains, or explain one method or recipe and its settings.

    Select a method with [bold]--method[/bold], and change its settings with [bold]--set method.KEY=VALUE[/bold].

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

    classes = [METHODS.get(name) for name in METHODS.names()]
    say(console, "METHODS (--method NAME)")
    for method in (method for method in classes if not method.pretext):
        _print_entry(console, method, idea=method.summary, use=method.use_when, cost=cost(method), paper=method.paper)
    say(console)
    say(console, "PRETEXT METHODS (--recipe pretrain --set recipe.pretext=NAME)")
    for method in (method for method in classes if method.pretext):
        _print_entry(console, method, idea=method.summary, use=method.use_when, paper=method.paper)
    say(console)
    say(console, "RECIPES (--recipe NAME)")
    for recipe in map(RECIPES.get, RECIPES.names()):
        _print_entry(console, recipe, idea=recipe.summary, use=recipe.use_when)
    say(console)
    say(console, "PRESETS (--preset NAME)")
    for name in presets.names():
        console.print(name, style="bold")
        say(console, f"  idea   {presets.summary(name)}")
    say(console)
    say(console, f"networks    {', '.join(names())}, timm:NAME, torchvision:NAME")
    say(console, f"domains     {', '.join(DOMAINS)}")
    say(console, f"optimizers  {', '.join(OPTIMIZERS.names())}")
    say(console)
    say(console, "Settings of a method or recipe: understudy methods NAME")


def _print_entry(console: Console, entry: Any, **facts: str) -> None:
    from understudy.display.console import say

    console.print(entry.name, style="bold")
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
    method = METHODS.get(name)
    console.print(name, style="bold")
    facts = (f"Use {method.use_when}.", f"Cost of a step: {cost(method)}.", f"Paper: {method.paper}")
    for text in (method.summary, *facts):
        say(console, text)
    _print_settings(console, method(), "method")


def _print_settings(console: Console, config: Any, key: str) -> None:
    from understudy.core.config import lines
    from understudy.display.console import say

    say(console)
    say(console, f"Settings, changed with --set {key}.KEY=VALUE:")
    for line in lines(config):
        say(console, f"  {line.key} = {line.value}   ({line.allowed})")
        say(console, f"      {line.help}")


def cost(method: Any) -> str:
    """The cost of a step of a method, in words."""
    if method.cost is None:
        return "not measured"
    return f"{method.cost:.1f} supervised steps with the same number of labeled images, for mu 7 and mask ratio 1"

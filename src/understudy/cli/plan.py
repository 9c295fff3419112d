"""`understudy plan`: every choice of a training run with its reason, before the training itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from understudy.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.planning.plan import Plan


def plan(
    ctx: typer.Context,
    photos: options.PhotosOrPlan,
    unlabeled: options.Unlabeled = None,
    test: options.Test = None,
    validation: options.Validation = None,
    num_labels: options.NumLabels = None,
    budget: options.TrainingBudget = None,
    method: options.Method = None,
    network: options.Network = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    device: options.Device = None,
    cache: options.Cache = None,
    out: options.PlanFile = Path("plan.toml"),
    overwrite: options.Overwrite = False,
    against: options.OtherPlan = None,
) -> None:
    """Choose all settings of a training run from the images and the machine, and explain each choice.

    Planning takes about a fifth of the budget. `understudy train` plans by itself; plan first to read the choices, to
    change some in the file, and to train with it. Options given here are kept, and the rest is planned.

    [bold]Examples:[/bold]
      understudy plan photos --unlabeled unlabeled --budget 10m
      understudy train photos --unlabeled unlabeled --budget 10m --plan plan.toml
      understudy plan runs/a/plan.toml --against runs/b/plan.toml [dim](what differs)[/dim]
    """
    from understudy.cli.request import TRAIN, Request, options_table
    from understudy.core.outputs import check_output
    from understudy.display.console import open_console, say
    from understudy.display.plans import print_plan
    from understudy.planning.plan import Plan

    console = open_console()
    other = None if against is None else Plan.load(_file(against))
    if photos.endswith(".toml"):
        chosen = Plan.load(_file(Path(photos)))
        print_plan(console, chosen)
        _print_differences(console, chosen, other, against)
        return
    check_output(out, "a plan", (".toml",), option="--out", overwrite=overwrite)
    if out.exists():
        Plan.load(out)  # another kind of file is never replaced
    request = Request.new(
        TRAIN,
        photos,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        cache=cache,
        options=options_table(config, options.given_settings(ctx), assignments or ()),
    )
    request.check()
    from understudy.api.train import plan as make_plan
    from understudy.display.progress import watching

    with watching(console) as watch:
        chosen = make_plan(
            request.source,
            unlabeled=request.unlabeled,
            test=request.test,
            validation=request.validation,
            cache=request.cache,
            config=request.options,
            watch=watch,
        )
    chosen.save(out)
    say(console)
    print_plan(console, chosen)
    _print_differences(console, chosen, other, against)
    say(console, f"Saved in {out}. Next:")
    words = ["understudy", "train", photos]
    for option, value in (
        *(("--unlabeled", pool) for pool in unlabeled or ()),
        ("--test", test),
        ("--validation", validation),
        ("--num-labels", num_labels),
        ("--config", config),
        *(("--set", assignment) for assignment in assignments or ()),
        ("--device", device),
        ("--cache", cache),
        ("--plan", out),
        ("--budget", chosen.budget.text),
    ):
        if value is not None:
            words += [option, str(value)]
    say(console, f"  {shlex.join(words)}")


def _file(path: Path) -> Path:
    """The path of a plan.

    Raises:
        UserError: It is a folder.
    """
    from understudy.core.errors import UserError

    if path.is_dir():
        raise UserError(f"{path} is a folder; name a plan.toml that `understudy plan` or a training run wrote")
    return path


def _print_differences(console: Console, plan: Plan, other: Plan | None, path: Path | None) -> None:
    from understudy.display.console import say

    if other is None:
        return
    lines = plan.diff(other)
    say(console, f"{path} makes other choices:" if lines else f"{path} makes the same choices.")
    for line in lines:
        say(console, f"  {line}")
    say(console)

"""`understudy plan`: every choice of a training run with its reason, before anything is trained in earnest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.planning.plan import Plan


def plan(
    photos: Annotated[
        str,
        typer.Argument(
            metavar="PHOTOS", help="Labeled images, as `train` takes them, or a saved plan.", show_default=False
        ),
    ],
    unlabeled: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="More images, whose labels are unknown or not used; may be repeated."),
    ] = None,
    test: Annotated[str | None, typer.Option(metavar="TEST", help="Labeled images that will only test.")] = None,
    validation: Annotated[
        str | None, typer.Option(metavar="VALIDATION", help="Labeled images that select; never trained on.")
    ] = None,
    labels: Annotated[
        int | None, typer.Option(metavar="N", help="Keep N labels and hide the others, as `train --labels` does.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Length of the training to plan for (default: 10m).")
    ] = None,
    method: Annotated[str | None, typer.Option(metavar="NAME", help="Take this method, and plan the rest.")] = None,
    network: Annotated[str | None, typer.Option(metavar="NAME", help="Take this network, and plan the rest.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings that are taken as given.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, taken as given; may be repeated."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the fastest).")
    ] = None,
    cache: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where decoded images are kept for later runs.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="PLAN.toml", help="The file to write, replaced if it is a plan.", show_default=True)
    ] = Path("plan.toml"),
    against: Annotated[
        Path | None, typer.Option(metavar="PLAN.toml", help="Also say what another plan chooses otherwise.")
    ] = None,
) -> None:
    """Look at the images and the machine, choose everything a training run needs, and say why.

    It takes about a fifth of the budget. `understudy train` does the same by itself; plan first to read the choices,
    change some in the file, and train with it.

    [bold]Examples:[/bold]
      understudy plan photos --unlabeled unlabeled --budget 10m
      understudy train photos --unlabeled unlabeled --budget 10m --plan plan.toml
      understudy plan runs/a/plan.toml --against runs/b/plan.toml [dim](what differs)[/dim]
    """
    from understudy.cli.request import Request, absolute, absolute_pools, options_table
    from understudy.core.outputs import check_output
    from understudy.display.console import open_console, say
    from understudy.display.plans import print_plan
    from understudy.planning.plan import Plan

    console = open_console()
    other = None if against is None else Plan.load(_file(against))
    if photos.endswith(".toml"):
        found = Plan.load(_file(Path(photos)))
        print_plan(console, found)
        _print_differences(console, found, other, against)
        return
    check_output(out, "a plan", (".toml",), option="--out")
    if out.exists():
        Plan.load(out)  # no other file is replaced
    given: dict[str, Any] = {
        "budget": budget,
        "num_labels": labels,
        "method": method,
        "network": network,
        "device": device,
    }
    request = Request(
        source=absolute(photos) or photos,
        unlabeled=absolute_pools(unlabeled),
        test=absolute(test),
        validation=absolute(validation),
        options=options_table(config, given, assignments or ()),
    )
    request.check()
    from understudy.api.train import plan
    from understudy.display.progress import watching

    with watching(console) as watch:
        found = plan(
            request.source,
            unlabeled=request.unlabeled,
            test=request.test,
            validation=request.validation,
            cache=cache,
            config=request.options,
            watch=watch,
        )
    found.save(out)
    say(console)
    print_plan(console, found)
    _print_differences(console, found, other, against)
    say(console, f"Saved in {out}. Next:")
    words = ["understudy", "train", photos]
    for option, value in (
        *(("--unlabeled", pool) for pool in unlabeled or ()),
        ("--test", test),
        ("--validation", validation),
        ("--labels", labels),
        ("--config", config),
        *(("--set", assignment) for assignment in assignments or ()),
        ("--device", device),
        ("--cache", cache),
        ("--plan", out),
        ("--budget", found.budget.text),
    ):
        if value is not None:
            words += [option, str(value)]
    say(console, f"  {shlex.join(words)}")


def _file(path: Path) -> Path:
    """The path, unless a folder lies there.

    Raises:
        UserError: One does.
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
    say(console, f"{path} chooses otherwise:" if lines else f"{path} chooses the same.")
    for line in lines:
        say(console, f"  {line}")
    say(console)

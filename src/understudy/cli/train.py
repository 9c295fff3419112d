"""`understudy train`: from a folder of images to a proven classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.core.errors import UserError
from understudy.core.spending import process_begun

_DATA, _BUDGET, _PROOF, _METHOD, _MACHINE, _OUTPUT = "Data", "Budget", "Proof", "Method", "Machine", "Output"


def train(
    photos: Annotated[
        str | None,
        typer.Argument(
            metavar="PHOTOS",
            help="Labeled images: a folder per class, a .csv or .parquet manifest, or a data set's name.",
            show_default=False,
        ),
    ] = None,
    unlabeled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="More images, whose labels are unknown or not used; may be repeated.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="TEST", help="Labeled images that only test; some of PHOTOS if not given.", rich_help_panel=_DATA
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="VALIDATION",
            help="Labeled images that select the best weights and settings; never trained on.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    labels: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Keep N labels and hide the others, to see what N labels buy.", rich_help_panel=_DATA
        ),
    ] = None,
    imbalance: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="Make the labels kept long-tailed: the first class has RATIO times the last one's.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    unlabeled_imbalance: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="The same of the images whose labels are hidden; --set unlabeled_order=reversed turns it round.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    filter_pool: Annotated[
        bool,
        typer.Option(
            "--filter-pool",
            help="Leave unlabeled images unlike the labeled ones out (--no-filter-pool overrules a file).",
            rich_help_panel=_DATA,
        ),
    ] = False,
    no_filter_pool: Annotated[bool, typer.Option("--no-filter-pool", hidden=True)] = False,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the images show, so how they may be altered (default: auto).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Side at which images are trained (default: by the images).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(metavar="1|3", help="Gray-scale or color (default: by the images).", rich_help_panel=_DATA),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="Length of the whole command, as 90s, 10m or 2h (default: 10m); of planning and training, as "
            "1200cpu-s; of each training, as 5000steps or 10epochs.",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Train with N seeds, each with 1/N of the budget, and say what holds for all of them.",
            rich_help_panel=_PROOF,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Let every labeled image judge once, by models trained on the other folds; then train on all.",
            rich_help_panel=_PROOF,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How unlabeled images are learned from; `understudy methods` lists them (default: softmatch).",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How runs are put together; `understudy methods` lists the recipes (default: plain, one run).",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    downstream: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --recipe pretrain: the recipe that starts from its features, such as noisy_student.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A network of `understudy methods`, timm:NAME, torchvision:NAME, file.py:factory or file.pt2.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number that all randomness derives from (default: 0).", rich_help_panel=_METHOD
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN.toml",
            help="Choices of `understudy plan` or an earlier run; without it they are made anew.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    no_plan: Annotated[
        bool, typer.Option("--no-plan", help="Take fixed defaults instead of planning.", rich_help_panel=_METHOD)
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Settings under a name, overruled by --config and other options; `understudy methods` lists them.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings, such as the config.toml of a run.", rich_help_panel=_METHOD),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting, such as method.threshold=0.9; may be repeated.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    averaging: Annotated[
        bool,
        typer.Option(
            "--test-time-averaging",
            help="Average predictions over shifts and mirrors of an image (--no-test-time-averaging overrules a file).",
            rich_help_panel=_METHOD,
        ),
    ] = False,
    no_averaging: Annotated[bool, typer.Option("--no-test-time-averaging", hidden=True)] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="cpu, cuda, cuda:1 or mps (default: the fastest).",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where decoded images are kept for later runs.", rich_help_panel=_MACHINE),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="A new folder for the run (default: runs/NAME-DATE-TIME).", rich_help_panel=_OUTPUT
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also log every evaluation for TensorBoard.", rich_help_panel=_OUTPUT),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Print every choice of the plan with its reason.", rich_help_panel=_OUTPUT),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with an interrupted run; needs nothing else.", rich_help_panel=_OUTPUT),
    ] = None,
) -> None:
    """Train with and without the unlabeled images at equal cost, and say which classifier to use.

    Half of the budget goes to the labels alone, half to labels and unlabeled images together. Held-out images then
    judge both; the better classifier is saved with all figures and a report. Next come [bold]understudy predict[/bold]
    and [bold]understudy evaluate[/bold].

    [bold]Examples:[/bold]
      understudy train photos --unlabeled unlabeled --budget 10m
      understudy train labels.csv --method fixmatch --set method.threshold=0.9
      understudy train photos --unlabeled unlabeled --recipe pretrain --downstream noisy_student
      understudy train photos --labels 100 [dim](what would 100 labels buy?)[/dim]
      understudy train photos --unlabeled unlabeled --folds 5 [dim](few labels: all of them train and judge)[/dim]
      understudy train --resume runs/photos-20260131-120000 [dim](after Ctrl-C)[/dim]
    """
    begun = process_begun()
    from understudy.cli.request import Request, absolute, absolute_plan, absolute_pools, open_folder, options_table
    from understudy.cli.training import run
    from understudy.core.outputs import check_folder

    given: dict[str, Any] = {
        "preset": preset,
        "budget": budget,
        "repeats": repeats,
        "folds": folds,
        "method": method,
        "recipe": recipe,
        "downstream": downstream,
        "network": network,
        "seed": seed,
        "num_labels": labels,
        "imbalance": imbalance,
        "unlabeled_imbalance": unlabeled_imbalance,
        "domain": domain,
        "size": size,
        "channels": channels,
        "device": device,
        "filter_pool": (filter_pool and not no_filter_pool) if filter_pool or no_filter_pool else None,
        "test_time_averaging": (averaging and not no_averaging) if averaging or no_averaging else None,
    }
    if resume is not None:
        others = (
            photos,
            unlabeled,
            test,
            validation,
            plan,
            no_plan or None,
            config,
            cache,
            out,
            *given.values(),
            *(assignments or ()),
        )
        if any(value is not None for value in others):
            raise UserError(
                f"--resume takes everything from {resume}; leave out all but --tensorboard and --verbose, or train "
                "into a new folder"
            )
        run(Request.load(resume), resume, begun=begun, fresh=False, tensorboard=tensorboard, verbose=verbose)
        return
    if photos is None:
        raise UserError("no images were given; name a folder or manifest: understudy train PHOTOS --unlabeled DIR")
    chosen = absolute_plan(plan, no_plan)
    request = Request(
        source=absolute(photos) or photos,
        unlabeled=absolute_pools(unlabeled),
        test=absolute(test),
        validation=absolute(validation),
        cache=None if cache is None else str(Path(cache).expanduser().absolute()),
        options=options_table(config, given, assignments or (), plan=plan),
        plan=chosen,
    )
    request.check()
    if tensorboard is not None:
        check_folder(tensorboard, option="--tensorboard")
    folder = open_folder(out, request.source)
    request.save(folder)
    run(request, folder, begun=begun, fresh=True, tensorboard=tensorboard, verbose=verbose)

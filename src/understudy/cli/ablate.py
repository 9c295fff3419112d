"""`understudy ablate`: what each ingredient of a run adds to those before it, at equal budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.core.errors import UserError

_DATA, _LADDER, _RUNS, _MACHINE, _OUTPUT = "Data", "What is added", "Each run", "Machine", "Output"


def ablate(
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
            metavar="TEST",
            help="Labeled images that only test; a fifth of PHOTOS if there are none.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="VALIDATION",
            help="Labeled images that select the best weights and method; never trained on.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    labels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Number of labels to keep, the others hidden (default: the labels as given).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose unlabeled images are added; `understudy methods` lists them (default: softmatch).",
            rich_help_panel=_LADDER,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="pretrain adds pretraining as the last ingredient.", rich_help_panel=_LADDER),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="How many seeds, each another draw of labels and weights; 4,5,6 names them (default: 3).",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="Length of each run: 60cpu-s, 90s, 10m or 5000steps (default: 60cpu-s).",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A network of `understudy methods`, timm:NAME, torchvision:NAME, or your own as file.py:factory.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings, such as the config.toml of a run.", rich_help_panel=_RUNS),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting, such as method.threshold=0.9; may be repeated.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Runs at a time, one thread each (default: free cores).", rich_help_panel=_MACHINE
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the fastest).", rich_help_panel=_MACHINE),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where decoded images are kept for later runs.", rich_help_panel=_MACHINE),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A new folder, or one of the same comparison or ablation, of which only what is missing is trained "
            "(default: runs/ablate-NAME-DATE-TIME).",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Go on with an interrupted ablation; needs nothing else.", rich_help_panel=_OUTPUT
        ),
    ] = None,
) -> None:
    """Add one ingredient after another to the barest supervised run, and say what each of them adds.

    The ladder: weak augmentation, one learning rate, no average of the weights; then the schedule of the learning rate,
    the average of the weights, strong augmentation of labeled images, the method's unlabeled images, and with --recipe
    pretrain also pretraining. Every rung has the same budget, labels and initial weights, over several seeds; each is
    compared with the one before it, with an interval and a test corrected for all steps.

    [bold]Examples:[/bold]
      understudy ablate digits --labels 40 --budget 20cpu-s
      understudy ablate photos --method fixmatch --recipe pretrain --labels 250 --seeds 5
      understudy ablate --resume runs/ablate-photos-20260131-120000 [dim](after Ctrl-C)[/dim]
    """
    from understudy.cli.compare import seeds_asked
    from understudy.cli.comparing import ABLATE, holds_comparison, load_request, run
    from understudy.cli.request import Request, absolute, absolute_pools, open_folder, options_table

    given: dict[str, Any] = {
        "method": method,
        "recipe": recipe,
        "num_labels": labels,
        "budget": budget,
        "network": network,
        "device": device,
    }
    if resume is not None:
        others = (photos, unlabeled, test, validation, seeds, config, assignments, cache, out, *given.values())
        if any(value is not None for value in others):
            raise UserError(f"--resume takes everything from {resume}; leave out all but --jobs")
        run(load_request(resume, ABLATE), resume, jobs, fresh=False, command=ABLATE)
        return
    if photos is None:
        raise UserError("no images were given; name a folder, manifest or data set: understudy ablate PHOTOS")
    options = options_table(config, given, assignments or ())
    if seeds is not None:
        options["seeds"] = seeds_asked(seeds)
    request = Request(
        source=absolute(photos) or photos,
        unlabeled=absolute_pools(unlabeled),
        test=absolute(test),
        validation=absolute(validation),
        cache=None if cache is None else str(Path(cache).expanduser().absolute()),
        options=options,
    )
    is_known = out is not None and holds_comparison(out)
    folder = out if out is not None and is_known else open_folder(out, f"ablate-{Path(photos).name}")
    run(request, folder, jobs, fresh=not is_known, command=ABLATE)

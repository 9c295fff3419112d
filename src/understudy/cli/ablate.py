"""`understudy ablate`: what each ingredient of a run adds to those before it, at equal budget."""

from __future__ import annotations

import typer

from understudy.cli import options
from understudy.core.errors import UserError


def ablate(
    ctx: typer.Context,
    photos: options.PhotosUnlessResumed = None,
    unlabeled: options.Unlabeled = None,
    test: options.Test = None,
    validation: options.Validation = None,
    num_labels: options.NumLabels = None,
    budget: options.RunBudget = None,
    seeds: options.Seeds = None,
    method: options.Method = None,
    recipe: options.AblatedRecipe = None,
    network: options.Network = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    device: options.Device = None,
    cache: options.Cache = None,
    jobs: options.Jobs = None,
    out: options.NewOrSameRun = None,
    resume: options.Resume = None,
) -> None:
    """Add one ingredient after another to a bare supervised run, and measure what each of them adds.

    The bare run has weak augmentation, a constant learning rate and no weight averaging. Added in turn are the
    learning-rate schedule, weight averaging, strong augmentation of labeled images, the method's unlabeled images and,
    with --recipe pretrain, pretraining. All runs have the same budget, labels and initial weights, over several seeds.
    Each ingredient is compared with the run before it, with a confidence interval and a test corrected for all steps.

    [bold]Examples:[/bold]
      understudy ablate digits --num-labels 40 --budget 20cpu-s
      understudy ablate photos --method fixmatch --recipe pretrain --num-labels 250 --seeds 5
      understudy ablate --resume runs/ablate-photos-20260131-120000 [dim](after Ctrl-C)[/dim]
    """
    from understudy.cli.compare import parse_seeds
    from understudy.cli.compare_output import run, run_in
    from understudy.cli.request import ABLATE, Request, options_table

    if resume is not None:
        options.refuse_beside_resume(ctx, "jobs", otherwise=f"give --out {resume} in place of --resume")
        run(Request.load(resume, ABLATE), resume, jobs, fresh=False)
        return
    if photos is None:
        raise UserError("no images were given; name a folder, manifest or data set: understudy ablate PHOTOS")
    table = options_table(config, options.given_settings(ctx), assignments or ())
    if seeds is not None:
        table["seeds"] = parse_seeds(seeds)
    request = Request.new(
        ABLATE, photos, unlabeled=unlabeled, test=test, validation=validation, cache=cache, options=table
    )
    run_in(request, out, jobs)

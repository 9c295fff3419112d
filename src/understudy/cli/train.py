"""`understudy train`: from a folder of images to a classifier, with the gain from the unlabeled images measured."""

from __future__ import annotations

import typer

from understudy.cli import options
from understudy.core.errors import UserError
from understudy.core.spending import process_begun


def train(
    ctx: typer.Context,
    photos: options.PhotosUnlessResumed = None,
    unlabeled: options.Unlabeled = None,
    test: options.Test = None,
    validation: options.Validation = None,
    num_labels: options.NumLabels = None,
    imbalance: options.Imbalance = None,
    unlabeled_imbalance: options.UnlabeledImbalance = None,
    filter_pool: options.FilterPool = None,
    domain: options.Domain = None,
    size: options.Size = None,
    channels: options.Channels = None,
    budget: options.TrainingBudget = None,
    method: options.Method = None,
    recipe: options.Recipe = None,
    downstream: options.Downstream = None,
    network: options.Network = None,
    seed: options.SeedIfGiven = None,
    plan: options.Plan = None,
    no_plan: options.NoPlan = False,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    test_time_averaging: options.TestTimeAveraging = None,
    repeats: options.Repeats = None,
    folds: options.Folds = None,
    device: options.Device = None,
    cache: options.Cache = None,
    out: options.NewRun = None,
    tensorboard: options.Tensorboard = None,
    verbose: options.Verbose = False,
    resume: options.Resume = None,
) -> None:
    """Train a classifier with and without the unlabeled images at equal cost, and test whether they helped.

    Half of the budget trains on the labeled images alone, the other half on labeled and unlabeled images. Both models
    are compared on held-out images, and the better one is saved with all metrics and a report. Use it with
    [bold]understudy predict[/bold] and [bold]understudy evaluate[/bold].

    [bold]Examples:[/bold]
      understudy train photos --unlabeled unlabeled --budget 10m
      understudy train labels.csv --method fixmatch --set method.threshold=0.9
      understudy train photos --unlabeled unlabeled --recipe pretrain --downstream noisy_student
      understudy train photos --num-labels 100 [dim](what would 100 labels achieve?)[/dim]
      understudy train photos --unlabeled unlabeled --folds 5 [dim](few labels: cross-validation)[/dim]
      understudy train --resume runs/photos-20260131-120000 [dim](after Ctrl-C)[/dim]
    """
    begun = process_begun()
    from understudy.cli.request import TRAIN, Request, absolute_plan, open_folder, options_table
    from understudy.cli.train_output import run
    from understudy.core.outputs import check_folder

    if resume is not None:
        options.refuse_beside_resume(ctx, "tensorboard", "verbose", otherwise="train in a new folder")
        request = Request.load(resume, TRAIN)
        run(request, resume, begun=begun, fresh=False, tensorboard=tensorboard, verbose=verbose)
        return
    if photos is None:
        raise UserError("no images were given; name a folder or manifest: understudy train PHOTOS --unlabeled DIR")
    chosen = absolute_plan(plan, no_plan)
    request = Request.new(
        TRAIN,
        photos,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        cache=cache,
        options=options_table(config, options.given_settings(ctx), assignments or (), plan=plan),
        plan=chosen,
    )
    request.check()
    if tensorboard is not None:
        check_folder(tensorboard, option="--tensorboard")
    folder = open_folder(out, request.source)
    request.save(folder)
    run(request, folder, begun=begun, fresh=True, tensorboard=tensorboard, verbose=verbose)

"""`understudy compare`: methods x numbers of labels x seeds, each run at the same budget."""

from __future__ import annotations

import typer

from understudy.cli import options
from understudy.core.errors import ConfigError, UserError


def compare(
    ctx: typer.Context,
    photos: options.PhotosUnlessResumed = None,
    unlabeled: options.Unlabeled = None,
    test: options.Test = None,
    validation: options.Validation = None,
    num_labels: options.NumbersOfLabels = None,
    budget: options.RunBudget = None,
    methods: options.Methods = None,
    seeds: options.Seeds = None,
    upper_bound: options.UpperBound = False,
    network: options.Network = None,
    config: options.ComparisonConfig = None,
    assignments: options.ComparisonAssignments = None,
    device: options.Device = None,
    cache: options.Cache = None,
    jobs: options.Jobs = None,
    out: options.NewOrSameRun = None,
    resume: options.Resume = None,
) -> None:
    """Compare methods, or any other variants, at equal budget over numbers of labels and seeds.

    A variant is a table variants.NAME in the file of --config with the settings that differ, such as method, recipe,
    labeled_view or optimizer. Supervised learning is always included, trained once for each number of labels and seed.
    Test images are used for nothing but testing. For each number of labels the report has the mean accuracy of each
    method, its spread over draws of labels, its gain over supervised with a confidence interval and a test, and its
    cost; also as JSON and CSV.

    [bold]Examples:[/bold]
      understudy compare digits --methods fixmatch,softmatch --num-labels 20,40 --budget 20cpu-s
      understudy compare photos --methods all --num-labels 250 --seeds 5 --out runs/all
      understudy compare photos --config variants.toml --num-labels 40 --seeds 5 --upper-bound
      understudy compare --resume runs/all [dim](after Ctrl-C)[/dim]
    """
    from understudy.cli.compare_output import run, run_in
    from understudy.cli.request import COMPARE, Request, options_table

    if resume is not None:
        options.refuse_beside_resume(
            ctx,
            "jobs",
            otherwise=f"give --out {resume} in place of --resume, with the methods, labels and seeds of the report",
        )
        run(Request.load(resume, COMPARE), resume, jobs, fresh=False)
        return
    if photos is None:
        raise UserError("no images were given; name a folder, manifest or data set: understudy compare PHOTOS")
    settings = options.given_settings(ctx)
    if num_labels is not None:
        settings["num_labels"] = parse_numbers("--num-labels", num_labels)
    table = options_table(config, settings, assignments or (), has_one_method=False)
    if methods is not None:
        table["methods"] = [name.strip() for name in methods.split(",")]
    if seeds is not None:
        table["seeds"] = parse_seeds(seeds)
    if upper_bound:
        table["upper_bound"] = True
    request = Request.new(
        COMPARE, photos, unlabeled=unlabeled, test=test, validation=validation, cache=cache, options=table
    )
    run_in(request, out, jobs)


def parse_numbers(option: str, text: str) -> list[int]:
    """The whole numbers of a list such as 40,250.

    Raises:
        ConfigError: The text is not such a list.
    """
    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{option} is {text!r}; give whole numbers, separated by commas, such as 40,250")
    return [int(part) for part in parts]


def parse_seeds(text: str) -> int | list[int]:
    """The number of seeds, or a list of them.

    Raises:
        ConfigError: The text is neither.
    """
    numbers = parse_numbers("--seeds", text)
    return numbers[0] if len(numbers) == 1 else numbers

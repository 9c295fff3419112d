"""`understudy compare`: methods x numbers of labels x seeds, each run at the same budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.core.errors import ConfigError, UserError

_DATA, _GRID, _RUNS, _MACHINE, _OUTPUT = "Data", "What is compared", "Each run", "Machine", "Output"


def compare(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
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
            help="Labeled images that only test; a fifth of SOURCE if there are none.",
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
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Methods to compare with supervised, or all; `understudy methods` lists them (default: all, or none "
            "beside the variants of a file).",
            rich_help_panel=_GRID,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="N,M,...",
            help="Numbers of labels to keep, the others hidden (default: the labels as given).",
            rich_help_panel=_GRID,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="How many seeds, each another draw of labels and weights; 4,5,6 names them (default: 3).",
            rich_help_panel=_GRID,
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
    upper_bound: Annotated[
        bool,
        typer.Option(
            "--upper-bound",
            help="Train supervised on all hidden labels too, and say what share of the way there each method goes.",
            rich_help_panel=_GRID,
        ),
    ] = False,
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
        typer.Option(
            metavar="FILE.toml",
            help="Settings; a table under a method's name holds its knobs, a table variants.NAME a variant.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting, such as batch_size=64; a knob of every method that has it, such as threshold=0.9; or of "
            "one method, such as fixmatch.threshold=0.9; may be repeated.",
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
            help="A new folder, or one of the same comparison, of which only what is missing is trained "
            "(default: runs/compare-NAME-DATE-TIME).",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Go on with an interrupted comparison; needs nothing else.", rich_help_panel=_OUTPUT
        ),
    ] = None,
) -> None:
    """Compare methods, or any other variants, at equal budget over numbers of labels and seeds, and say what is proven.

    A variant is a table variants.NAME in the file of --config with whatever is to differ: method, recipe, labeled_view,
    optimizer and so on. Supervised learning is always among them, trained once for each number of labels and seed. Test
    images select nothing. The report says for each number of labels how the methods did on average, how that varies
    between draws of labels, what is gained over supervised and how surely, and what it cost; also as JSON and
    CSV.

    [bold]Examples:[/bold]
      understudy compare digits --methods fixmatch,softmatch --labels 20,40 --budget 20cpu-s
      understudy compare photos --methods all --labels 250 --seeds 5 --out runs/all
      understudy compare photos --config variants.toml --labels 40 --seeds 5 --upper-bound
      understudy compare --resume runs/all [dim](after Ctrl-C)[/dim]
    """
    from understudy.cli.comparing import holds_comparison, load_request, run
    from understudy.cli.request import Request, absolute, absolute_pools, open_folder

    given: dict[str, Any] = {"network": network, "device": device}
    if resume is not None:
        others = (
            source,
            unlabeled,
            test,
            validation,
            methods,
            labels,
            seeds,
            budget,
            config,
            assignments,
            cache,
            out,
            upper_bound or None,
            *given.values(),
        )
        if any(value is not None for value in others):
            raise UserError(
                f"--resume takes everything from {resume}; leave out all but --jobs, or give --out {resume} with the "
                "methods, labels and seeds to have in the report"
            )
        run(load_request(resume), resume, jobs, fresh=False)
        return
    if source is None:
        raise UserError("no images were given; name a folder, manifest or data set: understudy compare SOURCE")
    options = comparison_options(config, given, assignments or [])
    options |= {
        name: value
        for name, value in (
            ("methods", [part.strip() for part in methods.split(",")] if methods else None),
            ("num_labels", numbers("--labels", labels)),
            ("seeds", seeds_asked(seeds)),
            ("budget", budget),
            ("upper_bound", upper_bound or None),
        )
        if value is not None
    }
    request = Request(
        source=absolute(source) or source,
        unlabeled=absolute_pools(unlabeled),
        test=absolute(test),
        validation=absolute(validation),
        cache=None if cache is None else str(Path(cache).expanduser().absolute()),
        options=options,
    )
    if out is not None and holds_comparison(out):
        run(request, out, jobs, fresh=False)
    else:
        run(request, open_folder(out, f"compare-{Path(source).name}"), jobs, fresh=True)


def comparison_options(config: Path | None, given: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The table of options: the file's, overruled by what the command line gives, overruled by its `--set`."""
    from understudy.core.config import override, read_toml

    table = {} if config is None else read_toml(config)
    if isinstance(table.get("optimizer"), str):
        table["optimizer"] = {"name": table["optimizer"]}
    table |= {name: value for name, value in given.items() if value is not None}
    return override(table, [re.sub("^optimizer=", "optimizer.name=", text) for text in assignments])


def numbers(option: str, text: str | None) -> list[int] | None:
    """The whole numbers of a list such as 40,250."""
    if text is None:
        return None
    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{option} is {text!r}; give whole numbers, parted by commas, such as 40,250")
    return [int(part) for part in parts]


def seeds_asked(text: str | None) -> int | list[int] | None:
    """How many seeds, or a list of them."""
    found = numbers("--seeds", text)
    return found[0] if found is not None and len(found) == 1 else found

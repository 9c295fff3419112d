"""`understudy audit`: what is wrong with the images, before anything is trained on them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.inspection.cleaning import Cleaned
    from understudy.inspection.result import Audit

_MARKS = {"serious": ("!!", "bold red"), "look": (" !", "bold yellow"), "note": (" -", "dim")}
_MOST_CLASSES = 12


def audit(
    photos: Annotated[
        str,
        typer.Argument(
            metavar="PHOTOS",
            help="A folder per class, a .csv or .parquet manifest, 'digits', 'torchvision:NAME' or 'hf:PATH'.",
            show_default=False,
        ),
    ],
    unlabeled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="More images, without labels; may be repeated.",
            rich_help_panel="Images",
            show_default=False,
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="TEST", help="Test images.", rich_help_panel="Images", show_default=False),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(metavar="VALIDATION", help="Images that select.", rich_help_panel="Images", show_default=False),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A finished run, whose network tells which images are alike; without one a quick look does.",
            rich_help_panel="Method",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features/--no-features",
            help="Look for outliers and doubtful labels too, which takes the longest.",
            rich_help_panel="Method",
        ),
    ] = True,
    out: Annotated[
        Path, typer.Option(metavar="FILE.html", help="Where the page is written.", rich_help_panel="Output")
    ] = Path("audit.html"),
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all findings as JSON.", rich_help_panel="Output", show_default=False),
    ] = None,
    write_manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a cleaned .csv or .parquet manifest, which train reads.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Leave these out of the manifest too, separated by commas: dark, overexposed, blurry, tiny, "
            "elongated, gray, outliers, unrelated, doubted_labels, conflicts.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = "",
    network: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="For a run of your own network: file.py:factory or package.module:factory, which is run.",
            rich_help_panel="Method",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where decoded images are kept for later.", rich_help_panel="Machine"),
    ] = None,
) -> None:
    """Look at images before training: copies, leaks into the test, bad files, outliers, doubtful labels.

    What is wrong is printed, the worst first, with what to do about it, and shown with examples on a page. Images are
    never changed: a cleaned manifest lists those to train on.

    [bold]Examples:[/bold]
      understudy audit photos --unlabeled unlabeled --test test
      understudy audit photos --unlabeled unlabeled --write-manifest cleaned.csv
      understudy train cleaned.csv
    """
    from understudy.api.audit import audit as look
    from understudy.cli.request import absolute_pools
    from understudy.core.errors import UserError
    from understudy.core.outputs import check_json
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.inspection.cleaning import Origin, check_kinds
    from understudy.reports.write import check_page_name

    pools = absolute_pools(unlabeled)
    kinds = [kind.strip() for kind in drop.split(",") if kind.strip()]
    check_kinds(kinds)
    check_page_name(out)
    if kinds and write_manifest is None:
        raise UserError("--drop says what a cleaned manifest leaves out; name that with --write-manifest FILE")
    if kinds and not features and {"outliers", "unrelated", "doubted_labels"} & {*kinds}:
        raise UserError("--drop names what --no-features does not look for; leave out one of the two")
    if json is not None:
        check_json(json)
    if write_manifest is not None:
        Origin(photos, pools, test, validation).check(write_manifest)
    console = open_console()
    with watching(console) as watch:
        found = look(
            photos,
            unlabeled=pools,
            test=test,
            validation=validation,
            run=run,
            network=network,
            features=features,
            cache=cache,
            decoding=watch.decoding,
            observe=watch.working,
        )
    _summarize(console, found.found)
    say(console)
    say(console, f"Page: {found.report(out)}")
    if json is not None:
        say(console, f"JSON: {found.save(json)}")
    if write_manifest is not None:
        cleaned = found.write_manifest(write_manifest, kinds)
        _tell(console, cleaned, write_manifest)
        say(console)
        say(console, "Next:")
        say(console, f"  understudy train {shlex.quote(str(write_manifest))}")


def _summarize(console: Console, found: Audit) -> None:
    """The verdict, then every finding, the worst first."""
    from rich.padding import Padding
    from rich.text import Text

    from understudy.display.console import say

    say(console)
    say(console, found.shape_sentence())
    if line := _classes(found):
        say(console, line)
    say(console)
    console.print(Text(found.headline, style="bold"), soft_wrap=not console.is_terminal)
    for one in found.findings:
        mark, style = _MARKS[one.severity]
        say(console)
        console.print(Text.assemble((mark, style), " ", one.sentence), soft_wrap=not console.is_terminal)
        if console.is_terminal:
            console.print(Padding(Text(one.why, style="dim"), (0, 0, 0, 3)))
        else:
            say(console, f"   {one.why}")
    if found.not_judged:
        say(console)
    for text in found.not_judged:
        say(console, text)


def _classes(found: Audit) -> str:
    """Labeled images per class where they are few enough for a line."""
    from understudy.core.text import counted

    counts = found.counts.get("labeled", ())
    if not any(counts):
        return ""
    if len(set(counts)) == 1:
        return f"{counted(counts[0], 'labeled image')} of each class."
    order = sorted(range(len(counts)), key=lambda at: -counts[at])
    parts = [f"{found.collection.classes[at]} {counts[at]:,}" for at in order]
    if len(parts) > _MOST_CLASSES:
        parts = [*parts[: _MOST_CLASSES // 2], "...", *parts[-_MOST_CLASSES // 2 :]]
    return f"Labeled images: {', '.join(parts)}."


def _tell(console: Console, cleaned: Cleaned, path: Path) -> None:
    """How many rows the manifest holds, and why others are not in it."""
    from understudy.core.text import agree, counted
    from understudy.display.console import say
    from understudy.inspection.cleaning import left_out_path

    left = f"{len(cleaned.left):,} {agree(len(cleaned.left), 'is', 'are')} left out"
    say(console, f"Manifest: {path} lists {counted(len(cleaned.kept), 'image')}; {left}.")
    for reason, count in cleaned.counts().items():
        say(console, f"  {reason}: {count:,}")
    say(console, f"Each of these is listed in {left_out_path(path)}.")

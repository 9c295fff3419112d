"""`understudy suggest`: which images to label first, and which next."""

from __future__ import annotations

import shlex
from pathlib import Path

from understudy.cli import options


def suggest(
    unlabeled: options.UnlabeledImages,
    labeled: options.Labeled = None,
    count: options.Count = 100,
    run: options.RunOfSuggestions = None,
    seed: options.Seed = 0,
    network: options.NetworkCode = None,
    cache: options.Cache = None,
    out: options.SuggestionsFile = Path("suggested.csv"),
    sheet: options.SheetFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Select the unlabeled images that are most worth labeling, and write a table to fill in and a page to look at.

    Without --run: typical images that cover the whole set. With --run: images that its classifier is uncertain about
    and that resemble many others. Fill in the column `label`; rows left empty stay unlabeled.

    [bold]Examples:[/bold]
      understudy suggest unlabeled --count 100
      understudy suggest unlabeled --count 100 --run runs/photos-20260131-120000 --labeled suggested.csv
    """
    from understudy.api.suggest import check_table_name
    from understudy.api.suggest import suggest as select
    from understudy.core.arguments import check
    from understudy.core.errors import UserError
    from understudy.core.text import agree, counted
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.reports.write import check_page_name
    from understudy.serving.label_table import files_of

    page = out.with_suffix(".html") if sheet is None else sheet
    check(count=count)
    if labeled is not None and out.exists() and Path(labeled).exists() and out.samefile(labeled):
        raise UserError(f"{out} is the file of --labeled and would be replaced; give another file with --out")
    check_table_name(out, reads=[unlabeled], overwrite=overwrite)
    check_page_name(page, "--sheet")
    files_of(unlabeled, ())
    console = open_console()
    with watching(console) as watch:
        suggestions = select(
            unlabeled, count=count, run=run, network=network, labeled=labeled, seed=seed, cache=cache,
            decoding=watch.decoding, observe=watch.working,
        )  # fmt: skip
    suggestions.save(out)
    suggestions.sheet(page)
    say(console)
    number = len(suggestions.names)
    what = f"{counted(number, 'image')} to label {agree(number, 'is', 'are')}"
    say(console, f"{what} listed in {out} and shown in {page}. {suggestions.why}")
    for note in suggestions.notes:
        say(console, note)
    say(console)
    say(console, f"Next: look at {page}, fill in the column `label` of {out}, then")
    say(console, f"  {shlex.join(['understudy', 'train', str(out), '--unlabeled', str(unlabeled)])}")

"""`understudy audit`: what is wrong with the images, before anything is trained on them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.inspection.cleaning import Cleaned
    from understudy.inspection.result import Audit

_MARKS = {"serious": ("!!", "bold red"), "look": (" !", "bold yellow"), "note": (" -", "dim")}
_MAX_CLASSES = 12  # that a line names; more make it longer than three lines of a terminal


def audit(
    photos: options.Photos,
    unlabeled: options.Unlabeled = None,
    test: options.AuditedTest = None,
    validation: options.AuditedValidation = None,
    run: options.RunOfAudit = None,
    features: options.Features = True,
    network: options.NetworkCode = None,
    cache: options.Cache = None,
    out: options.AuditPage = Path("audit.html"),
    json: options.Json = None,
    write_manifest: options.CleanedManifest = None,
    drop: options.Drop = "",
    overwrite: options.Overwrite = False,
) -> None:
    """Check images before training: duplicates, test-set leaks, unreadable files, outliers and label errors.

    The problems found are printed, the most serious first, with what to do about each, and shown with examples on a
    page. Images are never changed: --write-manifest lists those to train on.

    [bold]Examples:[/bold]
      understudy audit photos --unlabeled unlabeled --test test
      understudy audit photos --unlabeled unlabeled --write-manifest cleaned.csv
      understudy train cleaned.csv
    """
    from understudy.api.audit import audit as look_at
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
        raise UserError("--drop needs a manifest to leave images out of; add --write-manifest FILE")
    if kinds and not features and {"outliers", "unrelated", "label_errors"} & {*kinds}:
        raise UserError("--drop lists kinds of findings that --no-features does not look for; leave out one of the two")
    if json is not None:
        check_json(json)
    if write_manifest is not None:
        Origin(photos, pools, test, validation).check(write_manifest, overwrite=overwrite)
    console = open_console()
    with watching(console) as watch:
        result = look_at(
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
    _summarize(console, result.audit)
    say(console)
    say(console, f"Page: {result.report(out)}")
    if json is not None:
        say(console, f"JSON: {result.save(json)}")
    if write_manifest is not None:
        cleaned = result.write_manifest(write_manifest, kinds)
        _print_manifest(console, cleaned, write_manifest)
        say(console)
        say(console, "Next:")
        say(console, f"  understudy train {shlex.quote(str(write_manifest))}")


def _summarize(console: Console, audit: Audit) -> None:
    """Print the summary, then every finding, the most serious first."""
    from rich.padding import Padding
    from rich.text import Text

    from understudy.display.console import say

    say(console)
    say(console, audit.shape_sentence())
    if line := _classes(audit):
        say(console, line)
    say(console)
    console.print(Text(audit.headline, style="bold"), soft_wrap=not console.is_terminal)
    for finding in audit.findings:
        mark, style = _MARKS[finding.severity]
        say(console)
        console.print(Text.assemble((mark, style), " ", finding.sentence), soft_wrap=not console.is_terminal)
        if console.is_terminal:
            console.print(Padding(Text(finding.why, style="dim"), (0, 0, 0, 3)))
        else:
            say(console, f"   {finding.why}")
    if audit.not_checked:
        say(console)
    for text in audit.not_checked:
        say(console, text)


def _classes(audit: Audit) -> str:
    """Labeled images per class where they are few enough for a line."""
    from understudy.core.text import counted

    counts = audit.counts.get("labeled", ())
    if not any(counts):
        return ""
    if len(set(counts)) == 1:
        return f"{counted(counts[0], 'labeled image')} of each class."
    order = sorted(range(len(counts)), key=lambda at: -counts[at])
    parts = [f"{audit.collection.classes[at]} {counts[at]:,}" for at in order]
    if len(parts) > _MAX_CLASSES:
        parts = [*parts[: _MAX_CLASSES // 2], "...", *parts[-_MAX_CLASSES // 2 :]]
    return f"Labeled images: {', '.join(parts)}."


def _print_manifest(console: Console, cleaned: Cleaned, path: Path) -> None:
    """Print how many rows the manifest has, and why others are left out."""
    from understudy.core.text import agree, counted
    from understudy.display.console import say
    from understudy.inspection.cleaning import left_out_path

    left = f"{len(cleaned.left_out):,} {agree(len(cleaned.left_out), 'is', 'are')} left out"
    say(console, f"Manifest: {path} lists {counted(len(cleaned.kept), 'image')}; {left}.")
    for reason, count in cleaned.counts().items():
        say(console, f"  {reason}: {count:,}")
    say(console, f"They are listed in {left_out_path(path)}.")

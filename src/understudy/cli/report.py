"""`understudy report`: one HTML file about a training run, a comparison, or several runs side by side."""

from __future__ import annotations

from understudy.cli import options


def report(
    runs: options.RunFolders,
    out: options.ReportFile = None,
    opened: options.OpenReport = False,
) -> None:
    """Write a report: whether the unlabeled images helped, how certain that is, where the model fails, what to do next.

    One HTML file to mail, print or read offline; it loads nothing from elsewhere and runs no script. The figures are
    also saved beside it as PNG and SVG. A run that has not finished is reported up to its last evaluation.

    [bold]Examples:[/bold]
      understudy report runs/photos-20260131-120000 --open
      understudy report runs/one runs/two --out both.html
    """
    from understudy.display.console import open_console, say
    from understudy.reports.write import write_report

    console = open_console()
    path = write_report(runs, out)
    say(console, f"Report: {path}")
    if opened:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            say(console, "No web browser could be started; open the file yourself.")

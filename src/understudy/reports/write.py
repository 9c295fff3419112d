"""Folders in, one HTML file out, with its figures beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from understudy.core.errors import UserError
from understudy.core.files import atomic, explain_write_errors
from understudy.core.outputs import check_output
from understudy.reports.figures.style import new_figure, save, styled, svg
from understudy.reports.page import Page, render
from understudy.reports.pages.comparison import comparison_page
from understudy.reports.pages.run import partial_page, run_page
from understudy.reports.pages.several import several_page
from understudy.reports.record import ComparisonRecord, PartialRecord, Record, RunRecord, read

FIGURES = "figures"
# CPU time of a run's report in multiples of one plain curve: 9 to 10 were measured for one model, 26 for two models of
# ten classes. With fewer classes it takes less.
_CURVES_OF_ONE, _CURVES_OF_TWO = 11, 26


def write_report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """The path of the report of one folder, or of several training runs side by side.

    Args:
        out: The HTML file; `report.html` in the folder, or beside the first of several, if not given.

    Raises:
        UserError: A folder holds nothing to report on, runs cannot be compared, or the file cannot be written.
    """
    if out is not None:
        check_page_name(out)
    records = [read(folder) for folder in folders]
    if out is None:
        out = folders[0] / "report.html" if len(folders) == 1 else folders[0].parent / "report.html"
        check_page_name(out)
    return write_page(page_of(records), out)


@styled
def expected_seconds(num_models: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that writing the report of a run takes here and now, by drawing a plain curve twice.

    The first time loads matplotlib, which the report then need not do.
    """
    took = 0.0
    for _ in range(2):
        begun = clock()
        figure = new_figure()
        axes = figure.subplots()
        axes.plot(range(20), range(20))
        axes.set(xlabel="steps", title="accuracy")
        svg(figure)
        took = clock() - begun
    return took * (_CURVES_OF_ONE if num_models == 1 else _CURVES_OF_TWO)


def check_page_name(out: Path, option: str = "--out") -> None:
    """Check that a page can be written there.

    Raises:
        UserError: It is the name of another kind of file or of a folder, or cannot be written.
    """
    check_output(out, "a report", (".html", ".htm"), option=option)


def page_of(records: Sequence[Record]) -> Page:
    """The page that suits the records.

    Raises:
        UserError: They cannot be shown on one page.
    """
    if not records:
        raise UserError("no folder was given; name one that a training run or comparison was saved in")
    if len(records) == 1:
        match records[0]:
            case RunRecord() as record:
                return run_page(record)
            case PartialRecord() as record:
                return partial_page(record)
            case ComparisonRecord() as record:
                return comparison_page(record)
    runs = [record for record in records if isinstance(record, RunRecord)]
    if len(runs) < len(records):
        odd = next(record.name for record in records if not isinstance(record, RunRecord))
        raise UserError(
            f"{odd} is not a finished training run, and only those are put side by side; report on it alone"
        )
    return several_page(runs)


def write_page(page: Page, out: Path, *, figures: bool = True) -> Path:
    """The path, once the page is there, and its figures beside it if wanted."""
    text = render(page)
    with explain_write_errors(out.parent):
        with atomic(out, parents=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
        for picture in page.pictures if figures else ():
            (out.parent / FIGURES).mkdir(exist_ok=True)
            save(picture.figure, out.parent / FIGURES / f"{out.stem}-{picture.name}")
    return out

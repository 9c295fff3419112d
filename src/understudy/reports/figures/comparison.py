"""Figures of many runs: methods against one another, over labels and cost, and what each ingredient adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from understudy.core.budget import format_seconds
from understudy.core.text import SIGNIFICANCE, capitalized, counted, listed, p_equals
from understudy.reports.figures.picture import (
    BASELINE,
    Picture,
    Plain,
    Range,
    delivered_of,
    ends_of,
    in_percent,
    in_points,
    inside,
    interval,
    label_ends,
    label_points,
    method_of,
    number,
    percent_axis,
    rows_axis,
    run_color,
    run_marker,
    run_word,
)
from understudy.reports.figures.style import (
    METHOD,
    MUTED,
    PAPER,
    RIGHT,
    SUPERVISED,
    WRONG,
    clean,
    new_figure,
    shorten,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHED = (0, (3, 2))
_MAX_BANDS = 4  # more bands hide one another; then intervals are drawn as lines
_EQUAL_COST = 1.05  # the tolerance within which a verdict calls costs equal


@styled
def methods(comparison: Plain) -> Picture | None:
    """Mean accuracy of every method with its interval and single seeds, a panel per number of labels."""
    panels = _by_labels(comparison)
    if not panels:
        return None
    figure, axes_of = _stacked([len(rows) for rows in panels.values()])
    every = [value for rows in panels.values() for summary in rows for value in _extent(comparison, summary)]
    for axes, (labels, rows) in zip(axes_of, panels.items(), strict=True):
        rows = sorted(rows, key=lambda summary: -summary["accuracy"])
        for row, summary in enumerate(rows):
            color = run_color(summary["method"])
            between = interval(summary.get("interval"))
            if between is not None:
                axes.plot(between, (row, row), color=color, linewidth=2.2, alpha=0.5)
            seeds = _seeds(comparison, summary)
            if len(seeds) > 1:
                axes.plot(seeds, [row] * len(seeds), "|", color=color, markersize=9, alpha=0.8, markeredgewidth=1.2)
            axes.plot(summary["accuracy"], row, "o", color=color, markersize=7, markeredgecolor=PAPER)
            axes.annotate(
                f"{in_percent(summary['accuracy'])} %",
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
            if summary["method"] == BASELINE:
                axes.axvline(summary["accuracy"], color=SUPERVISED, linewidth=1, linestyle=_DASHED, zorder=1)
        rows_axis(axes, [run_word(summary["method"]) for summary in rows])
        percent_axis(axes, "x", min(every), max(every))
        axes.set_title(_labels_word(labels))
    best = [
        f"{run_word(summary['method'])} ({in_percent(summary['accuracy'])} %)"
        for rows in panels.values()
        if (summary := max(rows, key=lambda row: row["accuracy"]))
    ]
    where = [_labels_word(labels) for labels in panels]
    said = listed([f"{name} with {words}" for name, words in zip(best, where, strict=True)])
    caption = f"Best mean accuracy: {said}. Dots are means over {_seeds_word(comparison)}"
    caption += (
        ", ticks single seeds, lines 95 % intervals" if len(comparison.get("seeds") or ()) > 1 else ", without interval"
    )
    caption += f"; the dashed line is {BASELINE}.{_tested(comparison)}"
    return Picture("methods", "Methods", caption, figure)


@styled
def gains(comparison: Plain) -> Picture | None:
    """Gain of each method over supervised with its interval and corrected p-value."""
    panels = {
        labels: [summary for summary in rows if number(inside(summary, "gain", "difference")) is not None]
        for labels, rows in _by_labels(comparison).items()
    }
    panels = {labels: rows for labels, rows in panels.items() if rows}
    if not panels:
        return None
    figure, axes_of = _stacked([len(rows) for rows in panels.values()])
    every = [0.0]
    for rows in panels.values():
        every += [
            v
            for summary in rows
            for v in (summary["gain"]["difference"], *(interval(summary["gain"].get("interval")) or ()))
        ]
    for axes, (labels, rows) in zip(axes_of, panels.items(), strict=True):
        rows = sorted(rows, key=lambda summary: -summary["gain"]["difference"])
        for row, summary in enumerate(rows):
            difference, between = summary["gain"]["difference"], interval(summary["gain"].get("interval"))
            color = _proof_color(summary["gain"])
            if between is not None:
                axes.plot(between, (row, row), color=color, linewidth=2.2, alpha=0.55)
            axes.plot(difference, row, "s", color=color, markersize=6.5, markeredgecolor=PAPER)
            for at, text in ((6, in_points(difference)), (42, _p_words(summary["gain"]))):
                axes.annotate(
                    text,
                    (1, row),
                    xycoords=("axes fraction", "data"),
                    xytext=(at, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=9,
                )
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=_DASHED, zorder=1)
        rows_axis(axes, [run_word(summary["method"]) for summary in rows])
        percent_axis(axes, "x", min(every), max(every), signed=True)
        axes.set_title(f"points over {BASELINE}, {_labels_word(labels)}")
    rows = [summary for rows in panels.values() for summary in rows]
    best = max(rows, key=lambda summary: summary["gain"]["difference"])
    proven = sum(_is_proven(summary["gain"]) for summary in rows)
    caption = (
        f"The largest gain is {run_word(best['method'])}'s with {_labels_word(best['num_labels'])}, "
        f"{in_points(best['gain']['difference'])} points. {proven} of {counted(len(rows), 'difference')} "
        f"{'is' if proven == 1 else 'are'} proven at the 5 % level after Holm's correction; {_seeds_word(comparison)} "
        "each."
        f"{_tested(comparison)}"
    )
    return Picture("gains", f"Gains over {BASELINE}", caption, figure)


@styled
def label_curve(comparison: Plain) -> Picture | None:
    """Accuracy over the number of labels, a line per method."""
    panels = {_labels_given(comparison, labels): rows for labels, rows in _by_labels(comparison).items()}
    places = {labels: rows for labels, rows in panels.items() if labels}
    if len(places) < 2:
        return None
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = new_figure(height=4.2)
    axes = figure.subplots()
    order = [str(name) for name in comparison.get("methods") or ()]
    lines: dict[str, list[tuple[float, float, Range | None]]] = {}
    for labels, rows in sorted(places.items()):
        for one in rows:
            lines.setdefault(one["method"], []).append((labels, one["accuracy"], interval(one.get("interval"))))
    ends = []
    for name, line in lines.items():
        x, y, color = [one[0] for one in line], [one[1] for one in line], run_color(name, order)
        axes.plot(x, y, "--" if name == BASELINE else "-", marker=run_marker(name, order), color=color, markersize=4.5)
        known = [(at, *between) for at, _, between in line if between is not None]
        if len(lines) > _MAX_BANDS:
            for at, *between in known:
                axes.plot((at, at), between, color=color, linewidth=1, alpha=0.5)
        elif len(known) > 1:
            x, lows, highs = ([one[at] for one in known] for at in range(3))
            axes.fill_between(x, lows, highs, color=color, alpha=0.12, linewidth=0)
        ends.append((run_word(name), x[-1], y[-1], color))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(places)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("labeled images")
    every = [value for line in lines.values() for one in line for value in (one[1], *(one[2] or ()))]
    percent_axis(axes, "y", min(every), max(every))
    axes.set_title("accuracy")
    label_ends(axes, ends, 3.3)
    few, many = min(places), max(places)
    said = []
    for labels in (few, many):
        best = max(places[labels], key=lambda one: one["accuracy"])
        base = next((one for one in places[labels] if one["method"] == BASELINE), None)
        name, figures = run_word(best["method"]), f"{in_percent(best['accuracy'])} %"
        if base is not None and best is not base:
            figures += f", {in_points(best['accuracy'] - base['accuracy'])} points over {BASELINE}"
        said.append(f"with {labels:,.0f} labels {name} is best ({figures})")
    caption = f"{listed(said)}. Means over {_seeds_word(comparison)}.{_tested(comparison)}"
    return Picture("label_curve", "Accuracy over labels", capitalized(caption), figure)


@styled
def cost(comparison: Plain) -> Picture | None:
    """Accuracy against what a run costs, a panel per number of labels."""
    clock = "wall_s" if comparison.get("cost_clock") == "wall_s" else "cpu_s"
    panels = {
        labels: [summary for summary in rows if (number(summary.get(clock)) or 0) > 0]
        for labels, rows in _by_labels(comparison).items()
    }
    panels = {labels: rows for labels, rows in panels.items() if rows}
    if not panels:
        return None
    order = [str(name) for name in comparison.get("methods") or ()]
    tallest = max(map(len, panels.values()))
    height = min(3.4, max(2.4, 0.9 + 0.2 * tallest))
    figure = new_figure(height=len(panels) * height)
    for axes, (labels, rows) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
        ends = []
        for summary in rows:
            color = run_color(summary["method"], order)
            axes.plot(
                summary[clock],
                summary["accuracy"],
                run_marker(summary["method"], order),
                color=color,
                markersize=7,
                markeredgecolor=PAPER,
            )
            ends.append((run_word(summary["method"]), summary[clock], summary["accuracy"], color))
        low, high = ends_of([summary[clock] for summary in rows])
        axes.set_xlim(0.85 * low if low > 0.5 * high else 0, 1.15 * high)
        percent_axis(axes, "y", *ends_of([summary["accuracy"] for summary in rows]), room=0.12)
        axes.set_title(f"accuracy, {_labels_word(labels)}")
        label_points(axes, ends, (6.4, height - 0.9))
    axes.set_xlabel("seconds per run" if clock == "wall_s" else "CPU seconds per run")
    every = [summary for rows in panels.values() for summary in rows]
    cheap, dear = min(every, key=lambda summary: summary[clock]), max(every, key=lambda summary: summary[clock])
    of = "of wall time" if clock == "wall_s" else "of CPU time"
    if dear[clock] <= _EQUAL_COST * cheap[clock]:
        spent = f"All runs cost about {format_seconds(dear[clock])} {of}"
    else:
        bounds = [f"{format_seconds(summary[clock])} ({run_word(summary['method'])})" for summary in (cheap, dear)]
        spent = f"A run costs from {' to '.join(bounds)} {of}"
    caption = f"{spent}; means over {_seeds_word(comparison)}."
    return Picture("cost", "Accuracy and cost", caption, figure)


@styled
def several_runs(results: Sequence[Plain]) -> Picture | None:
    """Accuracy of both models of every run with its interval, a row per run."""
    rows = []
    for place, result in enumerate(results):
        name = method_of(result) or delivered_of(result)
        shown = [one for one in dict.fromkeys((BASELINE, name)) if one and _accuracy(result, one) is not None]
        if shown:
            rows.append((place, result, shown))
    if not rows:
        return None
    figure = new_figure(height=1.0 + 0.42 * len(rows))
    axes = figure.subplots()
    every, better, compared = [], 0, 0
    for row, (_, result, shown) in enumerate(rows):
        for at, one in enumerate(shown):
            y = row + (0.14 if at else -0.14) * (len(shown) > 1)
            value, between = (
                _accuracy(result, one) or 0.0,
                interval(inside(result, "metrics", one, "accuracy_interval")),
            )
            color = run_color(one)
            if between is not None:
                axes.plot(between, (y, y), color=color, linewidth=2, alpha=0.5)
            axes.plot(value, y, "o", color=color, markersize=6.5, markeredgecolor=PAPER)
            every += [value, *(between or ())]
        if len(shown) > 1:
            difference = (_accuracy(result, shown[1]) or 0) - (_accuracy(result, shown[0]) or 0)
            better, compared = better + (difference > 0), compared + 1
            axes.annotate(
                in_points(difference),
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
    rows_axis(axes, _run_labels([result for _, result, _ in rows], [place for place, *_ in rows]), size=9)
    percent_axis(axes, "x", *ends_of(every))
    axes.set_title("accuracy; at the right the difference in points" if compared else "accuracy")
    handles = [axes.plot([], [], "o", color=color)[0] for color in (SUPERVISED, METHOD)]
    axes.legend(handles, [BASELINE, "method"], loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    caption = (
        f"The method is more accurate than {BASELINE} in {better} of {counted(compared, 'run')}." if compared else ""
    )
    sizes = sorted({int(n) for _, result, shown in rows if (n := number(inside(result, "metrics", shown[0], "n")))})
    if sizes:
        tested = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        caption += f" Each is tested on {tested} images; lines are 95 % intervals."
    return Picture("several_runs", "Runs", caption.strip() or f"{counted(len(rows), 'run')}.", figure)


def _by_labels(comparison: Plain) -> dict[int, list[Any]]:
    """The summaries that have an accuracy, by number of labels, in the order asked for; 0, all of them, last."""
    panels: dict[int, list[Any]] = {}
    for summary in comparison.get("summaries") or ():
        if number(summary.get("accuracy")) is not None:
            panels.setdefault(summary["num_labels"], []).append(summary)
    return dict(sorted(panels.items(), key=lambda pair: pair[0] or float("inf")))


def _labels_word(labels: int) -> str:
    return counted(labels, "label") if labels else "all labels"


def _labels_given(comparison: Plain, labels: int) -> float:
    """How many labels a number of labels is; 0, which is all, is looked up in the runs."""
    if labels:
        return labels
    counts = [
        number(inside(run, "figures", "num_labeled")) for run in comparison.get("runs") or () if run["num_labels"] == 0
    ]
    return max([value for value in counts if value is not None], default=0)


def _seeds(comparison: Plain, summary: Plain) -> list[float]:
    """The accuracy of each finished run that a summary sums up."""
    same = [
        run
        for run in comparison.get("runs") or ()
        if (run["method"], run["num_labels"]) == (summary["method"], summary["num_labels"])
    ]
    return [value for run in same if (value := number(inside(run, "figures", "accuracy"))) is not None]


def _extent(comparison: Plain, summary: Plain) -> list[float]:
    return [summary["accuracy"], *(interval(summary.get("interval")) or ()), *_seeds(comparison, summary)]


def _seeds_word(comparison: Plain) -> str:
    return counted(len(comparison.get("seeds") or ()) or 1, "seed")


def _tested(comparison: Plain) -> str:
    """How many images each run is tested on, as a sentence."""
    sizes = {int(n) for run in comparison.get("runs") or () if (n := number(inside(run, "figures", "num_test")))}
    if not sizes:
        return ""
    return f" Each run is tested on {min(sizes):,}{f' to {max(sizes):,}' if len(sizes) > 1 else ''} images."


def _is_proven(gain: Plain) -> bool:
    p_value = number(gain.get("p_holm"))
    return p_value is not None and p_value < SIGNIFICANCE


def _proof_color(gain: Plain) -> str:
    if not _is_proven(gain):
        return MUTED
    return RIGHT if gain["difference"] > 0 else WRONG


def _p_words(gain: Plain) -> str:
    p_value = number(gain.get("p_holm"))
    if p_value is None:
        return ""
    return p_equals(p_value)


def _stacked(rows: Sequence[int]) -> tuple[Any, list[Axes]]:
    """A figure with a panel for each number of rows, one above the other."""
    figure = new_figure(height=sum(0.75 + 0.3 * number_of for number_of in rows) + 0.1)
    ratios = [0.6 + number_of for number_of in rows]
    return figure, list(figure.subplots(len(rows), 1, squeeze=False, height_ratios=ratios)[:, 0])


def _accuracy(result: Plain, name: str) -> float | None:
    return number(inside(result, "metrics", name, "accuracy"))


def _run_labels(results: Sequence[Plain], places: Sequence[int]) -> list[str]:
    """A name for each run from what differs between them, and from its place where nothing does."""
    parts = []
    for result in results:
        labels = number(inside(result, "data", "num_labeled"))
        parts.append(
            (
                clean(inside(result, "data", "name") or ""),
                run_word(method_of(result) or delivered_of(result) or ""),
                "" if labels is None else counted(labels, "label"),
                f"seed {inside(result, 'training', 'seed')}",
            )
        )
    kept = [at for at in range(4) if len({one[at] for one in parts}) > 1]
    names = [", ".join(filter(None, (shorten(one[at]) for at in kept))) or "run" for one in parts]
    return [
        name if names.count(name) == 1 else f"{name} ({place + 1})" for name, place in zip(names, places, strict=True)
    ]

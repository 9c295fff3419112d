"""Figures of one training run: how accurate its models are, how they got there, and how far to trust what they say."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.core.text import capitalized, counted, listed
from understudy.methods.metric_names import MEANS, SHARES
from understudy.reports.figures.picture import (
    BASELINE,
    Picture,
    Plain,
    delivered_of,
    in_percent,
    in_points,
    inside,
    interval,
    label_ends,
    number,
    numbers,
    percent_axis,
    rows_axis,
    run_color,
    run_word,
    runs_of,
    series,
)
from understudy.reports.figures.style import FULL, INK, METHOD, MUTED, PAPER, SMALL, new_figure, styled, tinted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NO_LOSS = (
    *("step", "part", "progress", "cpu_s", "wall_s", "phase", "validation_accuracy", "knn_accuracy", "linear_accuracy"),
    *SHARES,
    *MEANS,
)
_CLOCKS = ("step", "cpu_s", "wall_s")
_CONFIDENT = 0.95  # the threshold that FixMatch and most methods after it use
_MIN_IMAGES = 10  # of fewer images in a bin, one moves its accuracy by more than 10 points
_STRENGTHS = range(6)
_MAX_PANELS = 16  # four rows of four; more corruptions are drawn as a table


@styled
def accuracies(result: Plain) -> Picture | None:
    """Accuracy of both models with its interval, and their difference with its own."""
    known = {name: inside(result, "metrics", name) for name in runs_of(result)}
    known = {name: metrics for name, metrics in known.items() if number(inside(metrics, "accuracy")) is not None}
    if not known:
        return None
    difference = number(inside(result, "verdict", "comparison", "difference"))
    has_both = difference is not None and len(known) > 1
    figure = new_figure(height=0.75 + 0.42 * len(known) + (1.1 if has_both else 0))
    grid = figure.add_gridspec(2 if has_both else 1, 1, height_ratios=[len(known), 1.2] if has_both else None)
    axes = figure.add_subplot(grid[0])
    ends = []
    for row, (name, metrics) in enumerate(known.items()):
        ends += _dot(axes, row, metrics["accuracy"], interval(metrics.get("accuracy_interval")), run_color(name))
    rows_axis(axes, [run_word(name) for name in known])
    percent_axis(axes, "x", min(ends), max(ends), room=0.15)
    axes.set_title("accuracy")
    n = number(inside(next(iter(known.values())), "n"))
    accuracies = listed([f"{run_word(name)} {in_percent(metrics['accuracy'])} %" for name, metrics in known.items()])
    caption = f"Accuracy{'' if n is None else ' on ' + counted(n, 'test image')}: {accuracies}."
    if has_both and difference is not None:
        between = interval(inside(result, "verdict", "comparison", "interval"))
        below = figure.add_subplot(grid[1])
        ends = [0.0, *_dot(below, 0, difference, between, METHOD, signed=True)]
        below.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        rows_axis(below, [""])
        percent_axis(below, "x", min(ends), max(ends), room=0.25, signed=True)
        below.set_title("difference in points on the same images")
        about = "" if between is None else f" (95 % interval {in_points(between[0])} to {in_points(between[1])})"
        caption += f" The difference is {in_points(difference)} points{about}."
    if any(interval(metrics.get("accuracy_interval")) for metrics in known.values()):
        caption += " Lines are 95 % intervals."
    return Picture("accuracies", "Accuracy", capitalized(caption), figure)


@styled
def learning_curves(result: Plain) -> Picture | None:
    """Validation accuracy, or else the losses, of every run over what it had cost."""
    histories = {name: _whole_history(inside(result, "runs", name) or {}) for name in runs_of(result)}
    histories = {name: lines for name, lines in histories.items() if lines}
    clock, unit = _clock(result, histories)
    judged = {name: series(lines, clock, "validation_accuracy") for name, lines in histories.items()}
    judged = {name: xy for name, xy in judged.items() if xy[0]}
    if judged:
        figure = new_figure(height=3.2)
        axes = figure.subplots()
        ends = [(run_word(name), x[-1], y[-1], run_color(name)) for name, (x, y) in judged.items()]
        for name, (x, y) in judged.items():
            axes.plot(x, y, "o-", color=run_color(name), markersize=3.5)
        starts = _mark_parts([axes], histories, clock)
        every = [value for _, y in judged.values() for value in y]
        percent_axis(axes, "y", min(every), max(every))
        axes.set_title("validation accuracy")
        axes.set_xlabel(unit)
        label_ends(axes, ends, 2.4)
        best = [f"{run_word(name)} {in_percent(max(y))} %" for name, (_, y) in judged.items()]
        n = number(inside(result, "data", "num_validation"))
        of = "" if not n else f" of {counted(n, 'validation image')}"
        return Picture(
            "learning_curves", "Learning curves", f"Best validation accuracy: {listed(best)}{of}.{starts}", figure
        )
    panels = [(title, _losses(histories, clock, labeled)) for title, labeled in _LOSSES]
    panels = [(title, lines) for title, lines in panels if lines]
    if not panels:
        return None
    figure = new_figure(height=0.5 + 2.2 * len(panels))
    every_axes = list(figure.subplots(len(panels), 1, squeeze=False)[:, 0])
    starts = _mark_parts(every_axes, histories, clock)
    for axes, (title, found) in zip(every_axes, panels, strict=True):
        for number_of, (name, term, x, y) in enumerate(found):
            style = ("-", "--", ":", "-.")[number_of % 4 if len({one[0] for one in found}) < len(found) else 0]
            axes.plot(
                x,
                y,
                style,
                color=run_color(name),
                label=run_word(name) if term == BASELINE else f"{run_word(name)}: {run_word(term)}",
            )
        axes.set_title(title)
        axes.set_ylim(bottom=min(0, *(value for one in found for value in one[3])))
        axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_xlabel(unit)
    lines = [
        f"the labeled loss of {run_word(name)} goes from {y[0]:.2g} to {y[-1]:.2g}"
        for _, found in panels[:1]
        for name, term, _, y in found
        if term == BASELINE
    ]
    caption = f"There are no validation images, so losses are shown: {listed(lines) or 'as each run computes them'}."
    caption += starts
    return Picture("learning_curves", "Learning curves", caption, figure)


_LOSSES = (("loss of labeled images", True), ("loss of unlabeled images", False))


@styled
def reliability(result: Plain) -> Picture | None:
    """Reliability diagrams side by side: accuracy by confidence, above the number of images."""
    found = {name: inside(result, "calibration", name) for name in runs_of(result)}
    found = {name: one for name, one in found.items() if any(number(inside(b, "n")) for b in inside(one, "bins") or ())}
    if not found:
        return None
    figure = new_figure(7.2 if len(found) > 1 else 4.2, 4.3)
    panels = figure.subplots(2, len(found), squeeze=False, height_ratios=[4, 1], sharex=True)
    texts, has_few = [], False
    for (above, below), (name, one) in zip(panels.T, found.items(), strict=True):
        bins = [
            line for line in one["bins"] if number(inside(line, "n")) and number(inside(line, "accuracy")) is not None
        ]
        x = [number(line.get("confidence")) or (line["low"] + line["high"]) / 2 for line in bins]
        y = [line["accuracy"] for line in bins]
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        many = [line["n"] >= _MIN_IMAGES for line in bins]
        above.vlines(x, x, y, color=run_color(name), linewidth=1, alpha=0.35)
        told = [(a, b) for a, b, is_many in zip(x, y, many, strict=True) if is_many]
        above.plot([a for a, _ in told], [b for _, b in told], "-", color=run_color(name))
        strengths = [1.0 if is_many else 0.35 for is_many in many]
        above.scatter(x, y, s=28, color=run_color(name), alpha=strengths, zorder=3, linewidth=0)
        has_few = has_few or not all(many)
        percent_axis(above, "y", 0, 1, room=0.03)
        above.set_aspect("auto")
        above.set_title(run_word(name))
        ece = number(one.get("ece"))
        if ece is not None:
            above.text(0.03, 0.95, f"ECE {in_percent(ece)} %", transform=above.transAxes, va="top")
        below.bar(
            [line["low"] for line in bins],
            [line["n"] for line in bins],
            [line["high"] - line["low"] for line in bins],
            align="edge",
            color=run_color(name),
            edgecolor=PAPER,
            linewidth=0.6,
        )
        below.yaxis.set_major_locator(_few_ticks())
        percent_axis(below, "x", 0, 1, label="confidence", room=0.03)
        below.set_xticks([0, 0.25, 0.5, 0.75, 1])
        texts.append(_calibration_sentence(name, one, ece))
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("images")
    n = number(inside(next(iter(found.values())), "n"))
    of = "" if n is None else f" on {counted(n, 'test image')}"
    caption = "On the dashed line, accuracy equals confidence; below it, a model is overconfident."
    if has_few:
        caption += f" Pale points stand for fewer than {_MIN_IMAGES} images and are unreliable."
    if any(texts):
        caption += f" Expected calibration error (ECE){of}: {listed([text for text in texts if text])}."
    return Picture("reliability", "Reliability", caption, figure)


@styled
def confidence(result: Plain) -> Picture | None:
    """Histogram of the models' confidence on the unlabeled images."""
    found = {name: numbers(inside(result, "pool", name, "confidence")) for name in runs_of(result)}
    found = {name: counts for name, counts in found.items() if sum(counts)}
    if not found:
        return None
    from matplotlib.ticker import FuncFormatter

    figure = new_figure(height=2.9)
    axes = figure.subplots()
    said = []
    delivered = delivered_of(result)
    for name, counts in found.items():
        shares, edges = [one / sum(counts) for one in counts], [at / len(counts) for at in range(len(counts) + 1)]
        if name == delivered or len(found) == 1:
            axes.stairs(shares, edges, fill=True, color=run_color(name), alpha=0.75, label=run_word(name), linewidth=0)
        else:
            axes.stairs(shares, edges, color=run_color(name), linewidth=1.8, label=run_word(name))
        confident = sum(one for one, low in zip(counts, edges, strict=False) if low >= _CONFIDENT - 1e-9) / sum(counts)
        said.append(f"{run_word(name)} {in_percent(confident)} % of {counted(sum(counts), 'image')}")
    axes.set_xlim(-0.01, 1.01)
    axes.tick_params(axis="x", pad=7)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{in_percent(value)} %"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{in_percent(value)} %"))
    axes.yaxis.set_major_locator(_few_ticks(5))
    axes.set_xlabel("confidence of the predicted class")
    axes.set_title("share of the unlabeled images")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return Picture(
        "confidence", "Confidence on the unlabeled images", f"At least 95 % confidence: {listed(said)}.", figure
    )


@styled
def robustness(result: Plain) -> Picture | None:
    """Accuracy under corruptions over their strength, of the delivered model before the other one's."""
    name = delivered_of(result)
    found = _by_corruption(result, name)
    if name is None or not found:
        return None
    other = next((one for one in runs_of(result) if one != name and _by_corruption(result, one)), None)
    pale = _by_corruption(result, other)
    few = len(found) <= _MAX_PANELS
    figure = _draw_panels(name, found, other, pale) if few else _draw_table(name, found)
    means = [
        f"{run_word(one)} {in_percent(mean)} %"
        for one in (name, other)
        if one and (mean := _mean_of(result, one)) is not None
    ]
    n, clean = number(inside(result, "robustness", name, "n")), number(inside(result, "robustness", name, "clean"))
    caption = f"Mean accuracy over all corruptions and severities: {listed(means) or 'unknown'}."
    if clean is not None:
        caption += f" On clean images, {run_word(name)} reaches {in_percent(clean)} %."
    last = {one: values[-1] for one, values in found.items() if values[-1] is not None}
    if last:
        worst = min(last, key=lambda one: last[one] or 0)
        caption += f" The hardest at severity 5 is {run_word(worst)} with {in_percent(last[worst] or 0)} %."
    if n is not None:
        caption += f" n = {n:,.0f} images each."
    return Picture("robustness", "Robustness to corrupted images", caption, figure)


def _dot(
    axes: Axes, row: int, value: float, between: tuple[float, float] | None, color: str, *, signed: bool = False
) -> list[float]:
    """A dot with its interval and its number above; what the axis has to show."""
    if between is not None:
        axes.plot(between, (row, row), color=color, linewidth=2.2, alpha=0.55)
    axes.plot([value], [row], "o", color=color, markersize=8, markeredgecolor=PAPER)
    text = in_points(value) if signed else f"{in_percent(value)} %"
    axes.annotate(
        text, (value, row), xytext=(0, 7), textcoords="offset points", ha="center", fontweight="bold", color=INK
    )
    return [value, *(between or ())]


def _whole_history(run: Plain) -> list[Plain]:
    """The lines of all trainings of a run one after another, each beginning where the one before ended.

    A run's own history is that of the returned model alone; where a recipe trained several, each of its rounds has one.
    After pretraining, which has other losses, the first begins late enough for the last to end at the cost of the run.
    """
    lines = run.get("rounds") or ()
    is_pretrained = any("kept" in line for line in lines)
    parts = [part for line in lines if (part := line.get("history"))]
    if not parts and is_pretrained and run.get("history"):
        parts = [run["history"]]
    if not parts:
        return list(run.get("history") or [])
    whole: list[Plain] = []
    before = dict.fromkeys(_CLOCKS, 0.0)
    if is_pretrained:
        for clock in _CLOCKS:
            ends = sum(number(part[-1].get(clock)) or 0.0 for part in parts)
            total = number(run.get("steps") if clock == "step" else inside(run, "cost", clock))
            before[clock] = max(0.0, (total or 0.0) - ends)
    for at, part in enumerate(parts):
        for line in part:
            moved = {
                clock: before[clock] + value for clock in _CLOCKS if (value := number(line.get(clock))) is not None
            }
            progress = (at + (number(line.get("progress")) or 0.0)) / len(parts)
            whole.append({**line, **moved, "progress": progress, "part": at})
        before = {clock: number(whole[-1].get(clock)) or before[clock] for clock in _CLOCKS}
    return whole


def _mark_parts(panels: Sequence[Axes], histories: Mapping[str, Sequence[Plain]], clock: str) -> str:
    """Draw a dotted line where a recipe's next training begins; return the sentence that explains it, if any."""
    starts = [
        (number(before.get(clock)), run_color(name))
        for name, lines in histories.items()
        for before, after in itertools.pairwise(lines)
        if before.get("part") != after.get("part")
    ]
    for at, color in starts:
        for axes in panels:
            if at is not None:
                axes.axvline(at, color=color, linestyle=":", linewidth=1, alpha=0.7, zorder=1)
    return " A dotted line marks where the next round begins." if starts else ""


def _clock(result: Plain, histories: Mapping[str, Sequence[Plain]]) -> tuple[str, str]:
    """The column that all runs share as a measure of how far they are, and its name."""
    on_device = inside(result, "verdict", "cost_clock") == "wall_s"
    clocks = [("cpu_s", "CPU seconds"), ("wall_s", "seconds")]
    for column, unit in clocks[::-1] if on_device else clocks:
        if all(number(inside(line, column)) is not None for lines in histories.values() for line in lines):
            return column, unit
    return "progress", "share of training"


def _losses(
    histories: Mapping[str, Sequence[Plain]], clock: str, labeled: bool
) -> list[tuple[str, str, list[float], list[float]]]:
    """Run, term and its line, of the labeled images' loss or of all others."""
    found = []
    for name, lines in histories.items():
        terms = dict.fromkeys(key for line in lines for key in line if key not in _NO_LOSS)
        for term in [term for term in terms if (term == BASELINE) == labeled][:3]:
            x, y = series(lines, clock, term)
            if x:
                found.append((name, term, x, y))
    return found


def _calibration_sentence(name: str, one: Plain, ece: float | None) -> str:
    if ece is None:
        return ""
    text = f"{run_word(name)} {in_percent(ece)} %"
    temperature, scaled = number(one.get("temperature")), number(one.get("scaled_ece"))
    if temperature is not None and scaled is not None:
        text += f" ({in_percent(scaled)} % after scaling with temperature {temperature:.2g})"
    return text


def _by_corruption(result: Plain, name: str | None) -> dict[str, list[float | None]]:
    """Accuracy at strengths 0 to 5 by corruption."""
    clean = number(inside(result, "robustness", name, "clean"))
    found = {}
    for corruption, shares in (inside(result, "robustness", name, "accuracy") or {}).items():
        values = [clean, *[number(share) for share in shares or ()]][: len(_STRENGTHS)]
        if any(value is not None for value in values[1:]):
            found[str(corruption)] = values + [None] * (len(_STRENGTHS) - len(values))
    return found


def _mean_of(result: Plain, name: str | None) -> float | None:
    mean = number(inside(result, "robustness", name, "mean"))
    shares = [one for values in _by_corruption(result, name).values() for one in values[1:] if one is not None]
    return mean if mean is not None else sum(shares) / len(shares) if shares else None


def _draw_panels(
    name: str, found: Mapping[str, list[float | None]], other: str | None, pale: Mapping[str, list[float | None]]
) -> Any:
    """A small panel per corruption, the hardest first."""
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(height=0.7 + 1.35 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    order = sorted(found, key=lambda one: sum(value or 0 for value in found[one][1:]))
    shares = [value for part in (found, pale) for values in part.values() for value in values if value is not None]
    for axes, corruption in zip(panels.flat, order, strict=False):
        if other is not None and corruption in pale:
            axes.plot(_STRENGTHS, _gaps(pale[corruption]), color=run_color(other), linewidth=1.4, alpha=0.6)
        axes.plot(_STRENGTHS, _gaps(found[corruption]), "o-", color=run_color(name), markersize=3)
        axes.set_title(run_word(corruption), fontsize=9)
        axes.set_xticks(_STRENGTHS)
    percent_axis(panels[0, 0], "y", min(shares), max(shares), room=0.08)
    for axes in panels.flat[len(found) :]:
        axes.set_axis_off()
    legend = [(name, 1.0), *([(other, 0.6)] if other else [])]
    handles = [panels[0, 0].plot([], [], color=run_color(one), alpha=alpha)[0] for one, alpha in legend]
    figure.legend(handles, [run_word(one) for one, _ in legend], loc="outside upper left", ncols=2)
    figure.supxlabel("severity of the corruption", color=MUTED, fontsize=9.5)
    return figure


def _draw_table(name: str, found: Mapping[str, list[float | None]]) -> Any:
    """A row per corruption and a column per strength, with numbers."""
    figure = new_figure(height=0.8 + 0.24 * len(found))
    axes = figure.subplots()
    order = sorted(found, key=lambda one: sum(value or 0 for value in found[one][1:]))
    axes.imshow(
        tinted([[FULL * (value or 0) for value in found[one]] for one in order]), aspect="auto", interpolation="none"
    )
    for row, corruption in enumerate(order):
        for column, value in enumerate(found[corruption]):
            if value is not None:
                axes.text(column, row, in_percent(value), ha="center", va="center", fontsize=SMALL)
    rows_axis(axes, [run_word(one) for one in order])
    axes.grid(False)
    axes.set_xticks(_STRENGTHS)
    axes.set_xlabel(f"severity of the corruption; accuracy of {run_word(name)} in %")
    return figure


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _few_ticks(max_ticks: int = 2) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(max_ticks, steps=[1, 2, 5, 10])

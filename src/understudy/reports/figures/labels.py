"""Figures of pseudo-labels: how many, how accurate, of which classes, and round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.core.text import capitalized, counted
from understudy.reports.figures.picture import (
    BASELINE,
    Picture,
    Plain,
    classes_of,
    column_names,
    delivered_of,
    dots,
    in_percent,
    inside,
    number,
    numbers,
    percent_axis,
    rows_axis,
    runs_of,
    series,
)
from understudy.reports.figures.style import (
    FURTHER,
    INK,
    METHOD,
    MUTED,
    PAPER,
    RIGHT,
    SMALL,
    WRONG,
    new_figure,
    quoted,
    short_names,
    shorten,
    styled,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_NAMED = 30  # more names do not fit a figure at the smallest text size
_ROUND_LINES = (
    ("validation_accuracy", "accuracy on validation images", "o-", METHOD),
    ("pseudo_label_accuracy", "accuracy of pseudo-labels", "s-", RIGHT),
    ("coverage", "share of the pool labeled", "^--", FURTHER[0]),
    ("labels_changed", "share of labels changed", "v:", FURTHER[2]),
)
_KINDS = (
    ("labels", "labeled images", "s", MUTED),
    ("test", "test images", "D", FURTHER[0]),
    ("predicted", "predictions for the pool", "o", METHOD),
    ("true", "hidden labels of the pool", "x", INK),
)
_WORDS = {kind: words for kind, words, *_ in _KINDS}


@styled
def rounds(result: Plain) -> Picture | None:
    """Accuracy, coverage and change of the pseudo-labels from round to round."""
    for name in sorted(runs_of(result), key=lambda one: one == BASELINE):
        lines = [line for line in inside(result, "runs", name, "rounds") or () if "kept" not in line]
        if any(_known(line, key) for line in lines for key, *_ in _ROUND_LINES):
            figure = rounds_figure(lines, classes_of(result))
            return Picture(
                "rounds", "Rounds", _rounds_caption(lines, number(inside(result, "data", "num_validation"))), figure
            )
    return None


@styled
def rounds_figure(lines: Sequence[Plain], classes: Sequence[str]) -> Figure:
    """The lines of rounds, and below them the pseudo-labels per class where there are any."""
    with_counts = [line for line in lines if line.get("pseudo_labels_per_class")]
    figure = new_figure(height=5.6 if with_counts else 3.3)
    panels = figure.subplots(2 if with_counts else 1, 1, squeeze=False, height_ratios=[3, 2] if with_counts else None)[
        :, 0
    ]
    axes = panels[0]
    for key, label, style, color in _ROUND_LINES:
        known = [(place, line[key]) for place, line in enumerate(lines) if _known(line, key)]
        if known:
            axes.plot(*zip(*known, strict=True), style, color=color, label=label)
    returned = [place for place, line in enumerate(lines) if line.get("returned")]
    for place in returned:
        axes.axvspan(place - 0.2, place + 0.2, color=MUTED, alpha=0.15, linewidth=0, zorder=0)
    longest = 24 if len(lines) <= 4 else 12
    names = [shorten(str(line.get("name", place)), longest) for place, line in enumerate(lines)]
    column_names(axes, [f"{name}\n(returned)" if at in returned else name for at, name in enumerate(names)], 6.6)
    axes.set_xlim(-0.5, max(len(lines) - 0.5, 0.5))
    percent_axis(axes, "y", 0, 1, room=0.03)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    if with_counts:
        _draw_classes(panels[1], with_counts, classes)
    return figure


@styled
def pseudo_labels(result: Plain) -> Picture | None:
    """Share of the unlabeled images used, and accuracy of their pseudo-labels, over training."""
    lines = result.get("pseudo_labels") or ()
    columns = [
        ("coverage", "share of the unlabeled images used", METHOD, "-"),
        ("pseudo_label_accuracy", "accuracy of their pseudo-labels", RIGHT, "--"),
    ]
    rounds_of = [line for line in lines if line.get("round") is not None]
    lines, across = (rounds_of, "round") if rounds_of else (lines, "progress")  # a round's labels are made at once
    drawn = [(key, label, color, style, *series(lines, across, key)) for key, label, color, style in columns]
    drawn = [one for one in drawn if one[4]]
    if not drawn:
        return None
    figure = new_figure(height=3.1)
    axes = figure.subplots()
    for _, label, color, style, x, y in drawn:
        axes.plot(x, y, style, color=color, label=label, marker="o", markersize=3.5)
    percent_axis(axes, "y", 0, 1, room=0.03)
    if rounds_of:
        numbers_of = sorted({int(one) for *_, x, _ in drawn for one in x})
        axes.set_xticks(numbers_of, [f"round {one}" for one in numbers_of])
        axes.set_xlim(numbers_of[0] - 0.5, numbers_of[-1] + 0.5)
    else:
        percent_axis(axes, "x", 0, 1, label="share of training", room=0.02)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    ends = {one[0]: one[5] for one in drawn}
    said = []
    if "coverage" in ends:
        y = ends["coverage"]
        when = f"in round {int(drawn[0][4][-1])}" if rounds_of else "at the end"
        said.append(f"{when}, {in_percent(y[-1])} % of the unlabeled images were used")
    if "pseudo_label_accuracy" in ends:
        y = ends["pseudo_label_accuracy"]
        first = f" ({in_percent(y[0])} % at first)" if len(y) > 1 else ""
        said.append(f"{in_percent(y[-1])} % of their pseudo-labels were correct{first}")
    n = number(inside(result, "data", "num_unlabeled"))
    caption = ", and ".join(said)
    caption = f"{capitalized(caption)}."
    if "pseudo_label_accuracy" in ends:
        hidden = "" if n is None else f" of {counted(n, 'image')}"
        caption += f" Accuracy is measured with the hidden labels{hidden}; training never reads them."
    return Picture("pseudo_labels", "Pseudo-labels", caption, figure)


@styled
def pseudo_labels_by_class(result: Plain) -> Picture | None:
    """Pseudo-labels of each class at the end of training, and how many of them were correct."""
    line = next((one for one in reversed(result.get("pseudo_labels") or ()) if sum(numbers(one.get("counts")))), None)
    if line is None:
        return None
    counts = numbers(line.get("counts"))
    has_right = line.get("right") is not None
    right = (numbers(line.get("right")) + [0.0] * len(counts))[: len(counts)]
    classes = classes_of(result, len(counts))
    total, mean = sum(counts), sum(counts) / len(counts)
    most = max(range(len(counts)), key=counts.__getitem__)
    few = sum(one < mean / 2 for one in counts)
    if len(counts) <= _MAX_NAMED:
        figure = _named_labels(counts, right if has_right else None, classes)
    else:
        figure = _sorted_labels(counts, right if has_right else None)
    caption = (
        f"Of {counted(total, 'pseudo-label')}, {quoted(classes[most])} has the most ({counts[most]:,.0f}); "
        f"{counted(few, 'class has', 'classes have') if few else 'no class has'} less than half of the mean, "
        f"{mean:,.0f}."
    )
    used = [at for at in range(len(counts)) if counts[at] >= 1]
    if has_right:
        worst = min(used, key=lambda at: right[at] / counts[at])
        caption += (
            f" Accuracy is lowest for {quoted(classes[worst])}: {right[worst]:,.0f} of {counts[worst]:,.0f} correct "
            f"({in_percent(right[worst] / counts[worst])} %)."
        )
    return Picture("pseudo_labels_by_class", "Pseudo-labels by class", caption, figure)


@styled
def label_distribution(result: Plain) -> Picture | None:
    """Class shares among the labels, the test images and the model's predictions for the pool."""
    name = delivered_of(result)
    counts = {
        "labels": numbers(inside(result, "data", "labeled_per_class")),
        "test": numbers(inside(result, "data", "test_per_class")),
        "predicted": numbers(inside(result, "pool", name, "per_class")),
        "true": numbers(inside(result, "data", "pool_per_class")),
    }
    counts = {kind: of_one for kind, of_one in counts.items() if sum(of_one)}
    if not counts:
        return None
    k = max(map(len, counts.values()))
    shares = {
        kind: [one / sum(of_one) for one in of_one] + [0.0] * (k - len(of_one)) for kind, of_one in counts.items()
    }
    classes = classes_of(result, k)
    first = next(iter(shares.values()))
    order = sorted(range(k), key=lambda at: -first[at])
    figure = new_figure(height=1.1 + 0.27 * k if k <= _MAX_NAMED else 3.4)
    axes = figure.subplots()
    for kind, label, marker, color in _KINDS:
        if kind not in shares:
            continue
        values = [shares[kind][at] for at in order]
        text = f"{label} (n = {sum(counts[kind]):,.0f})"
        if k <= _MAX_NAMED:
            size = 6 if kind != "predicted" else 7
            axes.plot(
                values, range(k), marker, color=color, label=text, markersize=size, markerfacecolor=_face(marker, color)
            )
        else:
            style = "--" if kind == "true" else "-"
            axes.step(range(1, k + 1), sorted(values, reverse=True), style, where="mid", color=color, label=text)
    every = [value for values in shares.values() for value in values]
    if k <= _MAX_NAMED:
        for row, at in enumerate(order):
            ends = [values[at] for values in shares.values()]
            axes.hlines(row, min(ends), max(ends), color=MUTED, linewidth=1, alpha=0.5, zorder=1)
        rows_axis(axes, short_names([classes[at] for at in order]))
        percent_axis(axes, "x", 0, max(every))
    else:
        percent_axis(axes, "y", 0, max(every))
        axes.set_xlabel("classes, each line sorted separately")
        axes.set_title("share of the images")
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2}
    axes.legend(**(above if k <= _MAX_NAMED else {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}))
    return Picture("label_distribution", "Class distribution", _distribution_caption(shares, counts, classes), figure)


def _known(line: Plain, key: str) -> bool:
    return number(line.get(key)) is not None


def _face(marker: str, color: str) -> str:
    return color if marker == "o" else PAPER


def _rounds_caption(lines: Sequence[Plain], num_validation: float | None) -> str:
    names = [shorten(str(line.get("name", place))) for place, line in enumerate(lines)]
    of = "" if not num_validation else f" of {counted(num_validation, 'validation image')}"
    said = []
    for key, words in (
        ("validation_accuracy", "validation accuracy"),
        ("pseudo_label_accuracy", "pseudo-label accuracy"),
    ):
        known = [(name, line[key]) for name, line in zip(names, lines, strict=True) if _known(line, key)]
        if len(known) > 1:
            (first, low), (last, high) = known[0], known[-1]
            words = key.replace("pseudo_", "pseudo-").replace("_", " ")
            text = f"{words} goes from {in_percent(low)} % ({first}) to {in_percent(high)} % ({last})"
            said.append(text + of * (key == "validation_accuracy"))
    kept = [f"the model of {name} is returned" for name, line in zip(names, lines, strict=True) if line.get("returned")]
    return capitalized("; ".join([*said, *kept[:1]]) or counted(len(lines), "line")) + "."


def _draw_classes(axes: Axes, lines: Sequence[Plain], classes: Sequence[str]) -> None:
    """Pseudo-labels per class, a shade per round: bars of named classes, sorted lines of many."""
    shown = lines if len(lines) <= 5 else [lines[0], lines[len(lines) // 2], lines[-1]]
    k = max(len(line["pseudo_labels_per_class"]) for line in shown)
    for at, line in enumerate(shown):
        values = numbers(line["pseudo_labels_per_class"])
        alpha = 0.3 + 0.7 * (at + 1) / len(shown)
        if k <= 20:
            width = 0.8 / len(shown)
            places = [place + (at - (len(shown) - 1) / 2) * width for place in range(len(values))]
            axes.bar(
                places, values, width, color=METHOD, alpha=alpha, label=shorten(str(line.get("name", at))), linewidth=0
            )
        else:
            values = sorted(values, reverse=True)
            axes.plot(
                range(1, len(values) + 1), values, color=METHOD, alpha=alpha, label=shorten(str(line.get("name", at)))
            )
    axes.set_ylim(bottom=0)
    axes.set_title("pseudo-labels per class")
    if k <= 20:
        names = short_names([*map(str, classes), *(f"class {at}" for at in range(len(classes), k))], 16)[:k]
        column_names(axes, names, 6.6)
    else:
        axes.set_xlabel("classes, each round sorted by number of labels")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, fontsize=SMALL)


def _named_labels(counts: Sequence[float], right: Sequence[float] | None, classes: Sequence[str]) -> Any:
    """Bars of correct and wrong pseudo-labels by class."""
    order = sorted(range(len(counts)), key=lambda at: -counts[at])
    figure = new_figure(height=1.0 + 0.27 * len(counts))
    axes = figure.subplots()
    for row, at in enumerate(order):
        known = counts[at] if right is None else right[at]
        axes.barh(
            row,
            known,
            0.62,
            color=METHOD if right is None else RIGHT,
            linewidth=0,
            label="correct" if not row else None,
        )
        if right is not None:
            axes.barh(
                row, counts[at] - known, 0.62, known, color=WRONG, linewidth=0, label="wrong" if not row else None
            )
        text = f"{counts[at]:,.0f}"
        if right is not None and counts[at]:
            text += f"  ({in_percent(known / counts[at], 0)} % correct)"
        axes.annotate(text, (counts[at], row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALL)
    rows_axis(axes, short_names([classes[at] for at in order]))
    axes.set_xlim(0, max(counts) * 1.28)
    axes.set_title("pseudo-labels at the end", pad=8)
    if right is not None:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def _sorted_labels(counts: Sequence[float], right: Sequence[float] | None) -> Any:
    """Counts of very many classes as a sorted line, and below it their accuracy."""
    order = sorted(range(len(counts)), key=lambda at: -counts[at])
    places = range(1, len(counts) + 1)
    figure = new_figure(height=4.6 if right is not None else 2.8)
    panels = figure.subplots(1 if right is None else 2, 1, squeeze=False, sharex=True)[:, 0]
    panels[0].fill_between(places, [counts[at] for at in order], color=METHOD, alpha=0.75, linewidth=0, step="mid")
    panels[0].set_ylim(bottom=0)
    panels[0].set_title("pseudo-labels at the end")
    if right is not None:
        known = [(place, right[at] / counts[at]) for place, at in zip(places, order, strict=True) if counts[at]]
        dots(panels[1], [one[0] for one in known], [one[1] for one in known], RIGHT)
        percent_axis(panels[1], "y", 0, 1, room=0.03)
        panels[1].set_title("accuracy")
    panels[-1].set_xlabel("classes, sorted by number of pseudo-labels")
    return figure


def _distribution_caption(
    shares: Mapping[str, Sequence[float]], counts: Mapping[str, Sequence[float]], classes: Sequence[str]
) -> str:
    against = next((kind for kind in ("true", "labels", "test") if kind in shares), None)
    if against is not None and "predicted" in shares:
        apart = [a - b for a, b in zip(shares["predicted"], shares[against], strict=True)]
        at = max(range(len(apart)), key=lambda place: abs(apart[place]))
        return (
            f"The predictions for {counted(sum(counts['predicted']), 'unlabeled image')} deviate most from the "
            f"{_WORDS[against]} for {quoted(classes[at])}: "
            f"{in_percent(shares['predicted'][at])} % against {in_percent(shares[against][at])} %."
        )
    kind = next(iter(shares))
    most, least = max(shares[kind]), min(shares[kind])
    name = _WORDS[kind]
    return (
        f"Class shares of {sum(counts[kind]):,.0f} {name} range from {in_percent(least)} % to {in_percent(most)} % "
        f"({quoted(classes[list(shares[kind]).index(most)])})."
    )


def draw_rounds(rounds: Sequence[Mapping[str, Any]], classes: Sequence[str], path: Path) -> None:
    """Write the figure of the rounds to a file."""
    write_png(rounds_figure(rounds, classes), path)

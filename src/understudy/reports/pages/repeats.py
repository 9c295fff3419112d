"""The part of a run's page about its seeds or folds: the verdict over all, each of them, and their spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.text import capitalized, counted, listed, percent, percent_range, signed_points
from understudy.reports.figures.picture import (
    BASELINE,
    Picture,
    interval,
    percent_axis,
    rows_axis,
    run_color,
    run_word,
)
from understudy.reports.figures.style import GRID, INK, PAPER, new_figure, styled
from understudy.reports.page import PageTable, Section, Tile, known


def repeats_section(result: Mapping[str, Any]) -> Section:
    """The seeds or folds in words, as a figure and as a table; empty where a run was not repeated."""
    repeats = result.get("repeats")
    if not repeats:
        return Section("Over seeds")
    title = f"Over {counted(len(repeats['runs']), one_of(repeats))}"
    return Section(title, repeats["sentences"], known([paired_dots(repeats)]), [_table(repeats)])


def repeats_tiles(result: Mapping[str, Any]) -> list[Tile]:
    """The two accuracies of all seeds or folds together, their difference, and the images they were measured on."""
    repeats, data = result["repeats"], result["data"]
    over = f"{'mean of' if repeats['kind'] == 'seeds' else 'over'} {counted(len(repeats['runs']), one_of(repeats))}"
    tiles = []
    for name in names_of(repeats):
        who = "labels alone" if name == BASELINE else f"with the unlabeled images ({name})"
        between = interval(repeats[name]["interval"])
        about = "" if between is None else f"; 95 % interval {percent_range(*between)}"
        tiles.append(Tile(percent(repeats[name]["mean"]), f"accuracy, {who}, {over}{about}"))
    if repeats["difference"] is not None:
        between = interval(repeats["interval"])
        about = "" if between is None else f"; 95 % interval {percent_range(*between, signed=True)}"
        tiles.append(Tile(f"{signed_points(repeats['difference'])} points", f"difference{about}"))
    num_tests = [run["n"] for run in repeats["runs"]]
    if repeats["kind"] == "folds":
        tiles.append(Tile(f"{sum(num_tests):,}", "labeled images, each tested by models not trained on it"))
    else:
        source = "the same for every seed" if data["test_source"] == "test" else "held out for each seed"
        tiles.append(Tile(f"{num_tests[0]:,}", f"test images, {source}"))
    metrics = result["metrics"].get(result["delivered"])
    if repeats["kind"] == "folds" and metrics is not None and data["test_source"] != "out of fold":
        tiles.append(
            Tile(percent(metrics["accuracy"]), f"accuracy of the final model on {metrics['n']:,} other images")
        )
    return tiles


@styled
def paired_dots(repeats: Mapping[str, Any]) -> Picture | None:
    """Both accuracies of every seed or fold, joined by a line, and below them all together with intervals."""
    runs, names = repeats["runs"], names_of(repeats)
    figure = new_figure(height=1.0 + 0.34 * (len(runs) + 1))
    axes = figure.subplots()
    ends: list[float] = []
    for row, run in enumerate(runs):
        shares = [run[name] for name in names]
        axes.plot(shares, [row] * len(shares), color=GRID, linewidth=2.5, zorder=1)
        for name, share in zip(names, shares, strict=True):
            size = 9.5 if name == BASELINE else 6.0  # so that both are seen where they are equal
            axes.plot(share, row, "o", color=run_color(name), markersize=size, markeredgecolor=PAPER)
        ends += shares
    last = len(runs)
    axes.axhline(last - 0.5, color=GRID, linewidth=1)
    for place, name in enumerate(names):
        between, mean = interval(repeats[name]["interval"]), repeats[name]["mean"]
        height = last + 0.16 * (2 * place - len(names) + 1)
        if between is not None:
            axes.plot(between, [height] * 2, color=run_color(name), linewidth=2, alpha=0.5)
        axes.plot(mean, height, "D", color=run_color(name), markersize=6.5, markeredgecolor=PAPER)
        ends += [mean, *(between or ())]
    whole = "mean" if repeats["kind"] == "seeds" else "all images"
    rows_axis(axes, [*(f"{one_of(repeats)} {run[one_of(repeats)]}" for run in runs), whole])
    axes.get_yticklabels()[-1].set_color(INK)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    percent_axis(axes, "x", min(ends), max(ends))
    axes.set_title("accuracy")
    handles = [axes.plot([], [], "o", color=run_color(name))[0] for name in names]
    axes.legend(handles, [run_word(name) for name in names], loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    accuracies = listed([f"{run_word(name)} {percent(repeats[name]['mean'])}" for name in names])
    what = "Mean accuracy" if repeats["kind"] == "seeds" else "Accuracy"
    caption = f"{what} over {counted(len(runs), one_of(repeats))}: {accuracies}."
    if repeats["difference"] is not None:
        ahead = sum(run["difference"] > 0 for run in runs)
        caption += f" {capitalized(run_word(names[1]))} is more accurate in {ahead} of them."
    if any(repeats[name]["interval"] for name in names):
        caption += " Lines through diamonds are 95 % intervals."
    return Picture("repeats", f"Every {one_of(repeats)}", caption, figure)


def names_of(repeats: Mapping[str, Any]) -> list[str]:
    """The kinds of models, supervised first."""
    return [BASELINE, *([repeats["method"]] if repeats["method"] else [])]


def one_of(repeats: Mapping[str, Any]) -> str:
    """What one repeat is called: seed or fold."""
    return str(repeats["kind"]).removesuffix("s")


def _table(repeats: Mapping[str, Any]) -> PageTable:
    names, one = names_of(repeats), one_of(repeats)
    has_both = repeats["difference"] is not None
    rows = [
        [
            str(run[one]),
            f"{run['n']:,}",
            *(percent(run[name]) for name in names),
            *([signed_points(run["difference"])] if has_both else []),
        ]
        for run in repeats["runs"]
    ]
    whole = (
        ["mean", ""] if repeats["kind"] == "seeds" else ["all images", f"{sum(run['n'] for run in repeats['runs']):,}"]
    )
    rows.append([*whole, *(percent(repeats[name]["mean"]) for name in names)])
    if has_both:
        rows[-1].append(signed_points(repeats["difference"]))
    deviations = [repeats[name]["deviation"] for name in names]
    if all(value is not None for value in deviations):
        cells = ["standard deviation", "", *(f"{100 * value:.1f}" for value in deviations)]
        rows.append([*cells, *([""] if has_both else [])])
    between = [interval(repeats[name]["interval"]) for name in names]
    if all(between):
        cells = [percent_range(*ends) for ends in between if ends is not None]
        ends = interval(repeats["interval"])
        gain = ["-" if ends is None else percent_range(*ends, signed=True)] if has_both else []
        rows.append(["95 % interval", "", *cells, *gain])
    columns = [one, "test images", *(run_word(name) for name in names), *(["difference, points"] if has_both else [])]
    return PageTable(columns, rows, numeric=range(1, len(columns)))

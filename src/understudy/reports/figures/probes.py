"""The figure of pretraining: accuracy of probes on the features, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.reports.figures.picture import percent_axis, series
from understudy.reports.figures.style import FURTHER, METHOD, MUTED, new_figure, styled, write_png

_SERIES = (
    ("knn_accuracy", "nearest neighbors", "o-", METHOD),
    ("linear_accuracy", "linear classifier", "s--", FURTHER[0]),
)


@styled
def draw_probes(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the figure of the probes as PNG."""
    figure = new_figure(height=3.6)
    axes = figure.subplots()
    for name, label, style, color in _SERIES:
        x, y = series(lines, "progress", name)
        if x:
            axes.plot(x, y, style, color=color, label=label, markersize=4)
    for line in lines:
        if line.get("kept"):
            axes.axvline(line["progress"], color=MUTED, linestyle=":", linewidth=1, zorder=0, label="kept")
    percent_axis(axes, "x", 0, 1, label="share of pretraining", room=0.02)
    percent_axis(axes, "y", 0, 1, room=0.03)
    axes.set_title("accuracy of probes on the features")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3)
    write_png(figure, path)

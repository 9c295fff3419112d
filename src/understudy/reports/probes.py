"""The picture of pretraining: how well features without labels tell labeled images apart, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SERIES = (
    ("knn_accuracy", "nearest neighbors", "o-", "#1b6ca8"),
    ("linear_accuracy", "linear classifier", "s--", "#e08a1e"),
)


def draw_probes(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the picture of the probes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, label, style, color in _SERIES:
        points = [(100 * line["progress"], 100 * line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), style, color=color, label=label, markersize=4)
    for line in lines:
        if line.get("kept"):
            axes.axvline(100 * line["progress"], color="0.6", linestyle=":", zorder=0, label="kept")
    axes.set(xlim=(0, 103), ylim=(0, 102), xlabel="% of pretraining", ylabel="% of labeled images told right")
    axes.set_title("Probes of the pretrained features")
    axes.grid(axis="y", color="0.9")
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)

"""The picture of a run in rounds: how good, how many and how changed the labels were, and of which class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SERIES = (
    ("validation_accuracy", "accuracy on validation images", "o-", "#1b6ca8"),
    ("pseudo_label_accuracy", "accuracy of pseudo-labels", "s-", "#2a9d4a"),
    ("coverage", "share of the pool labeled", "^--", "#e08a1e"),
    ("labels_changed", "share of labels changed", "v:", "#7a4fa3"),
)
_MOST_NAMED = 20


def draw_rounds(rounds: Sequence[Mapping[str, Any]], classes: Sequence[str], path: Path) -> None:
    """Write the picture of the rounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = list(range(len(rounds)))
    for name, label, style, color in _SERIES:
        points = [(place, 100 * line[name]) for place, line in zip(places, rounds, strict=True) if _known(line, name)]
        if points:
            left.plot(*zip(*points, strict=True), style, color=color, label=label)
    for place, line in zip(places, rounds, strict=True):
        if line.get("returned"):
            left.axvspan(place - 0.2, place + 0.2, color="0.9", zorder=0, label="returned")
    left.set(xticks=places, xlim=(-0.3, len(rounds) - 0.7), ylim=(-3, 103), ylabel="%", title="Rounds")
    left.set_xticklabels([str(line["name"]) for line in rounds])
    left.grid(axis="y", color="0.9")
    left.legend(fontsize=8, loc="center left")
    _draw_classes(right, [line for line in rounds if "pseudo_labels_per_class" in line], classes)
    figure.savefig(path, dpi=120)


def _draw_classes(axes: Any, rounds: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> None:
    """Bars of the pseudo-labels per class, a shade per round."""
    width = 0.8 / max(1, len(rounds))
    for number, line in enumerate(rounds):
        counts = line["pseudo_labels_per_class"]
        shade = str(round(0.75 - 0.6 * number / max(1, len(rounds) - 1), 3))
        places = [place + (number - (len(rounds) - 1) / 2) * width for place in range(len(counts))]
        axes.bar(places, counts, width, color=shade, label=str(line["name"]))
    axes.set(title="Pseudo-labels per class", ylabel="images")
    if len(classes) <= _MOST_NAMED:
        long = max(map(len, classes)) > 3
        axes.set_xticks(range(len(classes)), classes, rotation=45 if long else 0, ha="right" if long else "center")
    axes.legend(fontsize=8)


def _known(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return value is not None and value == value

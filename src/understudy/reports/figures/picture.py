"""What all figures of a report share: the picture with its words, and numbers that may be unknown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.reports.figures.style import FURTHER, INK, METHOD, SMALL, SUPERVISED, clean, color_of, name_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Plain = Mapping[str, Any]
Range = tuple[float, float]
BASELINE = "supervised"
MINUS = "\u2212"


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its words.

    Args:
        name: Of its files and ids: lower case, no spaces.
        caption: What to see in it, computed from what it shows, and of how many images.
    """

    name: str
    title: str
    caption: str
    figure: Figure

    def __post_init__(self) -> None:
        """Tell the figure its name, and a screen reader what the page says below it."""
        name_figure(self.figure, self.name, f"{self.title}. {self.caption}")


def inside(plain: Any, *keys: Any) -> Any:
    """What lies at the end of these keys; None where any of them is missing."""
    for key in keys:
        plain = plain.get(key) if isinstance(plain, Mapping) else None
    return plain


def number(value: Any) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(values: Any) -> list[float]:
    """The values with 0 for unknown ones; empty where there is no list."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    return [number(value) or 0.0 for value in values]


def interval(value: Any) -> Range | None:
    """Low and high of an interval, given as a record or as a pair."""
    if isinstance(value, Sequence) and len(value) >= 2 and not isinstance(value, str):
        value = {"low": value[0], "high": value[1]}
    low, high = number(inside(value, "low")), number(inside(value, "high"))
    return None if low is None or high is None else (low, high)


def series(lines: Any, x: str, y: str) -> tuple[list[float], list[float]]:
    """Two columns of the lines, where both are known."""
    pairs = [(number(inside(line, x)), number(inside(line, y))) for line in lines or ()]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known], [b for _, b in known]


def runs_of(result: Plain) -> list[str]:
    """The names of the runs that a result tells anything of, supervised first."""
    names = [
        name for part in ("runs", "metrics", "calibration", "robustness", "pool") for name in result.get(part) or {}
    ]
    return sorted(dict.fromkeys(names), key=lambda name: name != BASELINE)


def delivered_of(result: Plain) -> str | None:
    """The run whose model is delivered; the last one where nothing says so."""
    names = runs_of(result)
    told = result.get("delivered")
    return told if told in names else names[-1] if names else None


def method_of(result: Plain) -> str | None:
    """The first run beside supervised."""
    return next((name for name in runs_of(result) if name != BASELINE), None)


def classes_of(result: Plain, least: int = 0) -> list[str]:
    """The names of the classes, made up where fewer than `least` are told."""
    names = [str(name) for name in inside(result, "data", "classes") or ()]
    return names + [f"class {place}" for place in range(len(names), least)]


def run_color(name: str, others: Iterable[str] = ()) -> str:
    """The color of a run or method among the others, which are in the order asked for."""
    if name == BASELINE:
        return SUPERVISED
    order = [one for one in others if one != BASELINE]
    return color_of(order.index(name)) if name in order else METHOD


def run_marker(name: str, others: Iterable[str]) -> str:
    """The shape of a method's points, which tells apart those whose colors begin again."""
    order = [one for one in others if one != BASELINE]
    return "osD^v"[(order.index(name) if name in order else 0) // (1 + len(FURTHER)) % 5]


def run_word(name: str) -> str:
    """A run's or method's name as a label."""
    return clean(name).replace("_", " ")


def in_percent(share: float, digits: int = 1) -> str:
    """A share in percent without the sign; no zero behind the point."""
    text = f"{100 * share:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def ends_of(values: Sequence[float]) -> Range:
    """The least and the largest."""
    return min(values), max(values)


def in_points(difference: float) -> str:
    """A difference of shares in points, with its sign."""
    text, sign = in_percent(abs(difference)), "+" if difference > 0 else MINUS
    return text if text == "0" else sign + text


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, in their order, at least `gap` apart where `low` to `high` has room for that."""
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    places = [min(max(wanted[at], low), high) for at in order]
    for at in range(1, len(places)):
        places[at] = max(places[at], places[at - 1] + gap)
    places[-1] = min(places[-1], high)
    for at in range(len(places) - 2, -1, -1):
        places[at] = min(places[at], places[at + 1] - gap)
    found = [0.0] * len(wanted)
    for at, place in zip(order, places, strict=True):
        found[at] = place
    return found


def percent_axis(
    axes: Axes, which: str, low: float, high: float, *, label: str = "", room: float = 0.06, signed: bool = False
) -> None:
    """Set one axis to shares, or to signed differences of shares, from low to high with a little room."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    width = max(high - low, 0.02)
    limits = (low - room * width, high + room * width)
    if not signed:
        limits = (max(limits[0], -0.03 * width), min(limits[1], 1.03))
    (axes.set_xlim if which == "x" else axes.set_ylim)(*limits)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], prune=None))
    axis.set_major_formatter(FuncFormatter(lambda value, _: in_points(value) if signed else f"{in_percent(value)} %"))
    if label:
        axis.set_label_text(label)


def rows_axis(axes: Axes, labels: Sequence[str], *, size: float = 9.5) -> None:
    """Make the y axis a list of names, the first at the top, with lines of the grid across."""
    axes.set_yticks(range(len(labels)), list(labels), fontsize=size)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", labelcolor=INK)


def column_names(axes: Axes, names: Sequence[str], inches: float) -> None:
    """Write names below the columns of an axis of so many inches: level, at an angle or upright, as room permits."""
    room = 72 * inches / max(1, len(names))
    level = max(len(line) for name in names for line in name.split("\n")) * 5.2 < room - 4
    rotation = 0 if level else 40 if room > 16 else 90
    axes.set_xticks(
        range(len(names)), list(names), rotation=rotation, ha="right" if rotation == 40 else "center", fontsize=SMALL
    )
    for label in axes.get_xticklabels():
        label.set_rotation_mode("anchor" if rotation == 40 else "default")
    axes.tick_params(axis="x", labelcolor=INK)


def dots(axes: Axes, x: Iterable[float], y: Iterable[float], color: str, size: float = 3.0, label: str = "") -> None:
    """Very many dots as one path, which takes a fifth of the room that markers take."""
    places = [(at, value) for at, value in zip(x, y, strict=True)]
    length = (max(at for at, _ in places) - min(at for at, _ in places)) / 2000 if places else 0  # 0 is not drawn
    flat_x = [value for at, _ in places for value in (at - length, at + length, math.nan)]
    flat_y = [value for _, height in places for value in (height, height, math.nan)]
    axes.plot(flat_x, flat_y, color=color, linewidth=size, solid_capstyle="round", alpha=0.75, label=label)


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]], inches: float) -> None:
    """Write names right of the ends of lines, apart from one another, in the lines' colors.

    Args:
        ends: Name, x, y and color of each line's end.
        inches: About how high the axes are.
    """
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    places = spread([y for _, _, y, _ in ends], (high - low) * 0.17 / inches, low, high)
    for (name, x, y, color), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            xycoords="data",
            xytext=(right, place),
            textcoords="data",
            color=color,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.7,
                "alpha": 0.6,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def label_points(axes: Axes, marks: Sequence[tuple[str, float, float, str]], inches: Range) -> None:
    """Write names beside points, each where it hides the least of what is there already.

    Args:
        marks: Name, x, y and color of each point.
        inches: About how wide and high the axes are; their limits are set.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    wide, tall = 72 * inches[0], 72 * inches[1]
    spots = [(wide * (x - left) / (right - left), tall * (y - low) / (high - low)) for _, x, y, _ in marks]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    for (name, *at, color), (x, y) in sorted(zip(marks, spots, strict=True), key=lambda pair: -pair[1][1]):
        width, best = 5.4 * len(name), None
        for dx, dy, side in _SIDES:
            start = x + dx - (0 if side == "left" else width if side == "right" else width / 2)
            box = (start, y + dy - 6, start + width, y + dy + 6)
            bad = sum(_overlap(box, other) for other in taken) + 50 * (max(0, -box[0]) + max(0, box[2] - wide))
            if best is None or bad < best[0]:
                best = (bad, dx, dy, side, box)
        assert best is not None
        taken.append(best[4])
        axes.annotate(
            name, (at[0], at[1]), xytext=best[1:3], textcoords="offset points", ha=best[3], va="center", color=color
        )


_SIDES = (
    *((8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center")),
    *((7, 9, "left"), (7, -9, "left"), (-7, 9, "right"), (-7, -9, "right"), (0, 22, "center"), (0, -22, "center")),
)


def _overlap(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    return max(0, min(one[2], two[2]) - max(one[0], two[0])) * max(0, min(one[3], two[3]) - max(one[1], two[1]))

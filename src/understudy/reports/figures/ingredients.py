"""Figures of what a recipe is made of: what each ingredient adds, and which settings were tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.core.text import counted, listed
from understudy.reports.figures.picture import (
    Picture,
    ends_of,
    in_percent,
    in_points,
    interval,
    number,
    percent_axis,
    rows_axis,
    run_word,
)
from understudy.reports.figures.style import (
    FURTHER,
    INK,
    METHOD,
    MUTED,
    PAPER,
    RIGHT,
    SMALL,
    SUPERVISED,
    WRONG,
    clean,
    new_figure,
    short_names,
    shorten,
    styled,
)

_MAX_SETTINGS = 8
"""More axes leave too little room for their names."""
_ABOVE_UNKNOWN = 0.15
"""How far above the runs without a setting the scale of the others begins."""


@styled
def waterfall(steps: Sequence[tuple[str, float, Any]]) -> Picture | None:
    """What each ingredient adds to the accuracy of those before it.

    Args:
        steps: Name, mean accuracy with this ingredient and all before it, and the interval of that mean or None.
    """
    known = [(name, value, interval(between)) for name, mean, between in steps if (value := number(mean)) is not None]
    if len(known) < 2:
        return None
    figure = new_figure(height=0.9 + 0.42 * len(known))
    axes = figure.subplots()
    every = [value for _, mean, between in known for value in (mean, *(between or ()))]
    low, high = ends_of(every)
    start = max(0.0, math.floor(20 * (low - 0.2 * max(high - low, 0.02))) / 20)
    before = start
    changes = []
    for row, (name, mean, between) in enumerate(known):
        color = SUPERVISED if not row else RIGHT if mean >= before else WRONG
        axes.barh(row, mean - before, 0.6, before, color=color, linewidth=0)
        if row + 1 < len(known):
            axes.plot((mean, mean), (row - 0.3, row + 1.3), color=MUTED, linewidth=0.8, zorder=1)
        if between is not None:
            axes.plot(between, (row, row), color=INK, linewidth=1.2)
        text = f"{in_percent(mean)} %" if not row else f"{in_points(mean - before)}  → {in_percent(mean)} %"
        at = max(mean, before, *(between or ()))
        axes.annotate(text, (at, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
        if row:
            changes.append((mean - before, name))
        before = mean
    rows_axis(axes, short_names([name for name, *_ in known], 40))
    percent_axis(axes, "x", start, high)
    axes.set_xlim(start, high + 0.3 * (high - start))
    axes.set_title(f"accuracy; the axis starts at {in_percent(start)} %" if start > 0 else "accuracy")
    most, least = max(changes), min(changes)
    caption = f"From {in_percent(known[0][1])} to {in_percent(known[-1][1])} % in {counted(len(changes), 'step')}; "
    gained = f"the largest gain is {shorten(most[1], 40)} ({in_points(most[0])} points)"
    caption += gained if most[0] > 0 else "no step improves it"
    if least[0] < 0:
        caption += f", the largest loss {shorten(least[1], 40)} ({in_points(least[0])})"
    caption += "." + (" Thin lines are 95 % intervals of the mean." if any(one[2] for one in known) else "")
    return Picture("waterfall", "What each ingredient adds", caption, figure)


@styled
def parallel_coordinates(tried: Sequence[tuple[Mapping[str, Any], float]]) -> Picture | None:
    """The tried runs as lines through their settings, the stronger the color the more accurate; the best in orange.

    Args:
        tried: Settings, which may be tables, and accuracy of each run; settings that never differ are left
            out, and so are knobs that differ only in that some methods lack them.
    """
    tried = [(flat(settings), accuracy) for settings, accuracy in tried]
    known = [(settings, value) for settings, accuracy in tried if (value := number(accuracy)) is not None]
    names = list(dict.fromkeys(name for settings, _ in known for name in settings))
    names = [name for name in names if len({_plain(settings.get(name)) for settings, _ in known}) > 1]
    told = {name: {_plain(one[name]) for one, _ in known if one.get(name) is not None} for name in names}
    # A knob that one method has and another lacks differs with the method, which has an axis of its own.
    names = [name for name in names if len(told[name]) > 1 or not name.startswith("method.")]
    names, hidden = names[:_MAX_SETTINGS], names[_MAX_SETTINGS:]
    if len(known) < 2 or not names:
        return None
    titles = [name.rpartition(".")[2] for name in names]
    titles = [run_word(end if titles.count(end) == 1 else name) for name, end in zip(names, titles, strict=True)]
    scales = [
        _Scale([settings.get(name) for settings, _ in known], title) for name, title in zip(names, titles, strict=True)
    ]
    scales.append(_Scale([value for _, value in known], "accuracy", is_share=True))
    figure = new_figure(height=4.4)
    axes = figure.subplots()
    low, high = ends_of([value for _, value in known])
    order = sorted(known, key=lambda one: one[1])
    for settings, value in order:
        y = [scale.place(settings.get(name)) for scale, name in zip(scales, names, strict=False)] + [
            scales[-1].place(value)
        ]
        is_best = value == high and settings is order[-1][0]
        strength = (value - low) / (high - low) if high > low else 1.0
        axes.plot(
            range(len(y)),
            y,
            color=FURTHER[0] if is_best else METHOD,
            alpha=1 if is_best else 0.12 + 0.7 * strength**2,
            linewidth=2.6 if is_best else 1.3,
        )
    for at, scale in enumerate(scales):
        axes.axvline(at, color=MUTED, linewidth=0.8, zorder=1)
        for place, text in scale.ticks():
            axes.annotate(
                text,
                (at, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
            )
    axes.grid(False)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.05, len(scales) - 1 + 0.45)
    axes.set_xticks(range(len(scales)), short_names([scale.name for scale in scales], 18))
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelcolor=INK, labelsize=9 if len(scales) <= 6 else SMALL)
    if len(scales) > 5:
        axes.tick_params(axis="x", labelrotation=25)
        for label in axes.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
    best = order[-1]
    chosen = listed(
        [f"{scale.name} {scale.word(best[0].get(name))}" for scale, name in zip(scales, names, strict=False)]
    )
    caption = f"The best of {counted(len(known), 'run')} (orange, {in_percent(high)} %): {chosen}. "
    caption += f"The worst has {in_percent(low)} %."
    if hidden:
        caption += f" Other settings that differ are not shown: {listed([run_word(name) for name in hidden])}."
    return Picture("parallel_coordinates", "Settings tried", caption, figure)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings with those of inner tables beside them, as `method.mu`; a table's `name` is its value."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix.rstrip(".") if key == "name" and prefix else f"{prefix}{key}"] = value
    return found


class _Scale:
    """An axis of a setting: numbers on a line or on a logarithmic one, anything else as a list."""

    def __init__(self, values: Sequence[Any], name: str, *, is_share: bool = False) -> None:
        self.name = name
        self._is_share = is_share
        told = [value for value in values if value is not None]
        self._numbers = [value for one in told if (value := number(one)) is not None]
        self._is_list = len(self._numbers) < len(told) or not self._numbers
        self._has_unknown = len(told) < len(values)
        self._list = list(dict.fromkeys(_plain(one) for one in values)) if self._is_list else []
        if not self._is_list:
            self._low, self._high = ends_of(self._numbers)
            self._is_log = not is_share and self._low > 0 and self._high / self._low >= 20

    def place(self, value: Any) -> float:
        """Where a value lies, from 0 to 1; at the bottom, apart from the others, where a run has no such setting."""
        if self._is_list:
            return self._list.index(_plain(value)) / max(1, len(self._list) - 1)
        known = number(value)
        if known is None:
            return 0.0
        if self._high == self._low:
            share = 0.5
        elif self._is_log:
            share = math.log(known / self._low) / math.log(self._high / self._low)
        else:
            share = (known - self._low) / (self._high - self._low)
        return _ABOVE_UNKNOWN + (1 - _ABOVE_UNKNOWN) * share if self._has_unknown else share

    def ticks(self) -> list[tuple[float, str]]:
        """Places and words of what the axis shows."""
        if self._is_list:
            step = max(1, len(self._list) // 8)
            return [(at / max(1, len(self._list) - 1), shorten(one, 15)) for at, one in enumerate(self._list)][::step]
        few = sorted(set(self._numbers))
        if len(few) > 5:
            few = [self._low, self._high]
        unknown = [(0.0, _plain(None))] if self._has_unknown else []
        return unknown + [(self.place(one), self.word(one)) for one in few]

    def word(self, value: Any) -> str:
        """A value of this axis as text."""
        known = number(value)
        if self._is_list or known is None:
            return shorten(_plain(value))
        return f"{in_percent(known)} %" if self._is_share else f"{known:.3g}"


def _plain(value: Any) -> str:
    return "not set" if value is None else clean(str(value))

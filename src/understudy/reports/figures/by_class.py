"""Figures of a run class by class: which classes are confused, and which ones the unlabeled images helped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from understudy.core.text import capitalized, counted
from understudy.reports.figures.picture import (
    BASELINE,
    Picture,
    Plain,
    classes_of,
    column_names,
    delivered_of,
    in_percent,
    in_points,
    inside,
    method_of,
    number,
    rows_axis,
    run_word,
)
from understudy.reports.figures.style import (
    FULL,
    INK,
    MUTED,
    RIGHT,
    SMALL,
    WRONG,
    new_figure,
    quoted,
    short_names,
    styled,
    tinted,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What fits a figure 7.2 inches wide at the smallest text size.
_MAX_COUNTED = 20  # classes whose cells hold a number
_MAX_NAMED = 30  # classes named along an axis
_MAX_BARS = 30  # classes with a bar each; of more, only both ends are drawn
_NUM_AT_EACH_END = 12  # two dozen bars and the row between them
_MAX_CELLS = 250  # pixels across; more classes than this are pooled so that the page stays small
_FIGURE_IN = 6.6  # the width inside the margins


@styled
def confusion(result: Plain) -> Picture | None:
    """Confusion matrix of the delivered model: counts, or shares of each true class where there are many classes."""
    import numpy as np

    name = delivered_of(result)
    rows = inside(result, "metrics", name, "confusion")
    counts = np.array(rows or [[0]], float)  # None becomes not a number
    counts[~np.isfinite(counts)] = 0
    if name is None or not counts.any():
        return None
    support = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    classes = classes_of(result, len(counts))[: len(counts)]
    k = len(counts)
    figure = new_figure(height=_confusion_height(k))
    axes = figure.subplots()
    shown = _pooled(shares, -(-k // _MAX_CELLS))
    axes.imshow(
        tinted(FULL * shown if k <= _MAX_COUNTED else np.sqrt(shown)),
        aspect="auto" if k <= _MAX_NAMED else "equal",
        interpolation="none",
        extent=(-0.5, k - 0.5, k - 0.5, -0.5),
    )
    axes.grid(False)
    if k <= _MAX_COUNTED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            text = f"{counts[row, column]:,.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=9.5 if k <= 12 else SMALL)
    if k <= _MAX_NAMED:
        column_names(axes, short_names(classes, 16), _FIGURE_IN - 0.075 * max(map(len, names := short_names(classes))))
        axes.set_yticks(range(k), names)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9 if k <= _MAX_COUNTED else SMALL)
    for at in range(k + 1) if k <= _MAX_NAMED else (0, k):
        axes.axhline(at - 0.5, color=MUTED if at in (0, k) else INK, linewidth=0.6, alpha=1 if at in (0, k) else 0.08)
        axes.axvline(at - 0.5, color=MUTED if at in (0, k) else INK, linewidth=0.6, alpha=1 if at in (0, k) else 0.08)
    by = "" if k <= _MAX_NAMED else " (index)"
    axes.set(xlabel=f"predicted class{by}", ylabel=f"true class{by}")
    return Picture("confusion", "Confusion matrix", _confusion_caption(name, counts, classes), figure)


@styled
def per_class_change(result: Plain) -> Picture | None:
    """Change in recall from the supervised model to the method, by class, sorted."""
    method = method_of(result)
    before, after = (inside(result, "metrics", name, "per_class") or () for name in (BASELINE, method))
    changes = []
    classes = classes_of({"data": {"classes": [inside(one, "name") for one in after]}} if after else result, len(after))
    for place, (one, two) in enumerate(zip(before, after, strict=False)):
        old, new, n = number(inside(one, "recall")), number(inside(two, "recall")), number(inside(two, "support"))
        if old is not None and new is not None and n:
            changes.append((new - old, old, new, int(n), classes[place]))
    if not changes or method is None:
        return None
    changes.sort(key=lambda one: -one[0])
    left_out = max(0, len(changes) - 2 * _NUM_AT_EACH_END) if len(changes) > _MAX_BARS else 0
    shown: list[Any] = changes
    if left_out:
        shown = [*changes[:_NUM_AT_EACH_END], None, *changes[-_NUM_AT_EACH_END:]]
    figure = new_figure(height=0.75 + 0.27 * len(shown))
    axes = figure.subplots()
    named = short_names([one[4] if one else "" for one in shown])
    labels = [label if one else "" for label, one in zip(named, shown, strict=True)]
    for row, one in enumerate(shown):
        if one is None:
            axes.text(0, row, f"{left_out:,} more classes between", ha="center", va="center", color=MUTED)
            continue
        change, old, new, n = one[:4]
        axes.barh(row, change, 0.62, color=RIGHT if change >= 0 else WRONG, linewidth=0)
        axes.annotate(
            f"{in_points(change)}  ({in_percent(old, 0)} → {in_percent(new, 0)} % of {n:,})",
            (max(change, 0), row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
        )
    rows_axis(axes, labels, size=9)
    _symmetric(axes, [one[0] for one in changes])
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.xaxis.set_major_formatter(lambda value, _: in_points(value))
    axes.set_title("change in points")
    caption = _change_caption(changes, run_word(method), len(after) - len(changes))
    return Picture("per_class_change", "Change in recall by class", caption, figure)


def _confusion_height(k: int) -> float:
    return min(6.4, 1.9 + 0.34 * k)


def _pooled(shares: Any, block: int) -> Any:
    """The largest share of each block of classes, so that the picture of very many stays small."""
    import numpy as np

    if block <= 1:
        return shares
    more = -len(shares) % block
    padded = np.pad(shares, ((0, more), (0, more)))
    return padded.reshape(len(padded) // block, block, -1, block).max(axis=(1, 3))


def _confusion_caption(name: str, counts: Any, classes: Sequence[str]) -> str:
    import numpy as np

    total, right = counts.sum(), np.trace(counts)
    wrong = counts - np.diag(np.diag(counts))
    text = f"{capitalized(run_word(name))} classifies {right:,.0f} of {counted(total, 'test image')} correctly."
    if wrong.max() > 0:
        true, predicted = divmod(int(wrong.argmax()), len(wrong))
        text += (
            f" The most frequent error: {quoted(classes[true])} predicted as {quoted(classes[predicted])}, "
            f"{wrong[true, predicted]:,.0f} of {counted(counts[true].sum(), 'image')}."
        )
    if len(counts) <= _MAX_COUNTED:
        return text + " Cells hold counts; shading shows the share of the true class."
    return text + " Shading shows the share of the true class."


def _symmetric(axes: Axes, changes: Sequence[float]) -> None:
    """Set limits with room for the text beside the bars."""
    low, high = min(0.0, *changes), max(0.0, *changes)
    width = max(high - low, 0.05)
    right = high + 0.5 * width * max(0.25, 1 - 0.75 * high / width) + 0.3 * high
    axes.set_xlim(low - 0.03 * width, right)
    axes.set_xticks([tick for tick in axes.get_xticks() if low - 0.03 * width <= tick <= min(right, 1)])


def _change_caption(changes: Sequence[Any], method: str, left_out: int) -> str:
    best, worst = changes[0], changes[-1]
    parts = []
    if best[0] > 0:
        parts.append(f"the largest gain is {_change_words(best)}")
    if worst[0] < 0:
        parts.append(f"the largest loss is {_change_words(worst)}")
    text = ", ".join(parts) or "no class changed"
    better, worse = sum(one[0] > 0 for one in changes), sum(one[0] < 0 for one in changes)
    changed = f"higher for {counted(better, 'class', 'classes')} and lower for {worse:,}"
    text = f"{capitalized(text)}. The recall of {method} is {changed}"
    if left_out > 0:
        text += f"; {counted(left_out, 'class', 'classes')} without test images left out"
    return f"{text}."


def _change_words(one: Any) -> str:
    return f"{quoted(one[4])}, from {in_percent(one[1])} to {in_percent(one[2])} % of {counted(one[3], 'image')}"

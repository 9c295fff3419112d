"""Figures of an audit: how many images each class has."""

from __future__ import annotations

from understudy.core.text import counted
from understudy.reports.figures.picture import Picture, Plain, inside, numbers, rows_axis
from understudy.reports.figures.style import FURTHER, METHOD, MUTED, SMALL, new_figure, quoted, short_names, styled

_MAX_NAMED = 30  # more names do not fit a figure at the smallest text size
_ROLES = (("labeled", METHOD), ("validation", FURTHER[0]), ("test", MUTED))


@styled
def class_counts(found: Plain) -> Picture | None:
    """Labeled, validation and test images of each class, side by side; sorted lines of very many classes."""
    by_role = {role: numbers(inside(found, "counts", role)) for role, _ in _ROLES}
    by_role = {role: counts for role, counts in by_role.items() if sum(counts)}
    if not by_role:
        return None
    classes = [str(name) for name in found["classes"]]
    first = next(iter(by_role.values()))
    order = sorted(range(len(classes)), key=lambda at: -first[at])
    k = len(classes)
    figure = new_figure(height=0.9 + (0.14 + 0.16 * len(by_role)) * k if k <= _MAX_NAMED else 3.2)
    axes = figure.subplots()
    shown = [(role, color) for role, color in _ROLES if role in by_role]
    top = max(max(counts) for counts in by_role.values())
    for place, (role, color) in enumerate(shown):
        values = [by_role[role][at] for at in order]
        label = f"{role} ({sum(values):,.0f})"
        if k > _MAX_NAMED:
            axes.step(range(1, k + 1), sorted(values, reverse=True), where="mid", color=color, label=label)
            continue
        height = 0.8 / len(shown)
        rows = [row + (place - (len(shown) - 1) / 2) * height for row in range(k)]
        axes.barh(rows, values, height * 0.86, color=color, label=label, linewidth=0)
        for row, value in zip(rows, values, strict=True):
            axes.annotate(
                f"{value:,.0f}", (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALL
            )
    if k <= _MAX_NAMED:
        rows_axis(axes, short_names([classes[at] for at in order]))
        axes.set_xlim(0, top * 1.12)
    else:
        axes.set_xlabel("classes, each line sorted separately")
        axes.set_title("images")
        axes.set_ylim(bottom=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    most, least = order[0], order[-1]
    name = next(iter(by_role))
    caption = f"Each class has {counted(first[most], f'{name} image')}."
    if first[most] > first[least]:
        caption = (
            f"Of {counted(sum(first), f'{name} image')} {quoted(classes[most])} has the most, {first[most]:,.0f}, and "
            f"{quoted(classes[least])} the fewest, {first[least]:,.0f}."
        )
    return Picture("class_counts", "Images per class", caption, figure)

"""The figure of what a generator made as training went on: grids of images of the same random vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.functional.generated import collapse_note
from understudy.reports.picture import Picture, Plain, inside, listed, method_of
from understudy.reports.style import new_figure, styled

Grids = Mapping[int, NDArray[np.uint8]]
"""A grid of images (height, width, 3) by the step after which it was made."""

_SHOWN = 6  # grids on the page: two rows of three, in which an image of 28 px can still be made out
_COLUMNS = 3


@styled
def generated(result: Plain, grids: Grids) -> Picture | None:
    """Some of the grids, evenly spaced from the first to the last."""
    if not grids:
        return None
    steps = sorted(grids)
    at = np.linspace(0, len(steps) - 1, min(_SHOWN, len(steps))).round().astype(int)
    shown = [steps[place] for place in at]
    rows = math.ceil(len(shown) / _COLUMNS)
    height, width = grids[shown[0]].shape[:2]
    figure = new_figure(height=0.3 + rows * (0.25 + 2.3 * height / width))
    panels = figure.subplots(rows, min(_COLUMNS, len(shown)), squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, step in zip(panels, shown, strict=False):
        axes.imshow(grids[step], interpolation="nearest")
        axes.set_title(f"step {step:,}", fontsize=9.5)
    history: list[dict[str, Any]] = inside(result, "runs", method_of(result), "history") or []
    said = [
        f"What the generator makes of the same random vectors after steps {listed([f'{step:,}' for step in shown])}; "
        "the folder pictures has the grid of every evaluation.",
        collapse_note(history) or _spread(history),
    ]
    return Picture("generated", "Generated images", " ".join(filter(None, said)), figure)


def _spread(history: list[dict[str, Any]]) -> str:
    """How much the last generated images differ, where no collapse was found."""
    known = [line["generated_spread"] for line in history if "generated_spread" in line]
    if not known:
        return ""
    return f"At the end its images differ from one another {100 * known[-1]:.0f} % as much as real ones."

"""The picture of a run in rounds as a file: how good, how many and how changed the labels were, and of which class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.reports.label_figures import rounds_figure
from understudy.reports.style import write_png


def draw_rounds(rounds: Sequence[Mapping[str, Any]], classes: Sequence[str], path: Path) -> None:
    """Write the picture of the rounds."""
    write_png(rounds_figure(rounds, classes), path)

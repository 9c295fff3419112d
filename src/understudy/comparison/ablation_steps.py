"""What each ingredient of a ladder adds to those before it, by the runs of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.comparison.result import Run, Rung, Summary
from understudy.comparison.summaries import corrected, paired_gain


@dataclass(frozen=True)
class Ingredient:
    """One ingredient, before anything was trained.

    Args:
        settings: Those that make it, in words.
        variant: The number of the variant that has it and all those before it.
    """

    name: str
    settings: str
    variant: int


def climb(
    ladder: Sequence[Ingredient], labels: Sequence[str], runs: Sequence[Run], summaries: Sequence[Summary], root: Path
) -> tuple[Rung, ...]:
    """The rungs of a ladder with one number of labels, each against the one before.

    Args:
        labels: Names of the variants.
        root: The comparison's folder, where predictions are.
    """
    rungs: list[Rung] = []
    before: list[Run] | None = None
    for one in ladder:
        label = labels[one.variant]
        (summary,) = (found for found in summaries if found.method == label)
        own = [run for run in runs if run.method == label]
        step = None if before is None else paired_gain(before, own, root)
        rungs.append(Rung(label, one.name, one.settings, summary.accuracy, summary.interval, step))
        before = own
    steps = corrected([one.step for one in rungs])
    return tuple(replace(one, step=step) for one, step in zip(rungs, steps, strict=True))

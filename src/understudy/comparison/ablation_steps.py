"""What each ingredient of an ablation adds to those before it, measured on the runs of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.comparison.result import AblationStep, Run, Summary
from understudy.comparison.summaries import paired_gain
from understudy.evaluation.seeds import corrected


@dataclass(frozen=True)
class PlannedStep:
    """One step of an ablation, before anything was trained.

    Args:
        adds: The ingredient.
        settings: Those that make it, in words.
        variant: The number of the variant that has it and all those before it.
    """

    adds: str
    settings: str
    variant: int


def measure_steps(
    planned: Sequence[PlannedStep], labels: Sequence[str], runs: Sequence[Run], summaries: Sequence[Summary], root: Path
) -> tuple[AblationStep, ...]:
    """The steps of an ablation with one number of labels, each compared with the one before.

    Args:
        labels: Names of the variants.
        root: The comparison's folder, where predictions are.
    """
    steps: list[AblationStep] = []
    runs_before: list[Run] | None = None
    for step in planned:
        label = labels[step.variant]
        (summary,) = (summary for summary in summaries if summary.method == label)
        own_runs = [run for run in runs if run.method == label]
        gain = None if runs_before is None else paired_gain(runs_before, own_runs, root)
        steps.append(AblationStep(label, step.adds, step.settings, summary.accuracy, summary.interval, gain))
        runs_before = own_runs
    gains = corrected([step.gain for step in steps])
    return tuple(replace(step, gain=gain) for step, gain in zip(steps, gains, strict=True))

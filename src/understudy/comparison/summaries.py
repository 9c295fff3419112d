"""The figures of a comparison from its runs: means, paired gains with corrected tests, ranks, and what is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.comparison.conclusions import labels_text
from understudy.comparison.result import ALL_LABELS, BASELINE, Gap, Run, Summary, UpperBound
from understudy.comparison.single_run import read_predictions
from understudy.evaluation.gap import gap_sentence, share_of_gap
from understudy.evaluation.paired import compare_paired
from understudy.evaluation.ranking import Friedman, friedman, ranks
from understudy.evaluation.seeds import Gain, corrected, gain_over_seeds, spread_over_seeds

_MEANS = ("cpu_s", "wall_s", "steps", "mask_ratio", "pseudo_label_accuracy", "validation_accuracy")


def summarize(
    runs: Sequence[Run],
    methods: Sequence[str],
    num_labels: Sequence[int],
    seeds: Sequence[int],
    cost_clock: str,
    root: Path,
) -> tuple[Summary, ...]:
    """How each method did with each number of labels, with p-values corrected for all of them together.

    Args:
        root: The comparison's folder, where predictions are.
    """
    table = {(run.method, run.num_labels, run.seed): run for run in runs}
    summaries = []
    for count in num_labels:
        mean_ranks = dict(zip(*_mean_ranks(runs, methods, [count], seeds), strict=True))
        baseline = [table[BASELINE, count, seed] for seed in seeds]
        for method in methods:
            own = [table[method, count, seed] for seed in seeds]
            gain = None if method == BASELINE else paired_gain(baseline, own, root)
            summaries.append(_summary(own, baseline, mean_ranks.get(method), gain, cost_clock))
    gains = corrected([summary.gain for summary in summaries])
    return tuple(replace(summary, gain=gain) for summary, gain in zip(summaries, gains, strict=True))


def upper_bound(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int], cost_clock: str
) -> UpperBound:
    """What all labels give, and the share of the way from supervised to there that each method goes."""
    table = {(run.method, run.num_labels, run.seed): run for run in runs}
    bound = [table[ALL_LABELS, 0, seed] for seed in seeds]
    summary = _summary(bound, [table[BASELINE, num_labels[-1], seed] for seed in seeds], None, None, cost_clock)
    gaps = []
    for count in num_labels:
        baseline = [table[BASELINE, count, seed] for seed in seeds]
        for method in methods:
            if method != BASELINE:
                gaps.append(_gap(baseline, [table[method, count, seed] for seed in seeds], bound))
    return UpperBound(summary, tuple(gaps))


def _gap(baseline: Sequence[Run], own: Sequence[Run], bound: Sequence[Run]) -> Gap:
    """The share over the seeds that finished with all three, and what is to be said of it."""
    method, count = own[0].method, own[0].num_labels
    rows = [
        (one.figures.accuracy, two.figures.accuracy, three.figures.accuracy)
        for one, two, three in zip(baseline, own, bound, strict=True)
        if one.figures and two.figures and three.figures
    ]
    if not rows:
        return Gap(method, count, 0, None, None, "")
    few, reached, full = np.transpose(rows)
    name = f"{method} with {labels_text(count)}"
    share, interval = share_of_gap(few, reached, full) or (None, None)
    return Gap(method, count, len(rows), share, interval, gap_sentence(few, reached, full, name=name))


def rank_blocks(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[str, ...], Friedman | None]:
    """The methods that have ranks, and Friedman's test over all blocks of labels and seed."""
    ranked, scores = _blocks(runs, methods, num_labels, seeds)
    return ranked, friedman(scores) if len(ranked) >= 3 and len(scores) >= 2 else None


def choose(summaries: Sequence[Summary], num_labels: Sequence[int], num_seeds: int) -> dict[int, str | None]:
    """By number of labels, the method that gets most validation images right; of equals the first, supervised."""
    chosen: dict[int, str | None] = {}
    for count in num_labels:
        scores = {
            summary.method: summary.validation_accuracy
            for summary in summaries
            if summary.num_labels == count
            and summary.validation_accuracy is not None
            and len(summary.seeds) == num_seeds
        }
        chosen[count] = max(scores, key=lambda name: scores[name]) if scores else None
    return chosen


def _blocks(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The methods with any finished run, and their accuracy in every block that all of them finished."""
    accuracy = {(run.method, run.num_labels, run.seed): run.figures.accuracy for run in runs if run.figures}
    ranked = tuple(name for name in methods if any((name, n, s) in accuracy for n in num_labels for s in seeds))
    rows = [[accuracy.get((name, n, s), np.nan) for name in ranked] for n in num_labels for s in seeds]
    scores = np.array(rows, dtype=np.float64).reshape(len(rows), len(ranked))
    return ranked, scores[~np.isnan(scores).any(axis=1)]


def _mean_ranks(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    ranked, scores = _blocks(runs, methods, num_labels, seeds)
    if not len(scores):
        return ranked, (None,) * len(ranked)
    return ranked, tuple(ranks(scores).mean(0).tolist())


def _summary(
    own: Sequence[Run], baseline: Sequence[Run], mean_rank: float | None, gain: Gain | None, cost_clock: str
) -> Summary:
    done = [run for run in own if run.figures is not None]
    head = Summary(
        own[0].method,
        own[0].num_labels,
        tuple(run.seed for run in done),
        tuple(run.seed for run in own if run.figures is None),
    )
    if not done:
        return head
    figures = [run.figures for run in done if run.figures is not None]
    spread = spread_over_seeds(head.seeds, [run_figures.accuracy for run_figures in figures])
    ratios = [
        getattr(run.figures, cost_clock) / getattr(other.figures, cost_clock)
        for run, other in zip(own, baseline, strict=True)
        if run.figures and other.figures
    ]
    means: dict[str, Any] = {name: _mean([getattr(run_figures, name) for run_figures in figures]) for name in _MEANS}
    return replace(
        head,
        accuracy=spread.mean,
        deviation=spread.deviation,
        interval=spread.interval,
        worst=spread.worst,
        worst_seed=spread.worst_of,
        balanced_accuracy=_mean([run_figures.balanced_accuracy for run_figures in figures]),
        mean_rank=mean_rank,
        gain=gain,
        cost_ratio=_mean(ratios),
        **means,
    )


def paired_gain(baseline: Sequence[Run], own: Sequence[Run], root: Path) -> Gain | None:
    """The gain of the second variant over the first on the seeds that both finished, not corrected for anything.

    Args:
        root: The comparison's folder, where predictions are.
    """
    pairs = [(one, two) for one, two in zip(baseline, own, strict=True) if one.figures and two.figures]
    if not pairs:
        return None
    first = [one.figures.accuracy for one, _ in pairs if one.figures]
    second = [two.figures.accuracy for _, two in pairs if two.figures]
    if len(pairs) > 1:
        return gain_over_seeds(first, second)
    labels, before = read_predictions(root / pairs[0][0].folder)
    after = read_predictions(root / pairs[0][1].folder)[1]
    # The intervals of a comparison are over seeds, so that they have one meaning in a column; one seed has none.
    return replace(gain_over_seeds(first, second, compare_paired(labels, before, after)), interval=None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""What is to be said of a comparison in words: what its figures can show, and what they cannot."""

from __future__ import annotations

from understudy.comparison.result import AblationStep, ComparisonResult, Summary, UpperBound
from understudy.core.text import SIGNIFICANCE, agree, capitalized, counted, p_equals, percent
from understudy.evaluation.learning_curve import learning_curve
from understudy.evaluation.seeds import ENOUGH_SEEDS, few_seeds_sentence, gain_sentence, seeds_sentence
from understudy.evaluation.verdict_rule import COST_TOLERANCE


def labels_text(num_labels: int) -> str:
    """A number of labels in words; 0 stands for those that were given."""
    return f"{num_labels:,} labels" if num_labels else "the labels given"


def conclusions(comparison: ComparisonResult, *, own_network: bool = False) -> tuple[str, ...]:
    """What the figures of a comparison show, one statement each.

    Args:
        own_network: Whether all seeds begin with the weights of a given module.
    """
    lines = [comparison.test_source]
    if len(comparison.seeds) > 1:
        lines.append(
            seeds_sentence(
                next(run.figures.num_test for run in comparison.runs if run.figures),
                draws_labels=any(comparison.num_labels),
                draws_network=not own_network,
                draws_test=False,
            )
        )
    if comparison.ablation:
        lines += _ingredients(comparison)
    else:
        lines += _proven(comparison)
        lines += _ranks(comparison)
        lines += _choices(comparison)
    lines += _upper_bound(comparison)
    lines += _more_labels(comparison)
    lines += _costs(comparison)
    lines += _stopped(comparison)
    return tuple(lines + _failures(comparison))


def _ingredients(comparison: ComparisonResult) -> list[str]:
    """What each ingredient of an ablation adds to those before it."""
    tested = sum(step.gain is not None and step.gain.p_value is not None for step in comparison.ablation)
    lines = [_ingredient(step, tested) for step in comparison.ablation[1:]]
    lines.append("Each step is that of an ingredient added to those before it; in another order it may be another.")
    return [*lines, *_few_seeds(comparison)]


def _ingredient(step: AblationStep, tested: int) -> str:
    """One step: its size, its interval, and whether it is significant after correction for all steps."""
    name = capitalized(step.adds)
    return (
        f"{name}: no seed finished with and without it."
        if step.gain is None
        else gain_sentence(name, step.gain, tested)
    )


def _upper_bound(comparison: ComparisonResult) -> list[str]:
    """What all labels give, and the share of the way there that each method goes."""
    if comparison.upper_bound is None or comparison.upper_bound.summary.accuracy is None:
        return []
    summary = comparison.upper_bound.summary
    assert summary.accuracy is not None
    counts = {run.figures.num_labeled for run in comparison.runs if run.method == summary.method and run.figures}
    between = ""
    if summary.interval is not None:
        between = f" ({100 * summary.interval.low:.1f} to {100 * summary.interval.high:.1f})"
    return [
        f"All {max(counts):,} labels bring supervised to {percent(summary.accuracy)}{between} in the same budget.",
        *(line for count in comparison.num_labels for line in _gaps(comparison.upper_bound, count)),
    ]


def _gaps(bound: UpperBound, num_labels: int) -> list[str]:
    """What share of the way each method goes with so many labels; once for all where that cannot be said of any."""
    gaps = [gap for gap in bound.gaps if gap.num_labels == num_labels and gap.num_seeds]
    lines = [gap.sentence for gap in gaps if gap.share is not None]
    if len(lines) < len(gaps):
        seeds = max(gap.num_seeds for gap in gaps)
        whose = "of some methods " if lines else ""
        lines.append(
            f"With {labels_text(num_labels)} it cannot be said {whose}what share of the gap to all labels is closed: "
            f"over {seeds} seed{'s' if seeds > 1 else ''} all labels are not certain to do better. Give more seeds."
        )
    return lines


def _more_labels(comparison: ComparisonResult) -> list[str]:
    """What twice as many labels as the most measured would buy with each method, where there is a curve to follow."""
    lines = []
    for method in comparison.methods:
        accuracies: dict[int, list[float]] = {}
        for run in comparison.runs:
            if run.method == method and run.figures:
                accuracies.setdefault(run.num_labels, []).append(run.figures.accuracy)
        curve = learning_curve(accuracies) if len(accuracies) > 1 else None
        if curve is not None:
            lines.append(f"{method}: {curve.sentence(curve.counts[-1])}")
    return lines


def _proven(comparison: ComparisonResult) -> list[str]:
    """Which methods differ from supervised, after correction."""
    gains = {
        f"{summary.method} with {labels_text(summary.num_labels)} against supervised": summary.gain
        for summary in comparison.summaries
        if summary.gain is not None
    }
    if not gains:
        return []
    if len(comparison.seeds) == 1:
        return _few_seeds(comparison)
    tested = sum(gain.p_value is not None for gain in gains.values())
    proven = [gain_sentence(name, gain, tested) for name, gain in gains.items() if gain.is_proven]
    num_proven = f"{len(proven)} {agree(len(proven), 'is', 'are')}" if proven else "none is"
    together = ", corrected together by Holm's method," if len(gains) > 1 else ""
    return [
        f"Of {counted(len(gains), 'comparison')} with supervised{together} {num_proven} proven at the level of "
        f"{100 * SIGNIFICANCE:.0f} %.",
        *(proven or _few_seeds(comparison)),
    ]


def _few_seeds(comparison: ComparisonResult) -> list[str]:
    num_seeds = len(comparison.seeds)
    if num_seeds >= ENOUGH_SEEDS:
        return []
    again = " The same command with more seeds trains only the new ones." if comparison.folder else ""
    return [few_seeds_sentence(num_seeds) + again]


def _ranks(comparison: ComparisonResult) -> list[str]:
    test = comparison.friedman
    if test is None:
        return []
    order = sorted(zip(test.mean_ranks, comparison.ranked, strict=True))
    named = ", ".join(f"{name} {rank:.2f}" for rank, name in order)
    p_value = p_equals(test.p_value)
    return [f"Mean ranks over {test.num_blocks} blocks of labels and seed: {named} (Friedman's test, {p_value})."]


def _choices(comparison: ComparisonResult) -> list[str]:
    """What the validation images select, or why no method is selected; never by the test images."""
    lines, without = [], []
    for count in comparison.num_labels:
        scored = [
            summary
            for summary in comparison.summaries
            if summary.num_labels == count and summary.validation_accuracy is not None
        ]
        chosen = comparison.chosen[count]
        if not scored:
            without.append(count)
        elif chosen is None:
            lines.append(f"With {labels_text(count)} no method is selected, since none finished every seed.")
        else:
            scores = ", ".join(f"{summary.method} {percent(summary.validation_accuracy or 0.0)}" for summary in scored)
            lines.append(f"With {labels_text(count)} the validation images select {chosen} ({scores}).")
    if without:
        numbers = " and ".join(
            [", ".join(f"{count:,}" for count in without[:-1]), f"{without[-1]:,}"][len(without) == 1 :]
        )
        what = f"{numbers} labels leave" if without[0] else "The labels given leave"
        lines.append(
            f"{what} no validation images, so no method is selected: a selection by test accuracy would be biased."
        )
    return lines


def _costs(comparison: ComparisonResult) -> list[str]:
    """Whether the costs are those of equals."""
    compared = [
        summary for summary in comparison.summaries if summary.cost_ratio is not None and summary.gain is not None
    ]
    off = [summary for summary in compared if abs((summary.cost_ratio or 0.0) - 1) > COST_TOLERANCE]
    if not compared:
        return []
    if not off:
        return [f"All methods cost the same as supervised within {100 * COST_TOLERANCE:.0f} %."]
    named = "; ".join(f"{summary.method} with {labels_text(summary.num_labels)} {_times(summary)}" for summary in off)
    if not comparison.is_timed:
        return [f"The budget is a number of steps, so costs differ, as a share of supervised's: {named}."]
    return [
        f"Not all costs are within {100 * COST_TOLERANCE:.0f} % of supervised's, which may explain a gain: {named}."
    ]


def _times(summary: Summary) -> str:
    return percent(summary.cost_ratio or 0.0)


def _stopped(comparison: ComparisonResult) -> list[str]:
    """Which runs ended of their own accord before the budget was used, and why."""
    reasons: dict[tuple[str, int, str], list[str]] = {}
    for run in comparison.runs:
        if run.figures and run.figures.stopped:
            reasons.setdefault((run.method, run.num_labels, run.figures.stopped), []).append(str(run.seed))
    return [
        f"{method} with {labels_text(count)} ended early (seed {', '.join(seeds)}): {reason}."
        for (method, count, reason), seeds in reasons.items()
    ]


def _failures(comparison: ComparisonResult) -> list[str]:
    """Each reason for which runs failed, once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for run in comparison.runs:
        if run.figures is None:
            where = f"seed {run.seed}" + (f" of {run.num_labels:,} labels" if run.num_labels else "")
            reasons.setdefault((run.method, run.error), []).append(where)
    return [f"{method} failed ({', '.join(where)}): {error}." for (method, error), where in reasons.items()]

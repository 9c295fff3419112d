"""What is to be said of a comparison in words: what its figures can show, and what they cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.evaluation.verdict import COST_TOLERANCE, percent

if TYPE_CHECKING:
    from understudy.recipes.comparison import Comparison, Summary

_SURE = 0.05


def labels_text(num_labels: int) -> str:
    """A number of labels in words; 0 stands for those that were given."""
    return f"{num_labels:,} labels" if num_labels else "the labels given"


def statements(found: Comparison) -> tuple[str, ...]:
    """The sentences of a comparison, one statement each."""
    lines = [found.judged_by]
    lines += _proven(found)
    lines += _ranks(found)
    lines += _choices(found)
    lines += _costs(found)
    return tuple(lines + _failures(found))


def _proven(found: Comparison) -> list[str]:
    """Which methods differ from supervised, after correction."""
    compared = [one for one in found.summaries if one.gain is not None]
    if not compared:
        return []
    if len(found.seeds) == 1:
        return [
            "With one seed there is no interval, no deviation and no effect size, and McNemar's test speaks of these "
            "very classifiers only: another draw of labels may turn the order round. Give more seeds."
        ]
    sure = [one for one in compared if one.gain and one.gain.p_holm is not None and one.gain.p_holm < _SURE]
    family = f"{len(compared)} comparisons with supervised, corrected together by Holm's method"
    if not sure:
        return [f"Of {family}, none is proven at the level of 5 %.", *_few_seeds(found)]
    named = "; ".join(
        f"{one.method} with {labels_text(one.num_labels)} ({100 * one.gain.difference:+.1f} points)"
        for one in sure
        if one.gain
    )
    return [f"Of {family}, {len(sure)} {'is' if len(sure) == 1 else 'are'} proven at the level of 5 %: {named}."]


def _few_seeds(found: Comparison) -> list[str]:
    if len(found.seeds) >= 5:
        return []
    return [
        f"{len(found.seeds)} seeds show large differences only; the same command with more seeds goes on from here."
    ]


def _ranks(found: Comparison) -> list[str]:
    test = found.friedman
    if test is None:
        return []
    order = sorted(zip(test.mean_ranks, found.ranked, strict=True))
    named = ", ".join(f"{name} {rank:.2f}" for rank, name in order)
    p_value = "p < 0.0001" if test.p_value < 0.0001 else f"p = {test.p_value:.2g}"
    return [f"Mean ranks over {test.num_blocks} blocks of labels and seed: {named} (Friedman's test, {p_value})."]


def _choices(found: Comparison) -> list[str]:
    """What the validation images choose, or why nothing is chosen; never by the test images."""
    lines, without = [], []
    for count in found.num_labels:
        scored = [one for one in found.summaries if one.num_labels == count and one.validation_accuracy is not None]
        chosen = found.chosen[count]
        if not scored:
            without.append(count)
        elif chosen is None:
            lines.append(f"With {labels_text(count)} nothing is chosen, since no method finished every seed.")
        else:
            scores = ", ".join(f"{one.method} {percent(one.validation_accuracy or 0.0)}" for one in scored)
            lines.append(f"With {labels_text(count)} the validation images choose {chosen} ({scores}).")
    if without:
        numbers = " and ".join(
            [", ".join(f"{count:,}" for count in without[:-1]), f"{without[-1]:,}"][len(without) == 1 :]
        )
        what = f"{numbers} labels leave" if without[0] else "The labels given leave"
        lines.append(
            f"{what} no validation images, so nothing is chosen: "
            "the method that looks best on the test images would be flattered by them."
        )
    return lines


def _costs(found: Comparison) -> list[str]:
    """Whether the costs are those of equals."""
    compared = [one for one in found.summaries if one.cost_ratio is not None and one.gain is not None]
    off = [one for one in compared if abs((one.cost_ratio or 0.0) - 1) > COST_TOLERANCE]
    if not compared:
        return []
    if not off:
        return [f"All methods cost the same as supervised within {100 * COST_TOLERANCE:.0f} %."]
    named = "; ".join(f"{one.method} with {labels_text(one.num_labels)} {_times(one)}" for one in off)
    if not found.is_timed:
        return [f"The budget is a number of steps, so costs differ, as a share of supervised's: {named}."]
    return [
        f"Not all costs are within {100 * COST_TOLERANCE:.0f} % of supervised's, which may explain a gain: {named}."
    ]


def _times(one: Summary) -> str:
    return percent(one.cost_ratio or 0.0)


def _failures(found: Comparison) -> list[str]:
    """Each reason for which runs failed, once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for run in found.runs:
        if run.figures is None:
            where = f"seed {run.seed}" + (f" of {run.num_labels:,} labels" if run.num_labels else "")
            reasons.setdefault((run.method, run.error), []).append(where)
    return [f"{method} failed ({', '.join(where)}): {error}." for (method, error), where in reasons.items()]

"""Did the unlabeled images help? One answer, what it rests on, and which of the two models to use."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.budget import Cost, format_seconds
from understudy.evaluation.intervals import Interval, accuracy_interval, balanced_accuracy_interval, right_predictions
from understudy.evaluation.metrics import balanced_accuracy
from understudy.evaluation.paired import Paired, compare_paired, smallest_detectable_gain

Outcome = Literal["helped", "hurt", "not proven", "unproven"]
Model = Literal["method", "supervised"]

COST_TOLERANCE = 0.05


@dataclass(frozen=True)
class Candidate:
    """One of the two trained models: what it cost, and how it did on the judging images (None without any).

    Args:
        balanced_accuracy: The mean recall of the classes; None where they are of about the same size.
    """

    name: str
    cost: Cost
    steps: int
    accuracy: float | None = None
    interval: Interval | None = None
    balanced_accuracy: float | None = None
    balanced_interval: Interval | None = None


@dataclass(frozen=True)
class Verdict:
    """What held-out images say of the model trained with the unlabeled images against the one trained without.

    Args:
        outcome: "helped" or "hurt" when the paired interval leaves zero out, "not proven" when it does not,
            "unproven" when no image was held out.
        comparison: The paired comparison, method minus baseline; None when unproven.
        smallest_gain: The least gain in accuracy that this many images would show four times in five; None when none.
        cost_clock: Which of the two clocks the costs are compared by: the processor's, or the wall's for a device.
        delivered: The model to use.
        reason: Why that one, in a sentence.
        folds: From how many folds the judging images were pooled, each judged by models that were not trained on it;
            0 where two models judge all of them.
    """

    outcome: Outcome
    baseline: Candidate
    method: Candidate
    comparison: Paired | None
    smallest_gain: float | None
    cost_clock: Literal["cpu_s", "wall_s"]
    delivered: Model
    reason: str
    folds: int = 0

    @property
    def n(self) -> int:
        """How many held-out images judge."""
        return self.comparison.n if self.comparison else 0

    @property
    def cost_ratio(self) -> float:
        """The method's cost as a share of the baseline's."""
        baseline, method = (getattr(run.cost, self.cost_clock) for run in (self.baseline, self.method))
        return float(method / baseline) if baseline > 0 else float("inf")

    @property
    def is_cost_matched(self) -> bool:
        """Whether the two costs agree within 5 %."""
        return abs(self.cost_ratio - 1) <= COST_TOLERANCE

    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, the answer first."""
        scope = "The verdict speaks of these two models."
        if self.folds:
            scope = f"The models of the {self.folds} folds share training images, so that the interval is approximate."
        return (*_answer(self), _cost_sentence(self), self.reason, scope)

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def to_json(self) -> dict[str, Any]:
        """All of it as what `json.dumps` takes, the words included."""
        return {**asdict(self), "sentences": list(self.sentences())}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Verdict:
        """The verdict `to_json` was called on, also after a trip through JSON text."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python({name: value for name, value in record.items() if name != "sentences"})


@dataclass(frozen=True)
class HeldOut:
    """Labels of held-out images and what each of the two models predicts for them, as class numbers."""

    labels: NDArray[np.integer]
    baseline: NDArray[np.integer]
    method: NDArray[np.integer]


def judge(
    judging: HeldOut | None,
    *,
    baseline: Candidate,
    method: Candidate,
    choosing: HeldOut | None = None,
    cost_clock: Literal["cpu_s", "wall_s"] = "cpu_s",
    imbalanced: bool = False,
    folds: int = 0,
) -> Verdict:
    """The verdict that the judging images give.

    Args:
        judging: Images no decision was made on; None when nothing was held out.
        choosing: Other held-out images, which pick the model to deliver when the verdict is "not proven".
        imbalanced: Whether the sizes of the classes differ so much that balanced accuracy is stated too.
        folds: From how many folds the judging images were pooled, if they were.

    Raises:
        DataError: There are no images, or not one prediction of each model per label.
    """
    if judging is None:
        delivered, reason = _deliver("unproven", None, choosing)
        return Verdict("unproven", baseline, method, None, None, cost_clock, delivered, reason)
    paired = compare_paired(judging.labels, judging.baseline, judging.method)
    outcome = _outcome(paired)
    delivered, reason = _deliver(outcome, paired, choosing)
    return Verdict(
        outcome=outcome,
        baseline=_judged(baseline, judging.labels, judging.baseline, imbalanced),
        method=_judged(method, judging.labels, judging.method, imbalanced),
        comparison=paired,
        smallest_gain=smallest_detectable_gain(paired.n),
        cost_clock=cost_clock,
        delivered=delivered,
        reason=reason,
        folds=folds,
    )


def percent(share: float) -> str:
    """A share as people read it: 91.4 %."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, without the sign."""
    return f"{100 * abs(difference):.1f} points"


def _judged(
    run: Candidate, labels: NDArray[np.integer], predictions: NDArray[np.integer], imbalanced: bool
) -> Candidate:
    accuracy = float(right_predictions(labels, predictions).mean())
    found = replace(run, accuracy=accuracy, interval=accuracy_interval(labels, predictions))
    if not imbalanced:
        return found
    return replace(
        found,
        balanced_accuracy=balanced_accuracy(labels, predictions),
        balanced_interval=balanced_accuracy_interval(labels, predictions),
    )


def _outcome(paired: Paired) -> Outcome:
    if paired.interval.low > 0:
        return "helped"
    if paired.interval.high < 0:
        return "hurt"
    return "not proven"


def _answer(verdict: Verdict) -> tuple[str, ...]:
    """The outcome and the figures it rests on."""
    paired, baseline, method = verdict.comparison, verdict.baseline, verdict.method
    if paired is None or baseline.accuracy is None or method.accuracy is None:
        return ("Unproven: nothing was held out to judge by, so nobody can say whether the unlabeled images helped.",)
    opening = {
        "helped": "The unlabeled images helped",
        "hurt": "The unlabeled images hurt",
        "not proven": "Not proven that the unlabeled images made a difference",
        "unproven": "Unproven",
    }[verdict.outcome]
    changed = "image changed" if paired.gains == 1 else "images changed"
    change = "the same" if paired.difference == 0 else f"{points(paired.difference)} {_more(paired.difference)}"
    low, high = (f"{100 * value:+.1f}" for value in (paired.interval.low, paired.interval.high))
    images = "held-out images"
    if verdict.folds:
        images = "labeled images, each judged by models of a fold that had not seen it,"
    return (
        f"{opening}: of {paired.n:,} {images} the labels alone get "
        f"{_share(baseline.accuracy, baseline.interval)} right, labels and unlabeled images "
        f"{_share(method.accuracy, method.interval)}.",
        f"That is {change} (95 % interval of the difference {low} to {high} points): {paired.gains} {changed} "
        f"from wrong to right and {paired.losses} from right to wrong (McNemar's test, {_p_value(paired.p_value)}).",
        *_balanced_sentence(baseline, method),
        _smallest_gain_sentence(paired.n, verdict.smallest_gain),
    )


def _balanced_sentence(baseline: Candidate, method: Candidate) -> tuple[str, ...]:
    if baseline.balanced_accuracy is None or method.balanced_accuracy is None:
        return ()
    alone = _share(baseline.balanced_accuracy, baseline.balanced_interval)
    both = _share(method.balanced_accuracy, method.balanced_interval)
    return (
        "Balanced accuracy, in which every class counts the same however large: "
        f"the labels alone {alone}, labels and unlabeled images {both}.",
    )


def _smallest_gain_sentence(n: int, gain: float | None) -> str:
    if gain is None:
        return f"With {n} images not even a large gain would be likely to show; hold out more."
    return f"With {n:,} images a gain of {points(gain)} or more would show four times in five."


def _cost_sentence(verdict: Verdict) -> str:
    """What both cost, and a warning when the comparison is not between equals."""
    clock = "of processor time" if verdict.cost_clock == "cpu_s" else "on the device"
    spent = ", ".join(
        f"{one.name} {format_seconds(getattr(one.cost, verdict.cost_clock))} {clock} ({one.steps:,} steps)"
        for one in (verdict.baseline, verdict.method)
    )
    if verdict.is_cost_matched:
        return f"Both trainings cost the same within {100 * COST_TOLERANCE:.0f} %: {spent}."
    return f"The trainings did not cost the same, so part of any difference may be due to that: {spent}."


def _share(value: float | None, interval: Interval | None) -> str:
    assert value is not None
    assert interval is not None
    return f"{percent(value)} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _more(difference: float) -> str:
    return "more" if difference > 0 else "fewer"


def _p_value(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def _deliver(outcome: Outcome, paired: Paired | None, choosing: HeldOut | None) -> tuple[Model, str]:
    """The model to use and why."""
    with_unlabeled, without = "the model trained with the unlabeled images", "the model trained on the labels alone"
    if outcome == "helped":
        return "method", f"Delivered: {with_unlabeled}."
    if outcome == "hurt":
        return "supervised", f"Delivered: {without}, because the unlabeled images hurt."
    if choosing is not None:
        chosen = compare_paired(choosing.labels, choosing.baseline, choosing.method)
        where = f"on the {chosen.n} other images held out to choose"
        difference = chosen.difference
    elif paired is not None:
        # The images that judge choose nothing, or their figure for the model they chose would flatter it.
        return "supervised", f"Delivered: {without}, because nothing else is proven."
    else:
        return (
            "method",
            f"Delivered: {with_unlabeled}, as asked for; nothing was measured that speaks for or against it.",
        )
    if difference > 0:
        return "method", f"Delivered: {with_unlabeled}, which did better {where}."
    if difference < 0:
        return "supervised", f"Delivered: {without}, which did better {where}."
    return "supervised", f"Delivered: {without}; the two did equally well, and the simpler training wins a tie."

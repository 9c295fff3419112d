"""The verdict: whether the unlabeled images helped, the evidence, and which of the two models to use."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.budget import Cost, format_seconds
from understudy.core.text import counted, p_equals, percent, percent_range, points
from understudy.evaluation.intervals import Interval, accuracy_interval, balanced_accuracy_interval, right_predictions
from understudy.evaluation.metrics import balanced_accuracy
from understudy.evaluation.paired import Paired, compare_paired, smallest_detectable_gain
from understudy.evaluation.verdict_rule import (
    COST_TOLERANCE,
    Facts,
    Model,
    Outcome,
    decide,
    interval_words,
    opening,
)


@dataclass(frozen=True)
class Candidate:
    """One of the two trained models: its cost, and its results on the test images (None without any).

    Args:
        balanced_accuracy: Mean recall of the classes; None where the classes have about the same size.
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
    """The comparison of the model trained with the unlabeled images and the one trained without, on test images.

    Args:
        outcome: "helped" or "hurt" if the paired interval excludes zero and only the unlabeled images can explain it,
            "better" or "worse" if something else may, "not proven" if the interval contains zero, "unproven" if no
            image was held out.
        comparison: The paired comparison, method minus baseline; None when unproven.
        smallest_gain: Smallest true gain that the test detects with a power of 80 %, given the number of images and of
            changed predictions; None if there is none.
        cost_clock: Clock by which costs are compared: processor time, or wall time for a device.
        delivered: The model to use.
        reason: The reason for it, in a sentence.
        folds: Number of folds that the test images were pooled from, each tested by models not trained on it; 0 if
            one pair of models was tested on all images.
        facts: The facts that the outcome, the delivered model and the words were decided from.
        causes: Other possible explanations of a proven difference than the unlabeled images.
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
    facts: Facts = field(default_factory=lambda: Facts(method=""))
    causes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """The number of test images."""
        return self.comparison.n if self.comparison else 0

    @property
    def cost_ratio(self) -> float:
        """The method's cost as a share of the baseline's."""
        return _cost_ratio(self.baseline, self.method, self.cost_clock)

    @property
    def is_cost_matched(self) -> bool:
        """Whether the two costs agree within 5 %."""
        return replace(self.facts, cost_ratio=self.cost_ratio).is_cost_matched

    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, the answer first."""
        scope = "The verdict applies to these two models only."
        if self.folds:
            scope = f"The models of the {self.folds} folds share training images, so that the interval is approximate."
        return (*_answer(self), _cost_sentence(self), self.reason, scope)

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain values for `json.dumps`, with its sentences."""
        return {**asdict(self), "sentences": list(self.sentences())}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Verdict:
        """The verdict that `to_json` gave, before or after JSON text."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python({name: value for name, value in record.items() if name != "sentences"})


@dataclass(frozen=True)
class HeldOut:
    """Labels of held-out images and the predictions of both models, as class numbers."""

    labels: NDArray[np.integer]
    baseline: NDArray[np.integer]
    method: NDArray[np.integer]


def compute_verdict(
    test: HeldOut | None,
    *,
    baseline: Candidate,
    method: Candidate,
    validation: HeldOut | None = None,
    cost_clock: Literal["cpu_s", "wall_s"] = "cpu_s",
    imbalanced: bool = False,
    folds: int = 0,
    facts: Facts | None = None,
) -> Verdict:
    """The verdict from the predictions for the test images.

    Args:
        test: Images used for no decision; None if nothing was held out.
        validation: Other held-out images, which select the model to deliver if the verdict is "not proven".
        imbalanced: Whether to report the balanced accuracy too.
        folds: Number of folds that the test images were pooled from, if they were.
        facts: Known facts about both training runs; those from images and costs are filled in here.

    Raises:
        DataError: There are no images, or labels and predictions differ in number.
    """
    paired = None if test is None else compare_paired(test.labels, test.baseline, test.method)
    validated = (
        None if validation is None else compare_paired(validation.labels, validation.baseline, validation.method)
    )
    facts = replace(
        facts or Facts(method=method.name),
        interval=paired.interval if paired else None,
        validation_difference=validated.difference if validated else None,
        num_validation=validated.n if validated else 0,
        cost_ratio=_cost_ratio(baseline, method, cost_clock),
    )
    decision = decide(facts)
    if test is not None:
        baseline = _measured(baseline, test.labels, test.baseline, imbalanced)
        method = _measured(method, test.labels, test.method, imbalanced)
    return Verdict(
        outcome=decision.outcome,
        baseline=baseline,
        method=method,
        comparison=paired,
        smallest_gain=smallest_detectable_gain(paired.n, discordance=paired.discordance) if paired else None,
        cost_clock=cost_clock,
        delivered=decision.delivered,
        reason=decision.reason,
        folds=folds,
        facts=facts,
        causes=decision.causes,
    )


def _measured(
    run: Candidate, labels: NDArray[np.integer], predictions: NDArray[np.integer], imbalanced: bool
) -> Candidate:
    accuracy = float(right_predictions(labels, predictions).mean())
    measured = replace(run, accuracy=accuracy, interval=accuracy_interval(labels, predictions))
    if not imbalanced:
        return measured
    return replace(
        measured,
        balanced_accuracy=balanced_accuracy(labels, predictions),
        balanced_interval=balanced_accuracy_interval(labels, predictions),
    )


def _cost_ratio(baseline: Candidate, method: Candidate, clock: str) -> float:
    spent, other = getattr(baseline.cost, clock), getattr(method.cost, clock)
    return float(other / spent) if spent > 0 else float("inf")


def _answer(verdict: Verdict) -> tuple[str, ...]:
    """The outcome and its evidence."""
    paired, baseline, method = verdict.comparison, verdict.baseline, verdict.method
    if paired is None or baseline.accuracy is None or method.accuracy is None:
        what = "whether the unlabeled images helped" if verdict.facts.learned_from_pool else "which model is better"
        return (f"Unproven: nothing was held out for testing, so nobody can say {what}.",)
    both = "labels and unlabeled images" if verdict.facts.learned_from_pool else method.name
    changed = "image changed" if paired.gains == 1 else "images changed"
    change = "the same" if paired.difference == 0 else f"{points(paired.difference)} {_more(paired.difference)}"
    images = "held-out images"
    if verdict.folds:
        images = "labeled images, each tested by a model that was not trained on it,"
    return (
        f"{opening(verdict.outcome, verdict.facts)}: accuracy on {paired.n:,} {images} is "
        f"{_share(baseline.accuracy, baseline.interval)} with the labels alone and "
        f"{_share(method.accuracy, method.interval)} with {both}.",
        f"That is {change} (95 % interval of the difference {interval_words(paired.interval)} points): "
        f"{paired.gains} {changed} from wrong to right and {paired.losses} from right to wrong "
        f"(McNemar's test, {p_equals(paired.p_value)}).",
        *_balanced_sentence(baseline, method, both),
        power_sentence(paired.n, paired.discordance, verdict.smallest_gain),
    )


def _balanced_sentence(baseline: Candidate, method: Candidate, name: str) -> tuple[str, ...]:
    if baseline.balanced_accuracy is None or method.balanced_accuracy is None:
        return ()
    alone = _share(baseline.balanced_accuracy, baseline.balanced_interval)
    both = _share(method.balanced_accuracy, method.balanced_interval)
    return (f"Balanced accuracy, the mean over classes, is {alone} with the labels alone and {both} with {name}.",)


def power_sentence(n: int, discordance: float, gain: float | None) -> str:
    """The true gain that n images detect, given the share of changed predictions."""
    if gain is None:
        return f"With {n} images not even a large gain would be likely to show; hold out more."
    return (
        f"With {n:,} images, of which {percent(discordance)} changed, a true gain of {points(gain)} would be "
        "detected with a power of 80 %."
    )


def _cost_sentence(verdict: Verdict) -> str:
    """The cost of both, and a warning if the costs are not equal."""
    clock = "of processor time" if verdict.cost_clock == "cpu_s" else "on the device"
    spent = ", ".join(
        f"{run.name} {format_seconds(getattr(run.cost, verdict.cost_clock))} {clock} ({counted(run.steps, 'step')})"
        for run in (verdict.baseline, verdict.method)
    )
    if verdict.is_cost_matched:
        return f"Both trainings cost the same within {100 * COST_TOLERANCE:.0f} %: {spent}."
    return f"The trainings did not cost the same, so part of any difference may be due to that: {spent}."


def _share(value: float | None, interval: Interval | None) -> str:
    assert value is not None
    assert interval is not None
    return f"{percent(value)} ({percent_range(interval.low, interval.high)})"


def _more(difference: float) -> str:
    return "more" if difference > 0 else "fewer"

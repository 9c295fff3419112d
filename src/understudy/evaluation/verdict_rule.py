"""The outcome of a comparison of two models, which one function decides from one set of facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from understudy.evaluation.intervals import Interval

Outcome = Literal["helped", "hurt", "better", "worse", "not proven", "unproven"]
Model = Literal["method", "supervised"]

COST_TOLERANCE = 0.05  # clocks of equal runs differ by a few percent; a judgment
MIN_STEPS = 10  # in fewer steps of a timed run the rate has hardly risen, so its accuracy is that of chance
_LITTLE = 0.1  # of the pool; if less was used, nine in ten of its images cannot have done harm


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that a decision rests on.

    Args:
        method: Name of the run that is compared with the labels alone.
        interval: Interval of the difference in test accuracy, method minus baseline; None without test images.
        validation_difference: The difference in validation accuracy, which selects the model if nothing is proven;
            None without validation images.
        num_validation: Number of validation images.
        cost_ratio: The method's cost as a share of the baseline's.
        learned_from_pool: Whether the method's model learned from any unlabeled image.
        share_used: Share of the unlabeled images that it learned from; None if unknown.
        is_divided: Whether the method divided its budget among several training runs.
        fewest_steps: Steps of the shorter training, if a clock ended it; None otherwise, and for heads without steps.
    """

    method: str
    interval: Interval | None = None
    validation_difference: float | None = None
    num_validation: int = 0
    cost_ratio: float = 1.0
    learned_from_pool: bool = True
    share_used: float | None = None
    is_divided: bool = False
    fewest_steps: int | None = None

    @property
    def is_cost_matched(self) -> bool:
        """Whether the two costs agree within 5 %."""
        return abs(self.cost_ratio - 1) <= COST_TOLERANCE + 1e-9


@dataclass(frozen=True)
class Decision:
    """The outcome, the model to deliver, and the words for both.

    Args:
        causes: Other possible explanations of the difference than the unlabeled images, as clauses.
        opening: The outcome in words.
        reason: The delivered model and the reason, as a sentence.
    """

    outcome: Outcome
    delivered: Model
    causes: tuple[str, ...]
    opening: str
    reason: str


def decide(facts: Facts) -> Decision:
    """The decision that follows from the facts.

    An interval without zero proves that one model is better. That the unlabeled images helped or hurt follows only if
    nothing else explains the difference.
    """
    sign = _sign(facts.interval)
    causes = _causes(facts, sign)
    outcome = _outcome(facts.interval, sign, bool(causes))
    delivered, reason = _delivered(facts, outcome, causes)
    return Decision(outcome, delivered, causes, opening(outcome, facts), reason)


def opening(outcome: Outcome, facts: Facts) -> str:
    """The outcome in words, without its evidence."""
    what = "the unlabeled images" if facts.learned_from_pool else facts.method
    return {
        "helped": "The unlabeled images helped",
        "hurt": "The unlabeled images hurt",
        "better": f"The model of {facts.method} is better",
        "worse": f"The model of {facts.method} is worse",
        "not proven": f"Not proven that {what} made a difference",
        "unproven": "Unproven",
    }[outcome]


def interval_words(interval: Interval) -> str:
    """Both bounds in points, with enough digits that only a bound of exactly zero reads as zero."""
    bounds = [100 * value for value in (interval.low, interval.high)]
    digits = next(
        (digits for digits in range(1, 9) if all(round(bound, digits) or abs(bound) < 1e-9 for bound in bounds)), 9
    )
    low, high = (f"{bound:+.{digits}f}" if abs(bound) >= 1e-9 else "0" for bound in bounds)
    return f"{low} to {high}"


def _sign(interval: Interval | None) -> int:
    """The sign of a proven difference; 0 if the interval contains zero."""
    if interval is None:
        return 0
    return 1 if interval.low > 0 else -1 if interval.high < 0 else 0


def _outcome(interval: Interval | None, sign: int, has_other_cause: bool) -> Outcome:
    if interval is None:
        return "unproven"
    if not sign:
        return "not proven"
    if has_other_cause:
        return "better" if sign > 0 else "worse"
    return "helped" if sign > 0 else "hurt"


def _causes(facts: Facts, sign: int) -> tuple[str, ...]:
    """Other possible explanations of a difference of that sign."""
    if not sign:
        return ()
    causes = []
    if not facts.learned_from_pool:
        causes.append(f"{facts.method} learned from the labels only")
    if _is_starved(facts):
        causes.append(f"a training of only {_steps(facts)} tells little")
    if sign * (facts.cost_ratio - 1) > COST_TOLERANCE:
        causes.append(f"its training cost {facts.cost_ratio:.2g} times as much")
    if sign < 0 and facts.is_divided:
        causes.append("its budget was divided among several trainings")
    if sign < 0 and facts.learned_from_pool and facts.share_used is not None and facts.share_used < _LITTLE:
        causes.append(f"only {100 * facts.share_used:.2g} % of the unlabeled images were used")
    return tuple(causes)


def _is_starved(facts: Facts) -> bool:
    return facts.fewest_steps is not None and facts.fewest_steps < MIN_STEPS


def _steps(facts: Facts) -> str:
    return "1 step" if facts.fewest_steps == 1 else f"{facts.fewest_steps} steps"


def _delivered(facts: Facts, outcome: Outcome, causes: tuple[str, ...]) -> tuple[Model, str]:
    """The model to deliver, and the reason."""
    other = "the model trained with the unlabeled images" if facts.learned_from_pool else f"the model of {facts.method}"
    alone = "the model trained on the labels alone"
    longer = f" A training had only {_steps(facts)}, so give a longer budget." if _is_starved(facts) else ""
    if not facts.learned_from_pool:
        longer += f" {facts.method} learned from the labels only."
    if outcome == "helped":
        return "method", f"Delivered: {other}."
    if outcome == "hurt":
        return "supervised", f"Delivered: {alone}, because the unlabeled images hurt."
    if outcome in ("better", "worse"):
        model: Model = "method" if outcome == "better" else "supervised"
        why = f"What explains the difference is not shown, since {' and '.join(causes)}."
        why += " Give a longer budget." if _is_starved(facts) else ""
        return model, f"Delivered: {other if model == 'method' else alone}, the better one. {why}"
    if facts.validation_difference is not None:
        where = f"on the {facts.num_validation:,} other images held out for validation"
        if facts.validation_difference > 0:
            return "method", f"Delivered: {other}, which did better {where}.{longer}"
        if facts.validation_difference < 0:
            return "supervised", f"Delivered: {alone}, which did better {where}.{longer}"
        tie = "the two did equally well, and the simpler training wins a tie"
        return "supervised", f"Delivered: {alone}; {tie}.{longer}"
    if outcome == "not proven":
        # Test images do not select the model: their accuracy of the selected one would be biased.
        return "supervised", f"Delivered: {alone}, because nothing else is proven.{longer}"
    return "method", f"Delivered: {other}, as asked for; nothing was measured that speaks for or against it.{longer}"

"""One job many times, over seeds or over folds: how good both models are on average, and is the difference proven?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.text import p_equals, percent, points, signed_points
from understudy.evaluation.decision import Facts, Model, Outcome, decide, interval_words, opening
from understudy.evaluation.intervals import Interval, wilson
from understudy.evaluation.paired import compare_over_seeds
from understudy.evaluation.ranking import are_equal, mean_interval, paired_effect
from understudy.evaluation.verdict import Verdict

Kind = Literal["seeds", "folds"]
BASELINE = "supervised"


@dataclass(frozen=True)
class Spread:
    """The accuracy of one kind of model over repeats.

    Args:
        mean: Over seeds; over folds the share of all labeled images, which weighs folds by their size.
        deviation: Standard deviation between repeats; None for one.
        interval: Of the mean: Student's over seeds, Wilson's over the images of folds; None for one seed.
        worst: The lowest accuracy of a repeat.
        worst_of: The seed, or number of the fold, it is of.
    """

    mean: float
    deviation: float | None
    interval: Interval | None
    worst: float
    worst_of: int


@dataclass(frozen=True)
class Repeats:
    """What all repeats say together.

    Args:
        numbers: The seeds, or the folds from 1.
        n: Images that judged each repeat.
        accuracies: By kind of model, supervised first, its accuracy in every repeat.
        spreads: The same summed up.
        difference: The method's accuracy minus the baseline's, averaged as in `Spread`; None without a method.
        test: "paired t" over seeds; "McNemar" over the images of folds, or of the only seed.
        effect: Cohen's d over seeds: the mean difference in units of its standard deviation.
        outcome: As in `Verdict`, of all repeats; None without a method.
        delivered: The kind of model to use.
        sentences: All of it in words, the answer first.
    """

    kind: Kind
    numbers: tuple[int, ...]
    n: tuple[int, ...]
    accuracies: Mapping[str, tuple[float, ...]]
    spreads: Mapping[str, Spread]
    difference: float | None
    interval: Interval | None
    p_value: float | None
    test: str | None
    effect: float | None
    outcome: Outcome | None
    delivered: Model
    sentences: tuple[str, ...]

    @property
    def method(self) -> str | None:
        """The run compared with the baseline, if any."""
        return next((name for name in self.accuracies if name != BASELINE), None)

    @property
    def differences(self) -> tuple[float, ...]:
        """The method's accuracy minus the baseline's in every repeat; empty without a method."""
        return _differences(self.accuracies)

    def to_json(self) -> dict[str, Any]:
        """All of it as what `json.dumps` takes."""
        differences = self.differences or (None,) * len(self.numbers)
        runs = [
            {
                self.kind.removesuffix("s"): number,
                "n": self.n[at],
                **{name: found[at] for name, found in self.accuracies.items()},
                "difference": differences[at],
            }
            for at, number in enumerate(self.numbers)
        ]
        plain = ("difference", "p_value", "test", "effect", "outcome", "delivered")
        return {
            "kind": self.kind,
            "method": self.method,
            "runs": runs,
            **{name: asdict(spread) for name, spread in self.spreads.items()},
            "interval": None if self.interval is None else asdict(self.interval),
            **{name: getattr(self, name) for name in plain},
            "sentences": list(self.sentences),
        }


def over_seeds(
    seeds: Sequence[int],
    n: Sequence[int],
    accuracies: Mapping[str, Sequence[float]],
    *,
    only: Verdict | None = None,
    facts: Facts | None = None,
    remarks: Sequence[str] = (),
) -> Repeats:
    """What the seeds say: Student's t on the paired differences; of one seed, what its own images say.

    Args:
        n: Images that judged, by seed.
        accuracies: By kind of model, one per seed; supervised, and the method's if there is one.
        only: The verdict of the seed where there is only one.
        facts: What is known of the trainings of all seeds; what the seeds tell is filled in.
        remarks: Sentences to say before the last one, which tells what is delivered.
    """
    spreads = {
        name: _spread(seeds, found, float(np.mean(found)), _within_one(mean_interval(found)))
        for name, found in accuracies.items()
    }
    differences = _differences(accuracies)
    difference = float(np.mean(differences)) if differences else None
    interval, p_value, test, effect = None, None, None, None
    outcome: Outcome | None = None
    facts = replace(facts or Facts(method=next((name for name in accuracies if name != BASELINE), "")), interval=None)
    if only is not None and only.comparison is not None:
        interval, p_value, test, outcome = only.comparison.interval, only.comparison.p_value, "McNemar", only.outcome
    elif len(differences) > 1:
        test = "paired t"
        if not are_equal(differences):
            found = compare_over_seeds(accuracies[BASELINE], _of_method(accuracies))
            interval, p_value = found.interval, found.p_value
            effect = paired_effect(accuracies[BASELINE], _of_method(accuracies))
        facts = replace(facts, interval=interval or Interval(min(difference or 0, 0), max(difference or 0, 0)))
        outcome = decide(facts).outcome
    delivered: Model = "supervised"
    if (only and only.delivered == "method") or (len(differences) > 1 and decide(facts).delivered == "method"):
        delivered = "method"
    if len(seeds) == 1:
        alone = f"Of {n[0]:,} test images the labels alone get {percent(spreads[BASELINE].mean)} right."
        sentences = list(only.sentences()) if only is not None else [alone]
        sentences.append("One seed shows no spread between seeds, so there is no interval over seeds; repeat more.")
        sentences += remarks
    else:
        sentences = [_answer(spreads, outcome, len(seeds), facts), *_change(differences, interval, p_value, effect)]
        sentences += [_worst(spreads, "seed"), *remarks]
        sentences += [] if outcome is None else [decide(facts).reason]
        sentences.append(
            f"The model is that of the first seed, {seeds[0]}; no seed was picked by how its model did on judging "
            "images, which would flatter it."
        )
    return Repeats(
        kind="seeds",
        numbers=tuple(seeds),
        n=tuple(n),
        accuracies={name: tuple(found) for name, found in accuracies.items()},
        spreads=spreads,
        difference=difference,
        interval=interval,
        p_value=p_value,
        test=test,
        effect=effect,
        outcome=outcome,
        delivered=delivered,
        sentences=tuple(sentences),
    )


def over_folds(
    right: Mapping[str, Sequence[NDArray[np.bool_]]], verdict: Verdict | None, *, remarks: Sequence[str] = ()
) -> Repeats:
    """What the folds say: the verdict over all their images together, and how the folds differ.

    Args:
        right: By kind of model, which images of each fold it gets right.
        verdict: On the images of all folds; None without a method.
        remarks: Sentences to say at the end.
    """
    n = [len(one) for one in right[BASELINE]]
    numbers = range(1, len(n) + 1)
    accuracies = {name: tuple(float(one.mean()) for one in found) for name, found in right.items()}
    spreads = {}
    for name, found in right.items():
        pooled = np.concatenate(found)
        interval = wilson(int(pooled.sum()), len(pooled))
        spreads[name] = _spread(numbers, accuracies[name], float(pooled.mean()), interval)
    paired = None if verdict is None else verdict.comparison
    if verdict is None:
        alone = spreads[BASELINE]
        sentences = [
            f"Of {sum(n):,} labeled images, each tested by the model of a fold that had not seen it, the labels alone "
            f"get {_mean_words(alone)} right.",
            f"The models of the {len(n)} folds share training images, so that the interval is approximate.",
        ]
    else:
        sentences = list(verdict.sentences())
    sentences.append(_over_folds(_differences(accuracies), len(n)) + _worst(spreads, "fold"))
    return Repeats(
        kind="folds",
        numbers=tuple(numbers),
        n=tuple(n),
        accuracies=accuracies,
        spreads=spreads,
        difference=None if paired is None else paired.difference,
        interval=None if paired is None else paired.interval,
        p_value=None if paired is None else paired.p_value,
        test=None if paired is None else "McNemar",
        effect=None,
        outcome=None if verdict is None else verdict.outcome,
        delivered="supervised" if verdict is None else verdict.delivered,
        sentences=(*sentences, *remarks),
    )


def _spread(numbers: Sequence[int], accuracies: Sequence[float], mean: float, interval: Interval | None) -> Spread:
    worst = int(np.argmin(accuracies))
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return Spread(mean, deviation, interval, float(accuracies[worst]), numbers[worst])


def _within_one(interval: Interval | None) -> Interval | None:
    """The interval cut to what an accuracy can be."""
    return interval and Interval(max(0.0, interval.low), min(1.0, interval.high), interval.level)


def _of_method(accuracies: Mapping[str, Sequence[float]]) -> Sequence[float]:
    return next((found for name, found in accuracies.items() if name != BASELINE), ())


def _differences(accuracies: Mapping[str, Sequence[float]]) -> tuple[float, ...]:
    found = _of_method(accuracies)
    return tuple(two - one for one, two in zip(accuracies[BASELINE], found, strict=True)) if found else ()


def _answer(spreads: Mapping[str, Spread], outcome: Outcome | None, num_seeds: int, facts: Facts) -> str:
    alone = _mean_words(spreads[BASELINE])
    both = [_mean_words(spread) for name, spread in spreads.items() if name != BASELINE]
    if outcome is None or not both:
        return f"Over {num_seeds} seeds the labels alone get {alone} right on average."
    return (
        f"{opening(outcome, facts)}: over {num_seeds} seeds the labels alone get {alone} right on average, "
        f"{'labels and unlabeled images' if facts.learned_from_pool else facts.method} {both[0]}."
    )


def _change(
    differences: Sequence[float], interval: Interval | None, p_value: float | None, effect: float | None
) -> list[str]:
    """The mean difference and what its test says."""
    if not differences:
        return []
    mean = float(np.mean(differences))
    change = "the same" if abs(mean) < 1e-12 else f"{points(mean)} {'more' if mean > 0 else 'fewer'}"
    if interval is None or p_value is None:
        return [f"That is {change} for every seed alike, so that no test can be made of the differences."]
    size = "" if effect is None else f", Cohen's d {effect:.1f}"
    return [
        f"That is {change} (95 % interval of the difference {interval_words(interval)} "
        f"points; paired t-test over {len(differences)} seeds, {p_equals(p_value)}{size})."
    ]


def _over_folds(differences: Sequence[float], num_folds: int) -> str:
    if not differences:
        return ""
    deviation = 100 * float(np.std(differences, ddof=1))
    return (
        f"Over the {num_folds} folds the difference goes from {signed_points(min(differences))} to "
        f"{signed_points(max(differences))} points (standard deviation {deviation:.1f}). "
    )


def _worst(spreads: Mapping[str, Spread], what: str) -> str:
    told = [
        f"{percent(spread.worst)} {'with the labels alone' if name == BASELINE else 'with the unlabeled images'} "
        f"({what} {spread.worst_of})"
        for name, spread in spreads.items()
    ]
    return f"The worst {what} gets {' and '.join(told)}."


def _mean_words(spread: Spread) -> str:
    """A mean with what is known of its uncertainty."""
    told = [] if spread.deviation is None else [f"standard deviation {100 * spread.deviation:.1f}"]
    if spread.interval is not None:
        told.append(f"95 % interval {100 * spread.interval.low:.1f} to {100 * spread.interval.high:.1f}")
    return percent(spread.mean) + (f" ({', '.join(told)})" if told else "")

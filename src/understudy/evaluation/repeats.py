"""One job repeated over seeds or folds: the mean accuracy of both models, and whether the difference is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.text import capitalized, percent, percent_range, signed_points
from understudy.evaluation.intervals import Interval
from understudy.evaluation.seeds import (
    ENOUGH_SEEDS,
    Gain,
    Spread,
    few_seeds_sentence,
    gain_of_images,
    gain_over_seeds,
    gain_sentence,
    spread_over_folds,
    spread_over_seeds,
)
from understudy.evaluation.verdict import Verdict
from understudy.evaluation.verdict_rule import Facts, Model, Outcome, decide

Kind = Literal["seeds", "folds"]
BASELINE = "supervised"


@dataclass(frozen=True)
class Repeats:
    """The results of all repeats.

    Args:
        numbers: The seeds, or the folds counted from 1.
        n: Test images of each repeat.
        accuracies: Accuracy in every repeat by name of the run, supervised first.
        spreads: Summary of these accuracies by name of the run.
        gain: Gain of the method over supervised; None without a method.
        outcome: Outcome over all repeats, as in `Verdict`; None without a method.
        delivered: The model to use.
        sentences: The results in words, the answer first.
    """

    kind: Kind
    numbers: tuple[int, ...]
    n: tuple[int, ...]
    accuracies: Mapping[str, tuple[float, ...]]
    spreads: Mapping[str, Spread]
    gain: Gain | None
    outcome: Outcome | None
    delivered: Model
    sentences: tuple[str, ...]

    @property
    def method(self) -> str | None:
        """The run compared with the baseline, if any."""
        return _method(self.accuracies) or None

    @property
    def differences(self) -> tuple[float, ...]:
        """The method's accuracy minus the baseline's in every repeat; empty without a method."""
        if self.method is None:
            return ()
        pairs = zip(self.accuracies[BASELINE], self.accuracies[self.method], strict=True)
        return tuple(method - baseline for baseline, method in pairs)

    def to_json(self) -> dict[str, Any]:
        """The results as plain values for `json.dumps`."""
        differences = self.differences or (None,) * len(self.numbers)
        runs = [
            {
                self.kind.removesuffix("s"): number,
                "n": self.n[at],
                **{name: accuracies[at] for name, accuracies in self.accuracies.items()},
                "difference": differences[at],
            }
            for at, number in enumerate(self.numbers)
        ]
        gain = {} if self.gain is None else asdict(self.gain)
        return {
            "kind": self.kind,
            "method": self.method,
            "runs": runs,
            **{name: asdict(spread) for name, spread in self.spreads.items()},
            **{name: gain.get(name) for name in ("interval", "difference", "p_value", "test", "effect")},
            "outcome": self.outcome,
            "delivered": self.delivered,
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
    """The results of all seeds together: a t-test on the paired differences; with one seed, its verdict.

    Args:
        n: Test images by seed.
        accuracies: One accuracy per seed by name of the run: supervised, and the method if there is one.
        only: The verdict of the seed if there is only one.
        facts: Known facts about the training runs of all seeds; the interval over seeds is filled in here.
        remarks: Sentences to add before the last one, which states what is delivered.
    """
    spreads = {name: spread_over_seeds(seeds, values) for name, values in accuracies.items()}
    method, gain, decision = _method(accuracies), None, None
    if only is not None:
        gain = gain_over_seeds(accuracies[BASELINE], accuracies[method], only.comparison)
    elif method and len(seeds) > 1:
        gain = gain_over_seeds(accuracies[BASELINE], accuracies[method])
        # If all differences are equal there is no interval. They prove nothing, so the decision uses one up to zero.
        interval = gain.interval or Interval(min(gain.difference, 0.0), max(gain.difference, 0.0))
        decision = decide(replace(facts or Facts(method=method), interval=interval))
    over = f"mean accuracy over {len(seeds)} seeds is {_mean_words(spreads[BASELINE])} with the labels alone"
    if len(seeds) == 1:
        alone = f"Accuracy on {n[0]:,} test images is {percent(spreads[BASELINE].mean)} with the labels alone."
        sentences = [*([alone] if only is None else only.sentences()), few_seeds_sentence(1), *remarks]
    elif gain is None or decision is None:
        sentences = [f"{capitalized(over)}.", _worst(spreads, "seed"), *remarks]
    else:
        other = "labels and unlabeled images" if facts is None or facts.learned_from_pool else method
        sentences = [f"{decision.opening}: {over} and {_mean_words(spreads[method])} with {other}."]
        sentences.append(gain_sentence(f"{method} against supervised", gain))
        if decision.outcome == "not proven" and len(seeds) < ENOUGH_SEEDS:
            sentences.append(few_seeds_sentence(len(seeds)))
        sentences += [_worst(spreads, "seed"), *remarks, decision.reason]
    if len(seeds) > 1:
        sentences.append(
            f"The model is that of the first seed, {seeds[0]}; no seed was selected by its accuracy on the test "
            "images, which would be biased upwards."
        )
    whole = decision or only
    return Repeats(
        kind="seeds",
        numbers=tuple(seeds),
        n=tuple(n),
        accuracies={name: tuple(values) for name, values in accuracies.items()},
        spreads=spreads,
        gain=gain,
        outcome=None if whole is None else whole.outcome,
        delivered="supervised" if whole is None else whole.delivered,
        sentences=tuple(sentences),
    )


def over_folds(right: Mapping[str, Sequence[NDArray[np.bool_]]], verdict: Verdict | None) -> Repeats:
    """The results over folds: the verdict on all their images together, and the spread between folds.

    Args:
        right: By name of the run, a mask of the images of each fold that it classifies correctly.
        verdict: Verdict on the images of all folds; None without a method.
    """
    n = [len(fold) for fold in right[BASELINE]]
    spreads = {name: spread_over_folds(folds) for name, folds in right.items()}
    if verdict is None:
        sentences = [
            f"Accuracy on {sum(n):,} labeled images, each tested by a model that was not trained on it, is "
            f"{_mean_words(spreads[BASELINE])} with the labels alone.",
            f"The models of the {len(n)} folds share training images, so that the interval is approximate.",
        ]
    else:
        sentences = list(verdict.sentences())
    repeats = Repeats(
        kind="folds",
        numbers=tuple(range(1, len(n) + 1)),
        n=tuple(n),
        accuracies={name: tuple(float(fold.mean()) for fold in folds) for name, folds in right.items()},
        spreads=spreads,
        gain=gain_of_images(verdict.comparison, len(n)) if verdict is not None and verdict.comparison else None,
        outcome=None if verdict is None else verdict.outcome,
        delivered="supervised" if verdict is None else verdict.delivered,
        sentences=(),
    )
    last = _over_folds(repeats.differences, len(n)) + _worst(spreads, "fold")
    return replace(repeats, sentences=(*sentences, last))


def _method(accuracies: Mapping[str, Any]) -> str:
    """The name of the run besides supervised; an empty text without one."""
    return next((name for name in accuracies if name != BASELINE), "")


def _over_folds(differences: Sequence[float], num_folds: int) -> str:
    if not differences:
        return ""
    deviation = 100 * float(np.std(differences, ddof=1))
    return (
        f"Over the {num_folds} folds the difference goes from {signed_points(min(differences))} to "
        f"{signed_points(max(differences))} points (standard deviation {deviation:.1f}). "
    )


def _worst(spreads: Mapping[str, Spread], what: str) -> str:
    worst = [
        f"{percent(spread.worst)} {'with the labels alone' if name == BASELINE else 'with the unlabeled images'} "
        f"({what} {spread.worst_of})"
        for name, spread in spreads.items()
    ]
    return f"The worst {what} gets {' and '.join(worst)}."


def _mean_words(spread: Spread) -> str:
    """A mean with its uncertainty, as far as known."""
    details = [] if spread.deviation is None else [f"standard deviation {100 * spread.deviation:.1f}"]
    if spread.interval is not None:
        details.append(f"95 % interval {percent_range(spread.interval.low, spread.interval.high)}")
    return percent(spread.mean) + (f" ({', '.join(details)})" if details else "")

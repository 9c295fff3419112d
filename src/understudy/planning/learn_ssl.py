"""Whether the unlabeled images are worth their cost at this budget, and which method learns from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.core.budget import Budget, Cost
from understudy.data.training_data import TrainingData
from understudy.methods.base import METHODS, Method
from understudy.planning.choice import Choice, Learned, asked, lookup
from understudy.planning.trials import Trial, Trials, described, is_better

DEFAULT, RIVALS = "softmatch", ("freematch",)
# While the labels still teach something new, unlabeled images only slow training down: in the benchmarks they helped
# where a run passed each label about as often as there are labels per class. See the table in docs/plan.md.
_LEAST_PASSES, _PASSES_PER_LABEL_OF_A_CLASS, _AMPLE = 20.0, 1.0, 4.0
_PLAIN = (
    "one run: on cats and dogs pretraining first, or rounds of self-training, gave less than a method alone, and so "
    "did pretraining on CIFAR-10"
)
_FAR = 50.0  # nobody who gave minutes will give days
_LEAST_POOL = 1.0  # unlabeled images per labeled one
_SHARED = ("mu", "criterion", "ema_decay")  # settings that a trial of another method takes over
_PREDICTED, _COUNTED = 1 / 3, 0.7  # cost of a row without gradient, share of unlabeled rows that come to count


@dataclass(frozen=True)
class LearnedSSL(Learned):
    """The method, unlabeled rows per labeled one, and the recipe that the runs are put together by."""

    method: Choice[str]
    mu: Choice[int] | None = None
    recipe: Choice[str] | None = None


def learn_ssl(
    data: TrainingData,
    *,
    mu: int,
    batch_size: int,
    rows_per_s: float | None,
    run: Budget,
    trials: Trials | None = None,
    no_trials: str = "",
    method: Method[Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> LearnedSSL:
    """The method by how often a run can pass the labels, and by trials where these can tell methods apart.

    "supervised" is an answer: then the whole budget goes to the labels alone.

    Args:
        mu: Unlabeled rows per labeled one that a step would take here.
        rows_per_s: What the machine trains, on the clock of the budget; None where it was not measured.
        run: What one training run may spend.
        trials: For methods that trials can tell apart; None where too few labels are left to test them.
        no_trials: Why there are none.
        method: The default method as configured here, with its sizes.
    """
    begun = Cost.now()
    options = options or {}
    recipe = asked(options, "recipe.name")
    if (wanted := asked(options, "method.name")) is not None:
        return LearnedSSL(method=wanted, mu=asked(options, "method.mu"), recipe=recipe, cost=Cost.now() - begun)
    if not len(data.unlabeled):
        reason = "there are no unlabeled images to learn from"
        return LearnedSSL(method=Choice("method.name", "supervised", "rule", reason), cost=Cost.now() - begun)
    if recipe is not None:
        reason = f"it is the default for the recipe {recipe.value}"
        return LearnedSSL(method=Choice("method.name", DEFAULT, "rule", reason), recipe=recipe, cost=Cost.now() - begun)
    figures: dict[str, Any] = {}
    passes = _passes(data, mu, batch_size, rows_per_s, run)
    if passes is not None:
        figures["passes_over_labels"] = round(passes, 1)
    needed = max(_LEAST_PASSES, _PASSES_PER_LABEL_OF_A_CLASS * len(data.labeled) / len(data.classes))
    figures["passes_needed"] = round(needed, 1)
    choice = _by_rule(data, passes, needed, no_trials)
    if trials is not None and choice.value != "supervised":
        choice = _by_trials(trials, method, ample=passes is not None and passes >= _AMPLE * needed)
    named = lookup(options, "method.mu")
    learned_mu = None
    if choice.value != "supervised" and named is None:
        reason = "as many unlabeled rows beside each labeled one as the method's paper has"
        if mu < METHODS.get(choice.value)().mu:
            reason = f"{mu} unlabeled rows beside each labeled one, as in the benchmarks on a processor"
        learned_mu = Choice("method.mu", mu, "rule", reason)
    plain = None if choice.value == "supervised" else Choice("recipe.name", "plain", "rule", _PLAIN)
    return LearnedSSL(method=choice, mu=learned_mu, recipe=plain, figures=figures, cost=Cost.now() - begun)


def _passes(data: TrainingData, mu: int, batch_size: int, rows_per_s: float | None, run: Budget) -> float | None:
    """How often a semi-supervised run sees each label."""
    seconds = run.wall_s if run.wall_s is not None else run.cpu_s
    if rows_per_s is None or seconds is None:
        return None
    per_step = batch_size * (1 + mu * (_PREDICTED + _COUNTED)) / rows_per_s
    return seconds / per_step * batch_size / len(data.labeled)


def _by_rule(data: TrainingData, passes: float | None, needed: float, no_trials: str) -> Choice[str]:
    key = "method.name"
    share = len(data.unlabeled) / len(data.labeled)
    if share < _LEAST_POOL:
        reason = (
            f"there are only {share:.1f} unlabeled images per labeled one, which can add little; name a method to have "
            "it tried and tested all the same"
        )
        return Choice(key, "supervised", "rule", reason)
    if passes is not None and passes < needed:
        times = "once" if round(passes) <= 1 else f"{passes:.0f} times"
        reason = (
            f"in this budget a run with unlabeled images sees each label about {times}, and in the benchmarks they "
            f"paid off only from about {needed:.0f} times on; give {_longer(needed / passes)}, or --method {DEFAULT} "
            "to try all the same"
        )
        return Choice(key, "supervised", "measured", reason)
    seen = ""
    if passes is not None:
        seen = (
            f"a run sees each label about {passes:.0f} times, and in benchmarks unlabeled images paid off from about "
            f"{needed:.0f} times on, though not always proven; "
        )
    reason = (
        f"{seen}{DEFAULT} was the best of a grid on CIFAR-10 with 250 labels, and 2.4 points behind the best on digits"
    )
    reason += f"; {no_trials}" if no_trials else ""
    return Choice(key, DEFAULT, "rule" if passes is None else "measured", reason)


def _by_trials(trials: Trials, method: Method[Any] | None, *, ample: bool) -> Choice[str]:
    """The default method, unless a rival or labels alone did better than chance explains.

    Args:
        ample: Whether the run is so long that what labels alone win in a short time says nothing.
    """
    default = method if method is not None else METHODS.get(DEFAULT)()
    plain = default.baseline()
    shown: dict[str, Trial] = {"supervised": trials.run("supervised", method=plain)}
    for name in (DEFAULT, *RIVALS):
        cls = METHODS.get(name)
        shared = {knob.name: getattr(default, knob.name) for knob in dataclasses.fields(cls) if knob.name in _SHARED}
        shown[name] = trials.run(name, method=cls(**shared))
    n = len(shown["supervised"].right)
    told = f"in short trainings, each tested on {n:,} images, {described(shown)}"
    best = max((name for name in shown if name != "supervised"), key=lambda name: shown[name].accuracy)
    chosen = best if is_better(shown[best], shown[DEFAULT]) else DEFAULT
    labels_won = is_better(shown["supervised"], shown[chosen])
    if labels_won and not ample:
        reason = f"the labels alone beat every method by more than chance explains {told}"
        return Choice("method.name", "supervised", "tried", reason)
    why = "it was better than the default by more than chance explains"
    why = "no other beat it by more than chance explains" if chosen == DEFAULT else why
    why = f"{why} {told}"
    if labels_won:
        why += "; the labels alone did better in so short a time, which the run itself is long enough to make up for"
    return Choice("method.name", chosen, "tried", why)


def _longer(times: float) -> str:
    """A budget that many times as long, in words; the number is no guide where one or two steps were timed."""
    return f"about {max(2, round(times))} times the budget" if times < _FAR else "a far longer budget"

"""The semi-supervised method, or supervised training if unlabeled images do not pay off at this budget."""

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
# While the model still learns from the labels, unlabeled images only slow training down: in the benchmarks they helped
# if a run saw each label about as often as there are labels per class. See the table in docs/plan.md.
_MIN_PASSES, _PASSES_PER_LABEL_OF_A_CLASS, _AMPLE = 20.0, 1.0, 4.0
_PLAIN = (
    "one run: on cats and dogs pretraining first, or rounds of self-training, gave less than a method alone, and so "
    "did pretraining on CIFAR-10"
)
_FAR = 50.0  # times the budget: minutes would become days, so the number is no advice
_MIN_POOL = 1.0  # unlabeled images per labeled one: fewer can at best do what twice the labels do
_SHARED = ("mu", "criterion", "ema_decay")  # settings that a trial of another method takes over
_PREDICTED, _COUNTED = 1 / 3, 0.7  # cost of a row without gradient; share of unlabeled rows above the threshold


@dataclass(frozen=True)
class LearnedSSL(Learned):
    """The method, its unlabeled rows per labeled one, and the recipe."""

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
    """The method by how often a run sees each label, and by trials where these can distinguish methods.

    It may be "supervised": the whole budget then goes to the labels alone.

    Args:
        mu: Unlabeled rows per labeled one in a step.
        rows_per_s: Training speed on the clock of the budget; None if it was not measured.
        run: Budget of one training run.
        trials: Trials of methods; None if too few labels are left to test them.
        no_trials: The reason why there are none.
        method: The default method with the settings of this job.
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
    needed = max(_MIN_PASSES, _PASSES_PER_LABEL_OF_A_CLASS * len(data.labeled) / len(data.classes))
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
    """The number of times that a semi-supervised run sees each label."""
    seconds = run.wall_s if run.wall_s is not None else run.cpu_s
    if rows_per_s is None or seconds is None:
        return None
    per_step = batch_size * (1 + mu * (_PREDICTED + _COUNTED)) / rows_per_s
    return seconds / per_step * batch_size / len(data.labeled)


def _by_rule(data: TrainingData, passes: float | None, needed: float, no_trials: str) -> Choice[str]:
    key = "method.name"
    share = len(data.unlabeled) / len(data.labeled)
    if share < _MIN_POOL:
        reason = (
            f"there are only {share:.1f} unlabeled images per labeled one, which can add little; name a method to "
            "try it anyway"
        )
        return Choice(key, "supervised", "rule", reason)
    if passes is not None and passes < needed:
        times = "once" if round(passes) <= 1 else f"{passes:.0f} times"
        reason = (
            f"in this budget a run with unlabeled images sees each label about {times}, and in the benchmarks they "
            f"paid off only from about {needed:.0f} times on; give {_longer(needed / passes)}, or --method {DEFAULT} "
            "to try it anyway"
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
    """The default method, unless a rival or supervised training was significantly better in trials.

    Args:
        ample: Whether the run is so long that a lead of supervised training in short trials means nothing.
    """
    default = method if method is not None else METHODS.get(DEFAULT)()
    plain = default.baseline()
    shown: dict[str, Trial] = {"supervised": trials.run("supervised", method=plain)}
    for name in (DEFAULT, *RIVALS):
        cls = METHODS.get(name)
        shared = {knob.name: getattr(default, knob.name) for knob in dataclasses.fields(cls) if knob.name in _SHARED}
        shown[name] = trials.run(name, method=cls(**shared))
    n = len(shown["supervised"].right)
    evidence = f"in short trainings, each tested on {n:,} images, {described(shown)}"
    best = max((name for name in shown if name != "supervised"), key=lambda name: shown[name].accuracy)
    chosen = best if is_better(shown[best], shown[DEFAULT]) else DEFAULT
    labels_won = is_better(shown["supervised"], shown[chosen])
    if labels_won and not ample:
        reason = f"the labels alone beat every method by more than chance explains {evidence}"
        return Choice("method.name", "supervised", "tried", reason)
    why = "it was better than the default by more than chance explains"
    why = "no other beat it by more than chance explains" if chosen == DEFAULT else why
    why = f"{why} {evidence}"
    if labels_won:
        why += "; the labels alone did better in so short a time, which the run itself is long enough to make up for"
    return Choice("method.name", chosen, "tried", why)


def _longer(times: float) -> str:
    """A budget this many times as long, in words; without the number where too few steps were timed for it."""
    return f"about {max(2, round(times))} times the budget" if times < _FAR else "a far longer budget"

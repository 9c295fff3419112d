"""An experiment many times: over seeds, or over folds that test on every labeled image once; one model is delivered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.core.arguments import quoted
from understudy.core.budget import Budget
from understudy.core.errors import ConfigError, DataError
from understudy.core.text import counted
from understudy.data.folds import cross_validation
from understudy.data.split import Splits, split
from understudy.evaluation.metrics import are_imbalanced
from understudy.evaluation.repeats import Repeats, over_folds, over_seeds
from understudy.evaluation.seeds import seeds_sentence
from understudy.evaluation.verdict import Candidate, HeldOut, Verdict, compute_verdict
from understudy.evaluation.verdict_rule import Facts
from understudy.experiment.budget_split import BASELINE
from understudy.experiment.experiment import Experiment
from understudy.experiment.outcome import Outcome, OutOfFold
from understudy.experiment.prepare import hide_labels
from understudy.experiment.run import run_experiment

Keep = Callable[[Outcome], None]


@dataclass(frozen=True)
class Repetition:
    """How often an experiment is run; 0 is once, with nothing to sum up.

    Args:
        repeats: Whole runs, each with a seed of its own.
        folds: Parts of the labeled images, each of which tests models that were trained on the others.
    """

    repeats: int = 0
    folds: int = 0

    @classmethod
    def taken_from(cls, table: dict[str, Any]) -> Repetition:
        """Take the number of seeds or folds out of a table of options.

        Raises:
            ConfigError: A number is not valid or too small, or both are given.
        """
        repeats, folds = table.pop("repeats", 0), table.pop("folds", 0)
        for name, value in (("repeats", repeats), ("folds", folds)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigError(f"{name} is {quoted(value)}; give a whole number")
        if repeats < 0:
            raise ConfigError(f"repeats is {repeats}; give the number of seeds to train with, such as 3")
        if folds < 0 or folds == 1:
            raise ConfigError(f"folds is {folds}; give at least 2, such as 5, or leave it out for no cross-validation")
        if repeats and folds:
            raise ConfigError(
                f"repeats is {repeats} and folds is {folds}; give one of them: repeats for the spread over seeds, "
                "folds to test on every label once"
            )
        return cls(repeats, folds)

    @property
    def num_parts(self) -> int:
        """The number of runs that share the budget; folds are followed by a final model."""
        return self.repeats or (self.folds + 1 if self.folds else 1)

    def options(self) -> dict[str, int]:
        """The options as a table."""
        return {name: number for name, number in dataclasses.asdict(self).items() if number}

    def __str__(self) -> str:
        """The text that identifies it in a run folder."""
        return ", ".join(f"{name} {number}" for name, number in self.options().items())


def train_seeds(experiment: Experiment, count: int, keep: Keep) -> tuple[Outcome, Repeats]:
    """The first seed's run, with the kind of model that all seeds together favor, and the statistics of all.

    Args:
        keep: Called with the run of each seed, to save it.

    Raises:
        UserError: No image would test some seed's models.
    """
    seeds = range(experiment.job.seed, experiment.job.seed + count)
    for seed in seeds:
        _check_tested(dataclasses.replace(experiment, job=dataclasses.replace(experiment.job, seed=seed)), count)
    share = _share(experiment, count)
    if share.is_timed:
        experiment.log.say(f"{counted(count, 'seed')} of {share} each.")
    outcomes: list[Outcome] = []
    for number, seed in enumerate(seeds, 1):
        part = experiment.part(f"repeat-{seed}", share, seed=seed)
        part.log.say(f"Seed {seed}, {number} of {count}:")
        outcomes.append(run_experiment(part))
        keep(outcomes[-1])
    names = list(outcomes[0].runs)
    method = outcomes[0].method
    repeats = over_seeds(
        seeds,
        [len(outcome.splits.test) for outcome in outcomes],
        {name: [float(outcome.right(name).mean()) for outcome in outcomes] for name in names},
        only=outcomes[0].verdict if count == 1 else None,
        facts=_facts_of_all(outcomes),
        remarks=_about_seeds(outcomes) if count > 1 else (),
    )
    first = outcomes[0]
    delivered = method if repeats.delivered == "method" else BASELINE
    verdict = first.verdict
    if verdict is not None and count > 1:
        reason = f"Delivered: what all {count} seeds favor, the model of {delivered}."
        verdict = dataclasses.replace(verdict, delivered=repeats.delivered, reason=reason)
    whole = dataclasses.replace(experiment, log=first.experiment.log)
    return dataclasses.replace(first, experiment=whole, verdict=verdict, delivered=delivered), repeats


def train_folds(experiment: Experiment, count: int, keep: Keep) -> tuple[Outcome, Repeats]:
    """The final run, trained on every label with the kind of model that the folds prove, and the statistics of all.

    Args:
        keep: Called with the run of each fold, to save it.

    Raises:
        UserError: A class has too few labels for this number of folds.
    """
    collection, hidden = hide_labels(experiment.collection, experiment.job)
    if hidden is not None:
        experiment.log.say(collection.notes[-1])
    final, folds = cross_validation(collection, count, experiment.job.seed)
    share = _share(experiment, count + 1)
    if share.is_timed:
        experiment.log.say(f"{count} folds and the final model, {share} each.")
    outcomes: list[Outcome] = []
    for number, splits in enumerate(folds, 1):
        outcomes.append(run_experiment(experiment.part(f"fold-{number}", share), splits))
        keep(outcomes[-1])
    out_of_fold = _pooled(outcomes)
    verdict = _verdict(experiment, outcomes, out_of_fold)
    repeats = over_folds({name: [outcome.right(name) for outcome in outcomes] for name in outcomes[0].runs}, verdict)
    name = outcomes[0].method if repeats.delivered == "method" else BASELINE
    experiment.log.say("Final model, of the kind that the folds favor:")
    last = run_experiment(experiment.within(share), _final_roles(final), only=name)
    remark = _about_final(last)
    repeats = dataclasses.replace(repeats, sentences=(*repeats.sentences, remark))
    outcome = dataclasses.replace(
        last, experiment=experiment, verdict=verdict, method=outcomes[0].method, delivered=name, out_of_fold=out_of_fold
    )
    return outcome, repeats


def _share(experiment: Experiment, num_parts: int) -> Budget:
    """The budget of each part with its own evaluation, before one report on two models."""
    return experiment.budget_split.grant_part(num_parts, experiment.report_reserve_s(2))


def _check_tested(experiment: Experiment, count: int) -> None:
    """Refuse seeds that would leave no test image."""
    splits = split(hide_labels(experiment.collection, experiment.job)[0], experiment.job.seed)
    if not len(splits.test):
        raise DataError(
            f"{counted(count, 'repeat')} with {len(splits.labeled)} labels would leave no test image, and nothing "
            "could be said of them; label at least 5 images per class, or give labeled images with test"
        )


def _about_seeds(outcomes: Sequence[Outcome]) -> list[str]:
    """What differs between seeds, and whether they were trained at equal cost."""
    first = outcomes[0]
    sentence = seeds_sentence(
        len(first.splits.test),
        draws_labels=first.hidden is not None,
        draws_network=first.experiment.module is None,
        draws_test=any(not np.array_equal(outcome.splits.test, first.splits.test) for outcome in outcomes[1:]),
    )
    remarks = [sentence]
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict is not None]
    unequal = sum(not verdict.is_cost_matched for verdict in verdicts)
    if verdicts and not unequal:
        remarks.append("For every seed both trainings cost the same within 5 %.")
    elif unequal:
        remarks.append(
            f"For {unequal} of {len(outcomes)} seeds the two trainings did not cost the same, so part of any "
            "difference may be due to that."
        )
    return remarks


def _pooled(outcomes: Sequence[Outcome]) -> OutOfFold:
    """The predictions of each fold's images by its models, in the order of the images."""
    ids = np.concatenate([outcome.splits.test for outcome in outcomes])
    order = np.argsort(ids)
    probabilities = {
        name: np.concatenate([outcome.held[name]["test"] for outcome in outcomes])[order] for name in outcomes[0].runs
    }
    return OutOfFold(ids[order], probabilities)


def _verdict(experiment: Experiment, outcomes: Sequence[Outcome], pooled: OutOfFold) -> Verdict | None:
    """The paired comparison over the images of all folds, at the cost of all folds together."""
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict is not None]
    if not verdicts:
        return None
    method = outcomes[0].method
    labels = experiment.collection.labels[pooled.ids]
    predicted = {name: probabilities.argmax(-1) for name, probabilities in pooled.probabilities.items()}
    return compute_verdict(
        HeldOut(labels, predicted[BASELINE], predicted[method]),
        baseline=_together(BASELINE, outcomes),
        method=_together(method, outcomes),
        cost_clock=verdicts[0].cost_clock,
        imbalanced=are_imbalanced(labels),
        folds=len(outcomes),
        facts=_facts_of_all(outcomes),
    )


def _facts_of_all(outcomes: Sequence[Outcome]) -> Facts | None:
    """The facts of the trainings of all seeds or folds together."""
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict is not None]
    if not verdicts:
        return None
    facts, clock = [verdict.facts for verdict in verdicts], verdicts[0].cost_clock
    used = [fact.share_used for fact in facts if fact.share_used is not None]
    steps = [fact.fewest_steps for fact in facts if fact.fewest_steps is not None]
    baseline = sum(getattr(verdict.baseline.cost, clock) for verdict in verdicts)
    method = sum(getattr(verdict.method.cost, clock) for verdict in verdicts)
    return dataclasses.replace(
        facts[0],
        validation_difference=None,
        num_validation=0,
        cost_ratio=method / baseline if baseline > 0 else float("inf"),
        learned_from_pool=any(fact.learned_from_pool for fact in facts),
        share_used=sum(used) / len(used) if used else None,
        is_divided=any(fact.is_divided for fact in facts),
        fewest_steps=min(steps, default=None),
    )


def _together(name: str, outcomes: Sequence[Outcome]) -> Candidate:
    runs = [outcome.runs[name] for outcome in outcomes]
    cost = runs[0].cost
    for run in runs[1:]:
        cost += run.cost
    return Candidate(name, cost, sum(run.steps for run in runs))


def _final_roles(final: Splits) -> Splits:
    """The roles for the final model, with a sentence of its own where no image is left to test it."""
    if len(final.test):
        return final
    return dataclasses.replace(
        final, note=f"All {len(final.labeled):,} labels are used for training; the folds served as the test."
    )


def _about_final(final: Outcome) -> str:
    """How the final model was trained, and what is known about it."""
    how = "without" if final.method == BASELINE else "with"
    made = f"The final model was trained on all {len(final.splits.labeled):,} labels, {how} the unlabeled images"
    if not len(final.splits.test):
        return f"{made}, and no image is left to test it: the figures are those of the folds' models."
    share = 100 * float(final.right(final.method).mean())
    images = "test images" if final.splits.test_source == "test" else "validation images"
    return f"{made}; it gets {share:.1f} % of {len(final.splits.test):,} {images} right, which decided nothing."

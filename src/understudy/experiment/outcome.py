"""The outcome of an experiment: the trained runs, their predictions of held-out images, and the verdict on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.budget import Budget
from understudy.data.collection import Collection
from understudy.data.simulate import HiddenLabels
from understudy.data.split import Splits
from understudy.data.training_data import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.predict import predict
from understudy.evaluation.metrics import are_imbalanced
from understudy.evaluation.verdict import Candidate, HeldOut, Verdict, compute_verdict
from understudy.evaluation.verdict_rule import Facts
from understudy.experiment.budget_split import BASELINE
from understudy.experiment.experiment import Experiment
from understudy.experiment.job import Job
from understudy.experiment.pool_statistics import coverage, mask_ratio
from understudy.experiment.prepare import Prepared

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of labeled images by the models of folds that were not trained on them.

    Args:
        ids: Row numbers of all labeled images, ascending.
        probabilities: By run.
    """

    ids: NDArray[np.int64]
    probabilities: Mapping[str, Probabilities]


@dataclass(frozen=True, eq=False)
class Outcome:
    """An experiment after its last step.

    Args:
        runs: The trained runs by name.
        held: By run, the class probabilities of the test and of the validation images.
        verdict: None when there was nothing to compare.
        method: The run that is compared with the baseline, or the only one.
        delivered: The run whose model is to be used.
        pseudo_labels: A line per evaluation on the pseudo-labels, where labels were hidden.
        out_of_fold: Where folds were trained before.
    """

    experiment: Experiment
    prepared: Prepared
    runs: Mapping[str, Trained]
    held: Mapping[str, Mapping[str, Probabilities]]
    verdict: Verdict | None
    method: str
    delivered: str
    pseudo_labels: tuple[Mapping[str, Any], ...] = ()
    out_of_fold: OutOfFold | None = None

    @property
    def job(self) -> Job:
        """The settings of the experiment."""
        return self.experiment.job

    @property
    def collection(self) -> Collection:
        """The images with all labels, those that the job hides included."""
        return self.experiment.collection

    @property
    def splits(self) -> Splits:
        """The roles of the images."""
        return self.prepared.splits

    @property
    def data(self) -> TrainingData:
        """What the runs were trained on."""
        return self.prepared.data

    @property
    def hidden(self) -> HiddenLabels | None:
        """The labels that the job hides."""
        return self.prepared.roles.hidden

    def right(self, name: str) -> NDArray[np.bool_]:
        """Which of the test images a run's model gets right."""
        predicted = self.held[name]["test"].argmax(-1)
        return np.asarray(predicted == self.collection.labels[self.splits.test])

    def with_folds_as_test(self) -> Outcome:
        """The outcome that figures are of: the folds' images test where the final model has no test images."""
        folds = self.out_of_fold
        if folds is None or len(self.splits.test):
            return self
        roles = self.prepared.roles
        splits = dataclasses.replace(roles.splits, test=folds.ids, test_source="out of fold")
        held = {
            name: {"test": probabilities, "validation": probabilities[:0]}
            for name, probabilities in folds.probabilities.items()
        }
        prepared = dataclasses.replace(self.prepared, roles=dataclasses.replace(roles, splits=splits))
        return dataclasses.replace(self, prepared=prepared, held=held)


def evaluate_runs(
    experiment: Experiment,
    prepared: Prepared,
    runs: Mapping[str, Trained],
    method: str,
    pseudo_labels: tuple[Mapping[str, Any], ...],
) -> Outcome:
    """The outcome of finished runs, by their predictions of the held-out images."""
    held = {name: _probabilities(prepared, trained) for name, trained in runs.items()}
    verdict = None
    if len(runs) > 1:
        verdict = _verdict(experiment.collection.labels, prepared, runs, held, method)
    return Outcome(
        experiment=experiment,
        prepared=prepared,
        runs=runs,
        held=held,
        verdict=verdict,
        method=method,
        delivered=BASELINE if verdict is not None and verdict.delivered == "supervised" else method,
        pseudo_labels=pseudo_labels,
    )


def facts_of(method: str, runs: Mapping[str, Trained], budget: Budget) -> Facts:
    """The facts that the two trainings add to the comparison, before any image is predicted."""
    trained = runs[method]
    used, _ = mask_ratio(trained.history)
    steps = [run.steps for run in runs.values() if run.steps]  # a head that is fit in one go has none
    returned = [line for line in trained.rounds if line.get("returned")]
    if any("pretext" in line for line in returned):
        used = None  # pretraining used all unlabeled images, whatever the rounds after it did
    elif any("coverage" in line for line in returned):
        used = coverage(trained.rounds)
    return Facts(
        method=method,
        learned_from_pool=all(line.get("learned_from_pool", True) for line in returned),
        share_used=used,
        is_divided=sum("kept" in line or bool(line.get("steps")) for line in trained.rounds) > 1,
        fewest_steps=min(steps) if steps and budget.is_timed else None,
    )


def _probabilities(prepared: Prepared, trained: Trained) -> dict[str, Probabilities]:
    """Class probabilities of the test and of the validation images."""
    job, splits = prepared.job, prepared.splits
    device, averaging = pick_device(job.device), job.test_time_averaging
    return {
        role: predict(trained.model.to(device), prepared.data, rows, device=device, test_time_averaging=averaging)
        for role, rows in (("test", splits.test), ("validation", splits.validation))
    }


def _verdict(
    labels: NDArray[np.int64],
    prepared: Prepared,
    runs: Mapping[str, Trained],
    held: Mapping[str, Mapping[str, Probabilities]],
    method: str,
) -> Verdict:
    """The paired comparison of the two models."""
    job, splits = prepared.job, prepared.splits

    def held_out(role: str, rows: NDArray[np.int64]) -> HeldOut | None:
        if not len(rows):
            return None
        return HeldOut(labels[rows], held[BASELINE][role].argmax(-1), held[method][role].argmax(-1))

    candidates = {name: Candidate(name, trained.cost, trained.steps) for name, trained in runs.items()}
    return compute_verdict(
        held_out("test", splits.test),
        baseline=candidates[BASELINE],
        method=candidates[method],
        validation=held_out("validation", splits.validation),
        cost_clock="cpu_s" if pick_device(job.device).type == "cpu" else "wall_s",
        imbalanced=any(are_imbalanced(labels[rows]) for rows in (splits.labeled, splits.test)),
        facts=facts_of(method, runs, job.budget),
    )

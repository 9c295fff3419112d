"""One run of an experiment: the same network trained with and without the unlabeled images at equal cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from understudy.core.budget import Budget
from understudy.core.spending import EVALUATION, READING, TRAINING
from understudy.data.split import Splits
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import HistoryLines, Observer, PictureGrids, PseudoLabelQuality, TensorBoard
from understudy.evaluation.no_verdict import without_pool
from understudy.evaluation.robustness import CORRUPTIONS, STRENGTHS
from understudy.experiment.budget_split import BASELINE
from understudy.experiment.experiment import Experiment
from understudy.experiment.outcome import Outcome, evaluate_runs
from understudy.experiment.prepare import Prepared
from understudy.experiment.reserve import evaluation_seconds
from understudy.functional.generated import collapse_note
from understudy.methods.base import Method
from understudy.methods.supervised import Supervised
from understudy.recipes.plain import Plain


def run_experiment(experiment: Experiment, splits: Splits | None = None, *, only: str = "") -> Outcome:
    """Train twice and compare the two models on the held-out images.

    Args:
        splits: The roles of the images, as of a fold; drawn by the job's seed if not given.
        only: The name of the one run of the two that is trained, with the whole budget.
    """
    experiment.spending.enter(READING)
    prepared = experiment.prepare(splits)
    roles = prepared.roles
    if roles.filtered is not None and experiment.folder is not None:
        roles.filtered.save(experiment.folder, roles.collection)
    for note in roles.notes:
        experiment.log.say(note)
    method, name = _method_for(experiment, roles.splits)
    names = [only] if only else list(dict.fromkeys((BASELINE, name)))
    pool, classes = prepared.data.pool, prepared.data.classes
    quality = None if roles.hidden is None else PseudoLabelQuality(roles.hidden.of(pool), len(classes))
    runs = _train(experiment, prepared, method, name, names, quality)
    experiment.spending.enter(EVALUATION)
    lines = tuple(quality.rounds) if quality else ()
    return evaluate_runs(experiment, prepared, runs, names[-1], lines)


def _train(
    experiment: Experiment,
    prepared: Prepared,
    method: Method[Any],
    name: str,
    names: Sequence[str],
    quality: PseudoLabelQuality | None,
) -> dict[str, Trained]:
    """The trained runs of these names, the baseline first and the method at its cost."""
    job, recipe = experiment.job, experiment.job.recipe
    observers, grants = _observers(experiment, quality), experiment.budget_split
    reserve_s = _reserve_s(experiment, prepared, len(names))
    granted = grants.grant_first(len(names), reserve_s)
    baseline = prepared.stage(method.baseline(), name=BASELINE, budget=granted)
    outline = [BASELINE if run == BASELINE else recipe.outline(method.name) for run in names]
    experiment.log.say(_opening(prepared, granted, outline))
    if name != BASELINE and name in names:  # before half of the budget went into the baseline
        recipe.check(prepared.stage(method, name=name, budget=granted))
    experiment.spending.enter(TRAINING)
    runs: dict[str, Trained] = {}
    if BASELINE in names:
        runs[BASELINE] = fit(baseline, experiment.subfolder(BASELINE), observe=observers)
    if name != BASELINE and name in names:
        execution = None
        if runs:
            on_processor = pick_device(job.device).type == "cpu"
            granted = grants.grant_second(runs[BASELINE].cost, reserve_s, on_processor=on_processor)
            execution = dataclasses.replace(runs[BASELINE].execution, chunks=1)
        stage = prepared.stage(method, name=name, budget=granted)
        trained = recipe.train(stage, experiment.subfolder(name), observe=observers, execution=execution)
        runs[name] = _with_quality(trained, quality)
        if note := collapse_note(trained.history):
            experiment.log.say(note)
    return runs


def _method_for(experiment: Experiment, splits: Splits) -> tuple[Method[Any], str]:
    """The method and the name of its run, which is the baseline's where nothing is to be compared with it."""
    job, method = experiment.job, experiment.job.method
    if len(splits.unlabeled):
        return method, method.name if isinstance(job.recipe, Plain) else job.recipe.name
    recipe = "" if isinstance(job.recipe, Plain) else job.recipe.name
    if recipe or not isinstance(method, Supervised):
        experiment.log.say(without_pool(recipe))
    return method if isinstance(method, Supervised) else method.baseline(), BASELINE


def _observers(experiment: Experiment, quality: PseudoLabelQuality | None) -> list[Observer]:
    """The observers of every step."""
    observers: list[Observer] = [experiment.log.watch.step, *([quality] if quality else [])]
    if experiment.folder is not None:
        observers += [PictureGrids(experiment.folder / "pictures"), HistoryLines(experiment.folder / "history.jsonl")]
    if experiment.tensorboard is not None:
        observers.append(TensorBoard(experiment.tensorboard))
    return observers


def _reserve_s(experiment: Experiment, prepared: Prepared, num_models: int) -> float:
    """Seconds of a wall-clock budget that are kept for evaluation and report; 0 where a part was granted before."""
    if experiment.job.budget.wall_s is None or experiment.budget_split.granted():
        return 0.0
    splits = prepared.splits
    with experiment.spending.part(EVALUATION):
        seconds = evaluation_seconds(
            prepared.network,
            prepared.data,
            splits,
            num_models,
            device=pick_device(experiment.job.device),
            num_corrupted=min(experiment.job.corrupted, len(splits.test)) * len(CORRUPTIONS) * len(STRENGTHS),
            averaging=experiment.job.test_time_averaging,
        )
    return seconds + experiment.report_reserve_s(num_models)


def _opening(prepared: Prepared, budget: Budget, outline: Sequence[str]) -> str:
    job, data = prepared.job, prepared.data
    what = f"{len(data.labeled):,} labeled and {len(data.unlabeled):,} unlabeled rows, {len(data.classes)} classes"
    how = f"network {prepared.network_name}, {job.optimizer.name}, domain {job.domain}, seed {job.seed}"
    if len(outline) > 1:
        second = "at the same cost" if budget.is_timed else "for as many steps"
        return f"Training on {what}: {how}; first the labels alone ({budget}), then {outline[1]} {second}."
    return f"Training on {what}: {how}; {'' if outline[0] == BASELINE else outline[0] + ', '}{budget}."


def _with_quality(trained: Trained, quality: PseudoLabelQuality | None) -> Trained:
    """The run, each of its rounds with the accuracy of the pseudo-labels where hidden labels give it."""
    lines = quality.rounds if quality else ()
    known: dict[Any, float] = {line["round"]: line["pseudo_label_accuracy"] for line in lines if "round" in line}
    rounds = (
        line | {"pseudo_label_accuracy": known.get(line.get("round"))} if known else line for line in trained.rounds
    )
    return dataclasses.replace(trained, rounds=tuple(rounds))

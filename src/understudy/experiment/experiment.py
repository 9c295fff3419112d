"""A job and the images it is about: trained with and without the unlabeled ones at equal cost, then judged."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Budget, Cost, format_seconds
from understudy.core.config import to_table
from understudy.core.errors import RunFolderError
from understudy.core.files import write_json
from understudy.core.spending import EVALUATION, READING, REPORT, TOLERANCE, TRAINING, Spending
from understudy.data.collection import Collection
from understudy.data.simulate import HiddenLabels, simulate
from understudy.data.split import Splits, split
from understudy.data.training import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import (
    HistoryLines,
    Observer,
    PictureGrids,
    PseudoLabelQuality,
    StepReport,
    TensorBoard,
)
from understudy.engine.predict import predict
from understudy.engine.rundir import RunFolder, read_decisions
from understudy.engine.stage import Stage
from understudy.evaluation.decision import Facts
from understudy.evaluation.metrics import are_imbalanced
from understudy.evaluation.robustness import CORRUPTIONS, STRENGTHS
from understudy.evaluation.verdict import Candidate, HeldOut, Verdict, compute_verdict
from understudy.experiment.job import Job, as_training_data, initial_network
from understudy.experiment.pool_use import coverage, mask_ratio
from understudy.experiment.reserve import ReportSeconds, evaluation_seconds
from understudy.functional.generated import collapse_note
from understudy.methods.base import Method
from understudy.methods.supervised import Supervised
from understudy.models import check_network
from understudy.recipes.plain import Plain

BASELINE = "supervised"
# Even where reading, planning and the report need more than the budget has, the models are trained for a fifth of it:
# a shorter training shows nothing, and the command says that it takes longer.
_LEAST_SHARE_TO_TRAIN = 0.2

Probabilities = NDArray[np.float32]
PoolFilter = Callable[[Collection, Splits, int, Path | None], tuple[Splits, str]]


class Watcher(Protocol):
    """Whoever shows a person what is going on."""

    def message(self, text: str) -> None:
        """Something worth knowing, in a sentence."""

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""

    def step(self, report: StepReport) -> None:
        """A finished training step."""


class Silent:
    """A watcher that shows nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def step(self, report: StepReport) -> None:
        """Nothing."""


@dataclass(frozen=True, eq=False)
class Command:
    """What was asked for, with the images read.

    Args:
        name: What the images are called.
        collection: The images with all labels that were given, those to be hidden included.
        module: The user's own network, if any.
        folder: Where everything is kept; without one nothing is written.
        begun: When the time that the budget limits began.
        tensorboard: Folder of a log for TensorBoard.
        planning: What validation the settings took of the budget.
        log: The sentences said so far.
        spending: What the time went into so far.
        report_s: Predicts what the report takes; None where none is written.
        pool_filter: Gives the splits without unrelated images of the pool, and a sentence, for a job that asks for it;
            called with the collection, the splits, the seed and the folder.
    """

    name: str
    collection: Collection
    job: Job
    module: nn.Module | None
    folder: Path | None
    watch: Watcher
    begun: float
    tensorboard: Path | None = None
    planning: Cost = field(default_factory=Cost)
    log: list[str] = field(default_factory=list)
    spending: Spending = field(default_factory=Spending)
    report_s: ReportSeconds | None = None
    pool_filter: PoolFilter | None = None

    def claim(self, **more: str) -> None:
        """Make the folder this command's, or find that it is.

        Args:
            more: What else tells this command from others.

        Raises:
            RunFolderError: It is another's.
        """
        if self.folder is not None:
            RunFolder(self.folder).recognize(_identity(self.job, self.collection, self.module) | more)

    def announce(self) -> None:
        """Say what was made of the images."""
        for note in self.collection.notes:
            self.say(note)
        if self.collection.quarantine:
            self.say(_quarantine_note(self.collection))

    def simulated(self) -> tuple[Collection, HiddenLabels | None]:
        """The images as the job sees them, and the labels it hides."""
        job = self.job
        if not job.num_labels:
            return self.collection, None
        return simulate(self.collection, job.num_labels, job.seed, **job.simulation())

    def run(self, splits: Splits | None = None, *, only: str = "") -> Judged:
        """Train twice and let the held-out images judge.

        Args:
            splits: The roles of the images; drawn by the job's seed if not given.
            only: The name of the one run of the two that is trained, with the whole budget.
        """
        self.spending.enter(READING)
        job = self.job
        collection, hidden = self.simulated()
        if splits is None:
            if hidden is not None:
                self.say(collection.notes[-1])
            splits = split(collection, job.seed)
        self.say(splits.note)
        if job.filter_pool and self.pool_filter is not None:
            splits, note = self.pool_filter(collection, splits, job.seed, self.folder)
            self.say(note)
        data = as_training_data(collection, splits, job.domain, job.augmentation)
        network, network_name = self.initial_network(data)
        method, name = self.method_for(splits)
        names = [only] if only else list(dict.fromkeys((BASELINE, name)))
        quality = None if hidden is None else PseudoLabelQuality(hidden.of(data.pool), len(data.classes))
        observers = self.observers(quality)

        budget = job.budget
        reserve_s = self.reserve_s(budget, data, network, splits, len(names))
        granted = self.first_budget(budget, len(names), reserve_s)
        settings = job.settings()
        plain = method.baseline()
        stage = Stage(
            settings=dataclasses.replace(settings, method=plain),
            data=data,
            network=network,
            budget=granted,
            name=BASELINE,
            network_name=network_name,
        )
        outline = [BASELINE if one == BASELINE else job.recipe.outline(method.name) for one in names]
        self.say(_opening(data, job, network_name, granted, outline))
        if name != BASELINE and name in names:  # before half of the budget went into the baseline
            job.recipe.check(dataclasses.replace(stage, settings=dataclasses.replace(settings, method=method)))
        self.spending.enter(TRAINING)
        runs: dict[str, Trained] = {}
        if BASELINE in names:
            runs[BASELINE] = fit(stage, self.subfolder(BASELINE), observe=observers)
        if name != BASELINE and name in names:
            execution = None
            if runs:
                granted = self.second_budget(budget, runs[BASELINE], reserve_s)
                execution = dataclasses.replace(runs[BASELINE].execution, chunks=1)
            stage = dataclasses.replace(
                stage, settings=dataclasses.replace(settings, method=method), budget=granted, name=name
            )
            trained = job.recipe.train(stage, self.subfolder(name), observe=observers, execution=execution)
            runs[name] = _with_quality(trained, quality)
            if note := collapse_note(trained.history):
                self.say(note)
        self.spending.enter(EVALUATION)
        return self.judged(splits, data, hidden, runs, names[-1], network_name, quality)

    def judged(
        self,
        splits: Splits,
        data: TrainingData,
        hidden: HiddenLabels | None,
        runs: dict[str, Trained],
        method: str,
        network_name: str,
        quality: PseudoLabelQuality | None,
    ) -> Judged:
        """What the held-out images say of the finished runs."""
        held = {name: self.probabilities(data, trained, splits) for name, trained in runs.items()}
        verdict = self.verdict(splits, held, runs, method) if len(runs) > 1 else None
        return Judged(
            command=self,
            splits=splits,
            data=data,
            hidden=hidden,
            runs=runs,
            held=held,
            verdict=verdict,
            method=method,
            delivered=BASELINE if verdict is not None and verdict.delivered == "supervised" else method,
            network_name=network_name,
            pseudo_labels=tuple(quality.rounds) if quality else (),
        )

    def method_for(self, splits: Splits) -> tuple[Method[Any], str]:
        """The method and the name of its run, which is the baseline's where nothing is to be compared with it."""
        job, method = self.job, self.job.method
        if not len(splits.unlabeled):
            without = "" if isinstance(job.recipe, Plain) else f", without the recipe {job.recipe.name}"
            if without or not isinstance(method, Supervised):
                self.say(f"There are no unlabeled images, so the supervised model alone is trained{without}.")
            if not isinstance(method, Supervised):
                method = method.baseline()
            return method, BASELINE
        return method, method.name if isinstance(job.recipe, Plain) else job.recipe.name

    def observers(self, quality: PseudoLabelQuality | None) -> list[Observer]:
        """Those who watch every step."""
        found: list[Observer] = [self.watch.step, *([quality] if quality else [])]
        if self.folder is not None:
            found += [PictureGrids(self.folder / "pictures"), HistoryLines(self.folder / "history.jsonl")]
        if self.tensorboard is not None:
            found.append(TensorBoard(self.tensorboard))
        return found

    def probabilities(self, data: TrainingData, trained: Trained, splits: Splits) -> dict[str, Probabilities]:
        """Class probabilities of the test images and of those that choose."""
        device = pick_device(self.job.device)
        averaging = self.job.test_time_averaging
        return {
            role: predict(trained.model.to(device), data, ids, device=device, test_time_averaging=averaging)
            for role, ids in (("test", splits.test), ("validation", splits.validation))
        }

    def verdict(
        self, splits: Splits, held: Mapping[str, Mapping[str, Probabilities]], runs: dict[str, Trained], method: str
    ) -> Verdict:
        """The paired comparison of the two models."""
        labels = self.collection.labels

        def held_out(role: str, ids: NDArray[np.int64]) -> HeldOut | None:
            if not len(ids):
                return None
            return HeldOut(labels[ids], held[BASELINE][role].argmax(-1), held[method][role].argmax(-1))

        candidates = {name: Candidate(name, trained.cost, trained.steps) for name, trained in runs.items()}
        return compute_verdict(
            held_out("test", splits.test),
            baseline=candidates[BASELINE],
            method=candidates[method],
            validation=held_out("validation", splits.validation),
            cost_clock="cpu_s" if pick_device(self.job.device).type == "cpu" else "wall_s",
            imbalanced=any(are_imbalanced(labels[ids]) for ids in (splits.labeled, splits.test)),
            facts=facts_of(method, runs, self.job.budget),
        )

    def initial_network(self, data: TrainingData) -> tuple[nn.Module, str]:
        """The network both runs start from, and its name in the run folder."""
        if self.module is None:
            return initial_network(self.job, data), self.job.network
        check_network(self.module, data.row_shape, len(data.classes))
        return self.module, f"module:{type(self.module).__qualname__}"

    def reserve_s(
        self, budget: Budget, data: TrainingData, network: nn.Module, splits: Splits, num_models: int
    ) -> float:
        """Seconds of a wall-clock budget that are kept for evaluation and report; 0 where a part was granted before."""
        if budget.wall_s is None or self.recorded_budgets():
            return 0.0
        with self.spending.part(EVALUATION):
            seconds = evaluation_seconds(
                network,
                data,
                splits,
                num_models,
                device=pick_device(self.job.device),
                num_corrupted=min(self.job.corrupted, len(splits.test)) * len(CORRUPTIONS) * len(STRENGTHS),
                averaging=self.job.test_time_averaging,
            )
        return seconds + self.predicted_report_s(num_models)

    def predicted_report_s(self, num_models: int) -> float:
        """Seconds that the report is expected to take; 0 where none is written."""
        if self.report_s is None:
            return 0.0
        with self.spending.part(REPORT):
            return self.report_s(num_models)

    def first_budget(self, budget: Budget, num_runs: int, reserve_s: float) -> Budget:
        """What the first of so many runs may spend: its part of what is left of a timed budget, or all the steps."""
        recorded = self.recorded_budgets().get(BASELINE)
        if recorded:
            return Budget(**recorded)
        result = self.part_of(budget, num_runs, reserve_s=reserve_s)
        self.record_budget(BASELINE, result)
        return result

    def second_budget(self, budget: Budget, baseline: Trained, reserve_s: float) -> Budget:
        """What the method may spend: as much processor or device time as the baseline spent."""
        recorded = self.recorded_budgets().get("method")
        if recorded:
            return Budget(**recorded)
        if not budget.is_timed:
            result = budget
        elif pick_device(self.job.device).type == "cpu":
            left = None
            if budget.wall_s is not None:
                left = budget.wall_s - reserve_s - (time.perf_counter() - self.begun)
                # More than the baseline's, so that a busier machine does not cut the comparison short: half of what
                # may be overrun without a word.
                left = max(baseline.cost.wall_s, left) + 0.5 * TOLERANCE * budget.wall_s
            result = Budget(cpu_s=baseline.cost.cpu_s, wall_s=left)
        else:
            result = Budget(wall_s=baseline.cost.wall_s)
        self.record_budget("method", result)
        return result

    def share(self, num_parts: int) -> Budget:
        """The budget of each of so many parts of the command, each with its own evaluation, before one report."""
        recorded = self.recorded_budgets().get("part")
        if recorded:
            return Budget(**recorded)
        budget = self.job.budget
        reserve_s = self.predicted_report_s(2) if budget.wall_s is not None else 0.0
        found = self.part_of(budget, num_parts, reserve_s=reserve_s)
        self.record_budget("part", found)
        return found

    def part_of(self, budget: Budget, num_parts: int, *, reserve_s: float) -> Budget:
        """An equal part of what is left; a number of steps is that of each run and is not divided.

        Args:
            reserve_s: Seconds of a wall-clock budget that no part gets, as far as these leave enough to train.
        """
        if not budget.is_timed:
            return budget
        if budget.wall_s is None:
            assert budget.cpu_s is not None
            return Budget(cpu_s=(budget.cpu_s - self.planning.cpu_s) / num_parts)
        spent = time.perf_counter() - self.begun
        left = max(_LEAST_SHARE_TO_TRAIN * budget.wall_s, budget.wall_s - spent - reserve_s)
        whole = spent + left + reserve_s
        if whole > (1 + TOLERANCE) * budget.wall_s:
            reading = self.spending.wall_s(READING)
            read = f", {format_seconds(reading)} on reading images" if reading > 0.5 * spent else ""
            self.say(
                f"{format_seconds(spent)} of the budget of {budget} are spent{read}, and evaluation and report will "
                f"take about {format_seconds(reserve_s)}: training gets {format_seconds(left)} all the same, so the "
                f"command will take about {format_seconds(whole)}."
            )
        return Budget(wall_s=left / num_parts)

    def part(self, name: str, budget: Budget, **changes: Any) -> Command:
        """A command for a part of this one, in a folder of its own, of which `log` begins with what was said so far.

        Args:
            budget: Its own.
            changes: Settings of the job that are others.
        """
        part = dataclasses.replace(
            self.within(budget, **changes),
            folder=self.subfolder(name),
            tensorboard=self.tensorboard and self.tensorboard / name,
            log=list(self.log),
        )
        part.claim()
        return part

    def within(self, budget: Budget, **changes: Any) -> Command:
        """This command with another budget, which begins now."""
        job = dataclasses.replace(self.job, budget=budget, **changes)
        return dataclasses.replace(self, job=job, begun=time.perf_counter(), planning=Cost(), report_s=None)

    def recorded_budgets(self) -> dict[str, dict[str, Any]]:
        """How an earlier process of the same run divided the budget."""
        return {} if self.folder is None else read_decisions(self.folder / "budgets.json")

    def record_budget(self, name: str, budget: Budget) -> None:
        """Write a decision about the budget down before it takes effect."""
        if self.folder is not None:
            write_json(self.folder / "budgets.json", self.recorded_budgets() | {name: asdict(budget)})

    def refuse_lost(self, name: str) -> None:
        """Make sure that a file which is written before the budget is divided has not been lost since.

        Raises:
            RunFolderError: It has.
        """
        if self.folder is not None and self.recorded_budgets() and not (self.folder / name).exists():
            raise RunFolderError(
                f"{self.folder / name} is missing, though training had begun; restore it, "
                f"or delete {self.folder} and train again"
            )

    def subfolder(self, name: str) -> Path | None:
        """Where one run's files go."""
        return None if self.folder is None else self.folder / name

    def say(self, text: str) -> None:
        """Show a sentence and keep it for the log."""
        self.log.append(text)
        self.watch.message(text)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What the models of folds say of labeled images that they were not trained on.

    Args:
        ids: Row numbers of all labeled images, ascending.
        probabilities: By run.
    """

    ids: NDArray[np.int64]
    probabilities: Mapping[str, Probabilities]


@dataclass(frozen=True, eq=False)
class Judged:
    """A command after its last step.

    Args:
        held: By run, the class probabilities of the test images and of those that choose.
        verdict: None when there was nothing to compare.
        method: The run that is compared with the baseline, or the only one.
        delivered: The run whose model is to be used.
        out_of_fold: Where folds were trained before.
    """

    command: Command
    splits: Splits
    data: TrainingData
    hidden: HiddenLabels | None
    runs: Mapping[str, Trained]
    held: Mapping[str, Mapping[str, Probabilities]]
    verdict: Verdict | None
    method: str
    delivered: str
    network_name: str
    pseudo_labels: tuple[Mapping[str, Any], ...]
    out_of_fold: OutOfFold | None = None

    def right(self, name: str) -> NDArray[np.bool_]:
        """Which of the test images a run's model gets right."""
        ids = self.splits.test
        found: NDArray[np.bool_] = self.held[name]["test"].argmax(-1) == self.command.collection.labels[ids]
        return found


def facts_of(method: str, runs: Mapping[str, Trained], budget: Budget) -> Facts:
    """What the two trainings tell, without what the images say."""
    trained = runs[method]
    used, _ = mask_ratio(trained.history)
    steps = [one.steps for one in runs.values() if one.steps]  # a head that is fit in one go has none
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


def _opening(data: TrainingData, job: Job, network: str, budget: Budget, outline: list[str]) -> str:
    what = f"{len(data.labeled):,} labeled and {len(data.unlabeled):,} unlabeled rows, {len(data.classes)} classes"
    how = f"network {network}, {job.optimizer.name}, domain {job.domain}, seed {job.seed}"
    if len(outline) > 1:
        second = "at the same cost" if budget.is_timed else "for as many steps"
        return f"Training on {what}: {how}; first the labels alone ({budget}), then {outline[1]} {second}."
    return f"Training on {what}: {how}; {'' if outline[0] == BASELINE else outline[0] + ', '}{budget}."


def _quarantine_note(collection: Collection) -> str:
    count = len(collection.quarantine)
    name, reason = collection.quarantine[0]
    skipped = f"{count:,} files could not be used and were skipped" if count > 1 else "1 file could not be used"
    return f"{skipped}, such as {name}: {reason}."


def _identity(job: Job, collection: Collection, module: nn.Module | None) -> dict[str, str]:
    settings = {name: value for name, value in to_table(job).items() if name not in ("budget", "device")}
    network = job.network if module is None else type(module).__qualname__
    digest = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=16).hexdigest()
    return {"settings": digest, "budget": job.budget.text, "network": network, "data": collection.content}


def _with_quality(trained: Trained, quality: PseudoLabelQuality | None) -> Trained:
    """The run, each of its rounds with the accuracy of the pseudo-labels where hidden labels tell it."""
    lines = quality.rounds if quality else ()
    known: dict[Any, float] = {line["round"]: line["pseudo_label_accuracy"] for line in lines if "round" in line}
    rounds = (
        line | {"pseudo_label_accuracy": known.get(line.get("round"))} if known else line for line in trained.rounds
    )
    return dataclasses.replace(trained, rounds=tuple(rounds))

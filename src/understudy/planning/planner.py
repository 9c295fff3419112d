"""Plan an experiment: set everything that the user left open, within a fifth of the budget."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.budget import Budget, Cost
from understudy.core.config import Config, to_plain
from understudy.core.files import explain_write_errors, read_json, write_json
from understudy.core.spending import PLANNING, READING, START, Spending
from understudy.data.sizing import Form
from understudy.engine.execution import pick_device
from understudy.engine.rundir import read_decisions
from understudy.experiment.experiment import Experiment
from understudy.experiment.job import Job, make_job, normalize_options
from understudy.experiment.prepare import Prepared
from understudy.methods.base import METHODS, Method
from understudy.planning.choice import SHARE, Choice, PlanningBudget, nested
from understudy.planning.learn_architecture import learn_architecture, learn_size
from understudy.planning.learn_data import learn_data
from understudy.planning.learn_optimization import learn_optimization
from understudy.planning.learn_regularization import SYMMETRIES_SHARE, learn_regularization
from understudy.planning.learn_ssl import DEFAULT, learn_ssl
from understudy.planning.plan import Plan, format_setting
from understudy.planning.speeds import training_speed
from understudy.planning.trials import MIN_STEPS, Trials, held_out_of

FILE = "plan.toml"
_OF_EVERY_METHOD = {"criterion", "ema_decay"}
_SPARE = 0.85  # of the allowance left; the rest is for setting up trials
_FIRST_TRAINING_S = 3.0  # overhead of a process's first training run
MAX_TRIALS = 5  # supervised, with fewer and with gentler operations, and two methods
_UNKNOWN_CLASSES = 10  # before the images are read; the size of the last layer hardly changes the speed


class Planner:
    """The planning of one experiment; its first choice, the size, is made before any image is decoded."""

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        module: nn.Module | None = None,
        folder: Path | None = None,
        given: Plan | None = None,
        spending: Spending | None = None,
    ) -> None:
        """Start planning.

        Args:
            options: The user's settings, as nested tables or objects.
            module: The user's own network.
            folder: The run's folder, in which the plan is saved; a plan in it is used again.
            given: A plan to use unchanged, unless the folder holds one.
            spending: The spending of the experiment.
        """
        self.spending = Spending() if spending is None else spending
        options = normalize_options(options)
        self.budget: Budget = options.get("budget", Job().budget)
        self.asked_budget = self.budget
        self.options: dict[str, Any] = to_plain(options) | {"budget": self.budget}
        method = self.options.get("method")
        if isinstance(method, Mapping) and "name" not in method and set(method) - _OF_EVERY_METHOD:
            self.options["method"] = {"name": Job().method.name, **method}  # whose knobs are meant
        self.objects = {key: value for key, value in options.items() if isinstance(value, Config)}
        self.module, self.folder = module, folder
        self.device = pick_device(str(options.get("device", "auto")))
        self.allowance = PlanningBudget(self.budget)
        self.size: Choice[int] | None = None
        self.spent = self.filtering = Cost()
        self.plan_to_use, self.is_given = given, given is not None
        if folder is not None and (folder / FILE).exists():
            self.plan_to_use = Plan.load(folder / FILE, unchanged=True)  # a run keeps the plan it began with

    def choose_size(self, form: Form) -> int:
        """The resolution in px to train at, given the form that the images suggest."""
        if self.plan_to_use is not None:
            size = self.plan_to_use.architecture.size
            return form.size if size is None else int(size.value)
        begun = Cost.now()
        with self.spending.part(PLANNING):
            self.size = learn_size(
                form.size,
                channels=form.channels,
                num_classes=_UNKNOWN_CLASSES,
                run=self._one_run(2),
                device=self.device,
                allowance=self.allowance,
                options=self.options,
            )
        self.spent += Cost.now() - begun
        return form.size if self.size is None else self.size.value

    def planned(
        self, experiment: Experiment, *, trials: bool = True, parts: int = 1, verbose: bool = False
    ) -> tuple[Experiment, Plan]:
        """Plan the experiment, prepare it, and save the plan in the run folder.

        What will be trained, and why, is shown first; all other choices are only logged.

        Args:
            trials: Whether some training labels may test short trial runs; not if each of them tests a fold.
            parts: Number of seeds or folds that share the budget.
            verbose: Whether every choice is also shown, with its reason.

        Raises:
            UserError: The settings do not suit the images.
        """
        log, prepared = experiment.log, None
        if self.plan_to_use is None:
            experiment.budget_split.refuse_lost(FILE)
            plan, prepared = self.plan(experiment, trials=trials, parts=parts)
        else:
            plan = self.plan_to_use
        if self.folder is not None and not (self.folder / FILE).exists():
            plan.save(self.folder / FILE)
        job = make_job(self._with(plan.options()), experiment.collection, self.module)
        planning = Cost() if self.is_given else plan.cost + self.filtering
        experiment = dataclasses.replace(experiment, job=job, planning=planning, prepared=prepared)
        if self.is_given:
            log.say(f"A plan that was made before, for a budget of {plan.budget.text}, is used as it is.")
        if parts == 1 and prepared is None:
            with self.spending.part(READING):
                experiment = dataclasses.replace(experiment, prepared=experiment.prepare())
        images = _images_in_words(experiment, parts)
        log.say(plan.decision(images, method=job.method.name, recipe=job.recipe.name, is_given=self.is_given))
        *reasons, summary = plan.sentences()
        explain = log.say if verbose else log.record
        if self.is_given:
            choices = ", ".join(f"{choice.key} {format_setting(choice.value)}" for choice in plan.choices)
            explain(f"The plan sets: {choices}.")
        else:
            for sentence in reasons:
                explain(sentence)
            log.say(summary)
        return experiment, plan

    def plan(self, experiment: Experiment, *, trials: bool = True, parts: int = 1) -> tuple[Plan, Prepared]:
        """Plan every setting that was left open, and return what was prepared for it; see `planned`.

        Raises:
            UserError: The settings do not suit the images.
        """
        begun = Cost.now()
        self.spending.enter(READING)
        prepared = experiment.prepare()
        self.filtering = Cost.now() - begun
        if not self.budget.is_timed:
            self.budget = experiment.job.budget  # where epochs have become steps
        # Imported before the clock of planning starts: scikit-learn and what torch's optimizers need take about two
        # seconds each, once, and are the program's start-up.
        self.spending.enter(START)
        import torch._dynamo  # noqa: F401

        self.allowance = PlanningBudget(self.budget)  # what decoding and the pool's filter took is no part of it
        self.allowance.pay(self.spent)
        begun = Cost.now()
        self.spending.enter(PLANNING)
        plan, prepared = self._plan(experiment, prepared, trials, parts)
        return dataclasses.replace(plan, cost=self.spent + (Cost.now() - begun)), prepared

    def _plan(self, experiment: Experiment, prepared: Prepared, use_trials: bool, parts: int) -> tuple[Plan, Prepared]:
        collection, splits = prepared.roles.collection, prepared.splits
        run = self._one_run((2 if len(splits.unlabeled) else 1) * parts)
        data_part = learn_data(collection, splits, self.options)
        learned = nested(data_part.choices)
        architecture = learn_architecture(
            collection.shape,
            len(collection.classes),
            run=run,
            device=self.device,
            allowance=self.allowance,
            size=self.size,
            module=self.module,
            options=self.options,
        )
        if self.module is None:
            learned = merged(learned, nested(architecture.choices))
        prepared = prepared.with_job(make_job(self._with(learned), collection, self.module))
        job, data, network, name = prepared.job, prepared.data, prepared.network, prepared.network_name
        optimization = learn_optimization(
            data,
            network,
            name,
            default_optimizer=job.optimizer.name,
            default_batch_size=job.batch_size,
            run=run,
            device=self.device,
            allowance=self.allowance,
            options=self.options,
        )
        learned = merged(learned, nested(optimization.choices))
        prepared = prepared.with_job(make_job(self._with(learned), collection, self.module))
        job, data = prepared.job, prepared.data
        rows_per_s = self._speed(prepared, architecture.figures)
        tried, why_not = self._trials(experiment, prepared, rows_per_s, use_trials)
        regularization = learn_regularization(
            data, trials=tried, no_trials=why_not, allowance=self.allowance, seed=job.seed, options=self.options
        )
        if tried is not None:
            domain = regularization.augmentation().of(tried.data.domain)
            tried.data = dataclasses.replace(tried.data, domain=domain)
        ssl = learn_ssl(
            data,
            mu=getattr(job.method, "mu", 1),
            batch_size=job.batch_size,
            rows_per_s=rows_per_s,
            run=run,
            trials=tried,
            no_trials=why_not,
            method=_configured(job),
            options=self.options,
        )
        if tried is not None:
            ssl = dataclasses.replace(ssl, figures={**ssl.figures, "trials": tried.to_json()})
        plan = Plan(
            data=data_part,
            architecture=architecture,
            optimization=optimization,
            regularization=regularization,
            ssl=ssl,
            budget=self.asked_budget,
            note=self.allowance.refusal,
        )
        return plan, prepared

    def _one_run(self, num_runs: int) -> Budget:
        """The budget of each training run after planning."""
        budget = self.budget
        if not budget.is_timed:
            return budget
        share = (1 - SHARE) / num_runs
        return Budget(
            wall_s=None if budget.wall_s is None else budget.wall_s * share,
            cpu_s=None if budget.cpu_s is None else budget.cpu_s * share,
        )

    def _with(self, learned: Mapping[str, Any]) -> dict[str, Any]:
        """The learned settings, overridden by the user's; objects stay objects."""
        table = merged(learned, self.options)
        return {key: value for key, value in table.items() if not (self.module and key == "network")} | self.objects

    def _speed(self, prepared: Prepared, figures: Mapping[str, Any]) -> float | None:
        """Training speed of the planned network in rows per second: as measured during planning, or now."""
        if self.allowance.refusal:
            return None
        data, name = prepared.data, prepared.network_name
        for speed in figures.get("speeds", ()):
            if speed["network"] == name:
                return float(speed["rows_per_s"])
        measured = training_speed(
            copy.deepcopy(prepared.network),
            name,
            data.row_shape,
            data.domain,
            canvas=data.rows.shape[-1],
            batch_size=32,
            device=self.device,
            clock=self.allowance.read,
            limit_s=0.02 * self.allowance.whole_s,
        )
        return measured.rows_per_s

    def _trials(
        self, experiment: Experiment, prepared: Prepared, rows_per_s: float | None, allowed: bool
    ) -> tuple[Trials | None, str]:
        """Trials on the rest of the allowance, or why there are none."""
        if self.allowance.refusal or rows_per_s is None:
            return None, f"nothing was tried, since {self.allowance.refusal}"
        if not allowed:
            return None, "nothing was tried, since every label tests a model in some fold or seed"
        job, labels = prepared.job, prepared.roles.collection.labels
        held_out = held_out_of(prepared.data, labels, job.seed)
        if held_out is None:
            count = len(prepared.data.labeled)
            return None, f"nothing was tried, since {count:,} labels leave too few images to test trials"
        seconds = self._seconds_of_trial()
        steps = seconds * rows_per_s / job.batch_size
        if steps < MIN_STEPS:
            return None, f"nothing was tried, since a trial would be of {steps:.0f} steps and say nothing"
        rest, rows = held_out
        trials = Trials(
            data=rest,
            held_out=rows,
            labels=labels[rows],
            network=prepared.network,
            network_name=prepared.network_name,
            settings=dataclasses.replace(job.settings(), method=_configured(job)),
            budget=self.allowance.part(seconds),
            folder=None if self.folder is None else self.folder / "plan",
            observe=(experiment.log.watch.step,),
        )
        return trials, ""

    def _seconds_of_trial(self) -> float:
        """Seconds for each trial; an interrupted plan continues with those it wrote down."""
        path = None if self.folder is None else self.folder / "plan" / "seconds.json"
        if path is not None and path.exists():
            return float(read_json(path)["seconds"])
        if path is not None:
            read_decisions(path)  # refuses when trials were begun and it is lost
        others = _FIRST_TRAINING_S + SYMMETRIES_SHARE * self.allowance.whole_s
        seconds = _SPARE * max(0.0, self.allowance.left_s - others) / MAX_TRIALS
        if path is not None:
            with explain_write_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"seconds": seconds})
        return seconds


def _images_in_words(experiment: Experiment, parts: int) -> str:
    """The training images in words; without numbers for several seeds or folds, where they differ."""
    if parts > 1 or experiment.prepared is None:
        return "labeled and unlabeled images"
    splits = experiment.prepared.splits
    what = "images" if experiment.collection.is_images else "rows"
    return f"{len(splits.labeled):,} labeled and {len(splits.unlabeled):,} unlabeled {what}"


def _configured(job: Job) -> Method[Any]:
    """The default method with `mu`, criterion and weight averaging of the job's method."""
    cls = METHODS.get(DEFAULT)
    shared = {name: getattr(job.method, name) for name in ("mu", "criterion", "ema_decay") if hasattr(job.method, name)}
    method: Method[Any] = cls(**shared)
    return method


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables merged; values of `above` win."""
    table = dict(below)
    for key, value in above.items():
        mine = table.get(key)
        table[key] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return table

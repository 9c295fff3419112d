"""`understudy.train`, and `understudy.plan`, which returns its plan without training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from understudy.api.environment import refuse_torchrun
from understudy.api.result import Result, in_place, result_of
from understudy.api.save import save_run
from understudy.api.train_arguments import Arguments
from understudy.core.arguments import is_whole
from understudy.core.budget import Cost
from understudy.core.errors import Interrupted
from understudy.core.spending import EVALUATION, READING, REPORT, Spending, spent_line
from understudy.core.stopping import signals_interrupt
from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.display.outcome import print_end
from understudy.display.plans import print_plan
from understudy.display.with_progress import with_progress
from understudy.engine.rundir import IDENTITY
from understudy.evaluation.repeats import Repeats
from understudy.experiment.experiment import Experiment
from understudy.experiment.job import make_job
from understudy.experiment.log import Log, Silent, Watcher
from understudy.experiment.outcome import Outcome
from understudy.experiment.repeats import Repetition, train_folds, train_seeds
from understudy.experiment.run import run_experiment
from understudy.inspection.quick_checks import quick_checks
from understudy.models import as_module, prepared
from understudy.planning.plan import Plan
from understudy.planning.planner import Planner
from understudy.reports.write import expected_seconds


@with_progress(finish=print_end)
def train(
    source: Any = None,
    *,
    unlabeled: Any = None,
    test: Any = None,
    validation: Any = None,
    network: str | nn.Module | Callable[[], nn.Module] = "auto",
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    tensorboard: str | Path | None = None,
    watch: Watcher | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
    config: Mapping[str, Any] | None = None,
    repeats: int | None = None,
    folds: int | None = None,
    plan: bool | str | Path | Plan = True,
    verbose: int = 0,
    **options: Any,
) -> Result:
    """Train with and without the unlabeled images at equal cost, and test which model is better.

    A plan first sets whatever the arguments leave open, from the images and the speed of the machine. Then both models
    are trained and compared on test images. A model that is significantly better is delivered; otherwise validation
    images decide.

    Args:
        source: Labeled images, of which some may lack a label: a folder per class, a manifest, (X, y) arrays with -1
            for unlabeled, a map-style data set, or a name such as "digits".
        unlabeled: Unlabeled images: a folder, any of the above, or a list of these; labels are ignored.
        test: Labeled test images; by default held out from `source`. They select nothing.
        validation: Labeled validation images, which select the best weights, a temperature and, if planned, the
            settings. Without `test` they are test images instead; of more than 400, half are for validation.
        network: A name, your own module, which is trained in place, or a class or function that builds one, also as
            `file.py:factory` or `package.module:factory`.
        folder: A new run folder, or that of an interrupted run; without one only decoded images are written.
        cache: Folder that caches decoded images for later calls.
        tensorboard: Folder for a log of every evaluation in TensorBoard's format.
        watch: Replaces the display: an `understudy.experiment.log.Watcher`.
        quiet: No display and no output. Otherwise a terminal shows progress bars, a notebook an updated line, and a
            file gets a line now and then.
        config: A table of options, as read from a TOML file; arguments override it.
        repeats: Number of seeds, from `seed` on, each with an equal part of the budget; the result reports what holds
            across seeds.
        folds: Number of folds of a cross-validation: every labeled image is tested once; then train on all labels.
        plan: True plans all settings that are not given, within a fifth of a timed budget; False takes fixed
            defaults. A plan, or the path of its file, is used unchanged.
        verbose: 0 shows what will be trained, and why; 1 also shows every choice of the plan with its reason.
        options: Any field of `Job`, by name: `budget="10m"`, `method="fixmatch"`, `seed=1`; `preset="fast"` for the
            settings of a preset, which all others override. A method or optimizer is a name or an object.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "method": "fixmatch", "budget": "10steps", "plan": False, "quiet": True}
        >>> result = understudy.train("digits", **options)
        >>> sorted(result.runs)
        ['fixmatch', 'supervised']
        >>> result.metrics.n
        500

    Raises:
        UserError: An argument cannot be used; the message says what to do.
        Interrupted: Ctrl-C or SIGTERM; the same call with the same folder continues.
    """
    begun = Cost.now()
    arguments = Arguments(
        source=source,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        network=network,
        folder=folder,
        cache=cache,
        tensorboard=tensorboard,
        watch=watch,
        config=config,
        repeats=repeats,
        folds=folds,
        plan=plan,
        verbose=verbose,
        options=options,
    )
    try:
        with signals_interrupt():
            return _train(arguments, begun)
    except (KeyboardInterrupt, Interrupted):
        raise _stopped(folder) from None


def train_since(begun: Cost, source: Any = None, **arguments: Any) -> Result:
    """Train as `train` does with the same arguments, without a display, on a budget that began at `begun`."""
    return _train(Arguments(source=source, **arguments), begun)


@with_progress(finish=print_plan)
def plan(
    source: Any = None,
    *,
    unlabeled: Any = None,
    test: Any = None,
    validation: Any = None,
    network: str | nn.Module | Callable[[], nn.Module] = "auto",
    cache: str | Path | None = None,
    watch: Watcher | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Plan a training run as `train` does: every setting with its reason, within a fifth of a timed budget.

    Args:
        source: As for `train`; likewise all arguments not listed here.
        network: A name, or your own module, which is not changed.
        quiet: No display and no output.
        config: A table of options, as read from a TOML file; arguments override it.
        options: Any field of `Job`, by name; it is kept, and the other settings are planned to suit it.

    Examples:
        >>> import understudy
        >>> plan = understudy.plan("digits", num_labels=40, budget="20steps", quiet=True)
        >>> plan.options()["domain"]
        'digits'

    Raises:
        UserError: An argument cannot be used; the message says what to do.
    """
    arguments = Arguments(
        source=source,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        network=network,
        cache=cache,
        watch=watch,
        config=config,
        options=options,
    )
    setup = _set_up(arguments, arguments.table(), Spending())
    assert setup.planner is not None
    setup.experiment.announce()
    choices, _ = setup.planner.plan(setup.experiment)
    return choices


@dataclass(frozen=True, eq=False)
class _SetUp:
    """A call with its images read.

    Args:
        own: The user's network itself, which gets the delivered weights.
    """

    experiment: Experiment
    planner: Planner | None
    own: nn.Module | None


def _train(arguments: Arguments, begun: Cost) -> Result:
    """Resolve, set up, plan, run and save."""
    refuse_torchrun()
    table = arguments.table()
    repetition = Repetition.taken_from(table)
    was_begun = arguments.was_begun
    setup = _set_up(arguments, table, Spending(begun))
    experiment, folder = setup.experiment, arguments.path
    experiment.claim(repeats=str(repetition))
    if was_begun and folder is not None and not (folder / "result.json").exists():
        experiment.log.watch.message(f"continuing the run in {folder}")
    experiment.announce()
    resumed = bool(experiment.budget_split.granted())
    plan: Plan | None = None
    if setup.planner is not None:
        parts = repetition.num_parts
        experiment, plan = setup.planner.planned(
            experiment, trials=parts == 1, parts=parts, verbose=bool(arguments.verbose)
        )
    outcome, repeats = _run(experiment, repetition, plan)
    spending = experiment.spending
    spending.enter(EVALUATION)
    result = in_place(result_of(outcome, plan, repeats), setup.own)
    save_run(result, experiment, repetition)
    if folder is not None:
        spending.enter(REPORT)
        result.report(folder / "report.html")
    experiment.log.watch.message(spent_line(spending.parts, experiment.job.budget, resumed=resumed))
    return result


def _set_up(arguments: Arguments, table: Mapping[str, Any], spending: Spending) -> _SetUp:
    """Read the images of a call, of the size that is asked for or planned, and make them an experiment."""
    own = None if isinstance(arguments.network, str) else as_module(arguments.network)
    folder, watch = arguments.path, arguments.watch
    planner = None
    if arguments.plan is not False:
        planner = Planner(table, module=own, folder=folder, given=arguments.plan_to_use(), spending=spending)
    spending.enter(READING)
    num_labels = table.get("num_labels")
    collection = load(
        arguments.source,
        unlabeled=arguments.unlabeled,
        test=arguments.test,
        validation=arguments.validation,
        size=table.get("size") or None,
        channels=table.get("channels") or None,
        cache=arguments.cache,
        num_labels=num_labels if is_whole(num_labels, 1) else None,
        observe=None if watch is None else watch.decoding,
        choose_size=None if planner is None else planner.choose_size,
    )
    collection = dataclasses.replace(collection, notes=(*collection.notes, *quick_checks(collection)))
    module, collection = _as_trained(own, collection)
    if planner is not None:
        planner.module = module
    named = arguments.source if isinstance(arguments.source, str) else ""
    experiment = Experiment(
        name=arguments.name,
        collection=collection,
        job=make_job(table, collection, module, named=named),
        module=module,
        folder=folder,
        log=Log(watch or Silent()),
        begun=spending.begun.wall_s,
        tensorboard=None if arguments.tensorboard is None else Path(arguments.tensorboard),
        spending=spending,
        report_s=None if folder is None else expected_seconds,
    )
    return _SetUp(experiment, planner, own)


def _run(experiment: Experiment, repetition: Repetition, plan: Plan | None) -> tuple[Outcome, Repeats | None]:
    """Train once, or with every seed or fold, each of which is saved when it ends."""

    def keep(outcome: Outcome) -> None:
        if outcome.experiment.folder is not None:
            save_run(result_of(outcome, plan), outcome.experiment, Repetition())

    if repetition.folds:
        return train_folds(experiment, repetition.folds, keep)
    if repetition.repeats:
        return train_seeds(experiment, repetition.repeats, keep)
    return run_experiment(experiment), None


def _as_trained(own: nn.Module | None, collection: Collection) -> tuple[nn.Module | None, Collection]:
    """A copy of the user's own network as it is trained, and the images with what was adapted among the notes."""
    if own is None:
        return None, collection
    module, notes = prepared(own, collection.shape, len(collection.classes), collection.ranges)
    return module, dataclasses.replace(collection, notes=(*collection.notes, *notes))


def _stopped(folder: str | Path | None) -> Interrupted:
    """What a stopped call says: the folder to pass again, not the one below it that was being written."""
    if folder is None:
        return Interrupted("stopped; nothing is saved, since no folder was given")
    if not (Path(folder) / IDENTITY).exists():
        return Interrupted("stopped before anything was saved; repeat the call to begin again")
    return Interrupted(f"stopped; everything is saved in {folder}, repeat the call to continue")

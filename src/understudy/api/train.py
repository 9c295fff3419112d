"""From images to a proven classifier: `train`, the `Result` it gives, and `evaluate`."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from understudy.core.arguments import check, is_whole
from understudy.core.arguments import shown as quoted
from understudy.core.brief import Brief
from understudy.core.budget import Cost
from understudy.core.config import to_table
from understudy.core.errors import DataError, Interrupted, UserError
from understudy.core.files import FORMAT, explained, write_json
from understudy.core.spending import EVALUATION, READING, REPORT, Spending, spent_line
from understudy.core.stopping import signals_interrupt
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.data.roles import check_test_labels
from understudy.data.split import Splits
from understudy.display.outcome import print_end
from understudy.display.plans import print_plan
from understudy.display.shown import shown
from understudy.engine.finalize import Trained
from understudy.engine.predict import predict
from understudy.engine.rundir import IDENTITY
from understudy.evaluation.metrics import Metrics, measure
from understudy.evaluation.no_verdict import NoVerdict
from understudy.evaluation.repeats import Repeats
from understudy.evaluation.verdict import Verdict
from understudy.experiment.diagnostics import Findings, Finished, look
from understudy.experiment.experiment import Command, Judged, Silent, Watcher
from understudy.experiment.job import make_job, resolve
from understudy.experiment.repeats import Repetition, held_out_of, train_folds, train_seeds
from understudy.inspection.quick_checks import first_look
from understudy.inspection.unrelated import PoolFilter
from understudy.models import as_module, load_state, prepared
from understudy.planning.plan import Plan
from understudy.planning.planner import Planner
from understudy.recipes.pretrain import Pretrain
from understudy.reports.figures.labels import draw_rounds
from understudy.reports.figures.model import accuracies
from understudy.reports.figures.picture import percent
from understudy.reports.figures.probes import draw_probes
from understudy.reports.figures.style import framed, svg
from understudy.reports.record import RunRecord
from understudy.reports.write import expected_seconds, page_of, write_page
from understudy.serving.predictor import Predictions, Predictor


@dataclass(frozen=True, eq=False, repr=False)
class Result(Brief):
    """What training gives.

    Args:
        verdict: Did the unlabeled images help; a `NoVerdict`, which is false and says why, when nothing was compared.
        model: The delivered classifier: an ordinary module, averaged weights, evaluation mode.
        metrics: The delivered model on the test images; None when none were held out.
        runs: Each trained run by name: "supervised" and the method's.
        run_metrics: Their metrics, by the same names.
        predictions: The delivered model's predictions of the test images.
        pseudo_labels: Accuracy and coverage of the pseudo-labels over training, when labels were hidden.
        findings: What a report tells beyond that: calibration, mistakes, suspected label errors, the pool, pictures.
        training: What was trained and how, in a few words each.
        spent: Seconds on both clocks by part, up to the evaluation: start, reading, planning, training, evaluation.
        folder: Where everything was saved, if anywhere.
        plan: What was chosen and why; None where fixed defaults were asked for.
        repeats: What all seeds or folds say together, where several were asked for. The rest is then of the first seed,
            or of the final model; without other images to judge that one, its metrics and predictions are those of the
            folds' models on images they had not seen, and the verdict is that of the folds in any case.
    """

    verdict: Verdict | NoVerdict
    model: nn.Module
    metrics: Metrics | None
    predictor: Predictor
    runs: Mapping[str, Trained]
    run_metrics: Mapping[str, Metrics]
    predictions: Predictions | None
    splits: Splits
    notes: tuple[str, ...]
    pseudo_labels: tuple[Mapping[str, Any], ...]
    findings: Findings
    training: Mapping[str, Any]
    spent: Mapping[str, Mapping[str, float]]
    folder: Path | None
    plan: Plan | None = None
    repeats: Repeats | None = None

    def brief(self) -> tuple[str, ...]:
        """The verdict, the accuracy of each model, and the folder."""
        first = self.verdict.sentences()[0] if self.repeats is None else self.repeats.sentences[0]
        models = (
            f"{name}: {percent(metrics.accuracy)} % of {metrics.n:,} held-out images, {self.runs[name].steps:,} steps"
            for name, metrics in self.run_metrics.items()
        )
        where = "not saved" if self.folder is None else f"saved in {self.folder}, with report.html"
        return (first, *models, where)

    def _repr_html_(self) -> str:
        picture = accuracies(self.to_json())
        return super()._repr_html_() + ("" if picture is None else framed(svg(picture.figure)))

    def predict(self, source: Any, **options: Any) -> Predictions:
        """Class probabilities of new images; see `Predictor.predict`."""
        return self.predictor.predict(source, **options)

    def evaluate(self, source: Any, *, cache: str | Path | None = None) -> Metrics:
        """The metrics of the delivered model on labeled images; of a source with a test part, on that part.

        Raises:
            UserError: The images cannot be used, no image is labeled, or a class is unknown to the model.
        """
        check(cache=cache)
        return measured(self.predictor, source, cache=cache)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report, one self-contained HTML file with its figures beside it, and give its path.

        Raises:
            UserError: The file cannot be written.
        """
        check(path=path)
        record = RunRecord(
            name=self.findings.figures["data"]["name"] if self.folder is None else self.folder.resolve().name,
            result={**self.to_json(), "environment": _environment()},
            pictures=self.findings.pictures,
            held_out=self.findings.held_out,
        )
        return write_page(page_of([record]), Path(path))

    def to_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        return {
            "format": FORMAT,
            "training": dict(self.training),
            "spent": {name: dict(clocks) for name, clocks in self.spent.items()},
            "plan": None if self.plan is None else self.plan.to_json(),
            **self.findings.figures,
            "verdict": self.verdict.to_json() if isinstance(self.verdict, Verdict) else None,
            "metrics": {name: metrics.to_json() for name, metrics in self.run_metrics.items()},
            "runs": {name: _run_to_json(trained) for name, trained in self.runs.items()},
            "pseudo_labels": [_without_nan(line) for line in self.pseudo_labels],
            "notes": list(self.notes),
            **({} if self.repeats is None else {"repeats": self.repeats.to_json()}),
        }


@shown(finish=print_end)
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
    quiet: bool = False,  # noqa: ARG001 - read by `shown`
    config: Mapping[str, Any] | None = None,
    repeats: int | None = None,
    folds: int | None = None,
    plan: bool | str | Path | Plan = True,
    verbose: int = 0,
    **options: Any,
) -> Result:
    """Train with and without the unlabeled images at equal cost, and say which model to use.

    Args:
        source: Labeled images, some of which may be unlabeled: a folder per class, a manifest, (X, y) arrays with -1
            for unlabeled, a map-style data set, or a name such as "digits".
        unlabeled: More images: a flat folder, any of the above, or a list of these.
        test: Labeled images that test the finished model and select nothing.
        validation: Labeled images that select the best weights, a temperature and, where it is planned, the settings.
            Without `test` they test the finished model instead; of more than 400, half select.
        network: A name, your own module, which is trained in place, or a class or function that builds one, also as
            `file.py:factory` or `package.module:factory`.
        folder: A new or interrupted run folder; without one nothing is written but decoded images.
        cache: Folder of decoded images, shared between runs.
        tensorboard: Folder for a log of every evaluation, as TensorBoard reads it.
        watch: Whoever shows how it goes in place of the display; see `understudy.experiment.experiment.Watcher`.
        quiet: Show and print nothing. Otherwise a terminal shows bars, a notebook a line that is updated, and a file
            gets a line now and then.
        config: A table of options, as read from a TOML file; what is given beside it overrules it.
        repeats: Train with so many seeds, from `seed` on, each with its part of the budget, and sum them up.
        folds: Let every labeled image judge once, by models trained on the other folds; then train on all labels.
        plan: Whether whatever is not given is learned from the images and the machine, within a fifth of a timed
            budget; False takes fixed defaults, and a plan, or the file of one, is used as it is.
        verbose: 1 also shows every choice of the plan with its reason; 0 shows what will be trained, and why.
        options: Any field of `Job`, by name: `budget="10m"`, `method="fixmatch"`, `seed=1`; `preset="fast"` for the
            settings of a preset, which all others overrule. A method or optimizer is
            given by name or as an object.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "method": "fixmatch", "budget": "10steps", "plan": False, "quiet": True}
        >>> result = understudy.train("digits", **options)
        >>> sorted(result.runs)
        ['fixmatch', 'supervised']
        >>> result.metrics.n
        500

    Raises:
        UserError: Something given cannot be used; the sentence says what to do.
        Interrupted: Ctrl-C or SIGTERM came; the same call with the same folder goes on.
    """
    try:
        with signals_interrupt():
            return train_since(
                Cost.now(),
                source,
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
                **options,
            )
    except (KeyboardInterrupt, Interrupted):
        raise _stopped(folder) from None


def train_since(
    begun: Cost,
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
    config: Mapping[str, Any] | None = None,
    repeats: int | None = None,
    folds: int | None = None,
    plan: bool | str | Path | Plan = True,
    verbose: int = 0,
    **options: Any,
) -> Result:
    """As `train`, without a display of its own, by a budget that began at `begun`."""
    check(folder=folder, cache=cache, tensorboard=tensorboard, watch=watch, config=config, repeats=repeats, folds=folds)
    check(verbose=verbose)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            "train runs in one process and was started in several; call it without torchrun, or use understudy.fit"
        )
    spending = Spending(begun)
    own = None if isinstance(network, str) else as_module(network)
    table = _table(config, options, network)
    table |= {name: given for name, given in (("repeats", repeats), ("folds", folds)) if given is not None}
    repetition = Repetition.taken_from(table)
    where = None if folder is None else Path(folder)
    was_begun = where is not None and (where / IDENTITY).exists()
    if where is not None and was_begun and all(one is None for one in (source, unlabeled, test, validation)):
        raise _no_images_for(where)
    planner = None
    if not isinstance(plan, bool | str | Path | Plan):
        raise UserError(f"plan is {quoted(plan)}; give True, False, a plan or the file of one")
    if plan is not False:
        given = Plan.load(plan) if isinstance(plan, str | Path) else plan if isinstance(plan, Plan) else None
        planner = Planner(table, module=own, folder=where, given=given, spending=spending)
    spending.enter(READING)
    collection = _read(source, unlabeled, test, validation, table, cache, watch, planner)
    module, collection = _prepared(own, collection)
    if planner is not None:
        planner.module = module
    command = Command(
        name=Path(source).name if isinstance(source, str | Path) else "images given in memory",
        collection=collection,
        job=make_job(table, collection, module, named=source if isinstance(source, str) else ""),
        module=module,
        folder=where,
        watch=watch or Silent(),
        begun=begun.wall_s,
        spending=spending,
        report_s=None if where is None else expected_seconds,
        tensorboard=None if tensorboard is None else Path(tensorboard),
        pool_filter=PoolFilter(),
    )
    command.claim(repeats=str(repetition))
    if was_begun and where is not None and not (where / "result.json").exists():
        command.watch.message(f"going on with the run in {where}")
    command.announce()
    resumed = bool(command.recorded_budgets())
    planned: Plan | None = None
    if planner is not None:
        parts = repetition.repeats or (repetition.folds + 1 if repetition.folds else 1)
        command, planned = planner.planned(command, trials=parts == 1, parts=parts, verbose=bool(verbose))

    def keep(judged: Judged) -> None:
        if judged.command.folder is not None:
            _save(_result(judged, planned), judged.command, Repetition())

    found: Repeats | None = None
    if repetition.folds:
        judged, found = train_folds(command, repetition.folds, keep)
    elif repetition.repeats:
        judged, found = train_seeds(command, repetition.repeats, keep)
    else:
        judged = command.run()
    spending.enter(EVALUATION)
    result = _in_place(_result(judged, planned, found), own)
    _save(result, command, repetition)
    if where is not None:
        spending.enter(REPORT)
        result.report(where / "report.html")
    command.watch.message(spent_line(spending.parts, command.job.budget, resumed=resumed))
    return result


def _stopped(folder: str | Path | None) -> Interrupted:
    """What a stopped call says: the folder to pass again, not the one below it that was being written."""
    if folder is None:
        return Interrupted("stopped; nothing is saved, since no folder was given")
    if not (Path(folder) / IDENTITY).exists():
        return Interrupted("stopped before anything was saved; repeat the call to begin again")
    return Interrupted(f"stopped; everything is saved in {folder}, repeat the call to go on")


def _no_images_for(folder: Path) -> DataError:
    """The error for a call that only names the folder of a run, which does not hold the images."""
    from_command_line = (folder / "request.json").exists()
    way = f"go on with: understudy train --resume {folder}" if from_command_line else "repeat the call that began it"
    return DataError(f"no images were given, and {folder} holds a run; {way}, or give images and a new folder")


@shown(finish=print_plan)
def plan(
    source: Any = None,
    *,
    unlabeled: Any = None,
    test: Any = None,
    validation: Any = None,
    network: str | nn.Module | Callable[[], nn.Module] = "auto",
    cache: str | Path | None = None,
    watch: Watcher | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `shown`
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Every choice of a training run with its reason, as `train` makes them; about a fifth of the budget is spent.

    Args:
        network: A name, or your own module, which is looked at and left as it is.
        watch: As for `train`.
        quiet: Show and print nothing.
        config: A table of options, as read from a TOML file; what is given beside it overrules it.
        options: Any field of `Job`, by name; it is taken as given, and the rest is planned around it.

    Examples:
        >>> import understudy
        >>> plan = understudy.plan("digits", num_labels=40, budget="20steps", quiet=True)
        >>> plan.options()["domain"]
        'digits'

    Raises:
        UserError: Something given cannot be used; the sentence says what to do.
    """
    check(cache=cache, watch=watch, config=config)
    own = None if isinstance(network, str) else as_module(network)
    table = _table(config, options, network)
    planner = Planner(table, module=own)
    collection = _read(source, unlabeled, test, validation, table, cache, watch, planner)
    module, collection = _prepared(own, collection)
    planner.module = module
    command = Command(
        name="",
        collection=collection,
        job=make_job(table, collection, module, named=source if isinstance(source, str) else ""),
        module=module,
        folder=None,
        watch=watch or Silent(),
        begun=planner.spending.begun.wall_s,
        spending=planner.spending,
        pool_filter=PoolFilter(),
    )
    command.announce()
    return planner.plan(command)


def _table(config: Mapping[str, Any] | None, options: Mapping[str, Any], network: object) -> dict[str, Any]:
    """All options in one table."""
    named = {"network": network} if isinstance(network, str) and network != "auto" else {}
    return resolve({**options, **named}, config=config)


def _prepared(own: nn.Module | None, collection: Collection) -> tuple[nn.Module | None, Collection]:
    """A copy of the user's own network as it is trained, and the images with what was adapted among the notes."""
    if own is None:
        return None, collection
    module, notes = prepared(own, collection.shape, len(collection.classes), collection.ranges)
    return module, dataclasses.replace(collection, notes=(*collection.notes, *notes))


def _read(
    source: Any,
    unlabeled: Any,
    test: Any,
    validation: Any,
    table: Mapping[str, Any],
    cache: str | Path | None,
    watch: Watcher | None,
    planner: Planner | None,
) -> Collection:
    """The images, at the size asked for or planned, with a first look's warnings among the notes."""
    num_labels = table.get("num_labels")
    collection = load(
        source,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        num_labels=num_labels if is_whole(num_labels, 1) else None,
        size=table.get("size") or None,
        channels=table.get("channels") or None,
        cache=cache,
        observe=None if watch is None else watch.decoding,
        choose_size=None if planner is None else planner.choose_size,
    )
    return dataclasses.replace(collection, notes=(*collection.notes, *first_look(collection)))


def _result(judged: Judged, plan: Plan | None, repeats: Repeats | None = None) -> Result:
    """The result that a finished run gives."""
    command, delivered = judged.command, judged.delivered
    job, labels = command.job, command.collection.labels
    splits, held = held_out_of(judged)
    judge = splits.test
    metrics: dict[str, Metrics] = {}
    if len(judge):
        metrics = {
            name: measure(labels[judge], found["test"], classes=judged.data.classes) for name, found in held.items()
        }
    trained = judged.runs[delivered]
    network_name = trained.network_name or judged.network_name
    data = judged.data
    predictor = Predictor(
        trained.model,
        network_name,
        data.classes,
        data.row_shape,
        job.domain,
        job.test_time_averaging,
        data.domain.hflip,
        command.collection.ranges,
    )
    predictions = None
    if len(judge):
        names = tuple(str(name) for name in command.collection.names[judge])
        predictions = Predictions(names, data.classes, held[delivered]["test"])
    finished = Finished(
        name=command.name,
        domain=job.domain,
        collection=command.collection,
        splits=splits,
        data=data,
        runs=judged.runs,
        held=held,
        delivered=delivered,
        hidden=judged.hidden,
        device=job.device,
        seed=job.seed,
        corrupted=job.corrupted,
        out_of_fold=judged.out_of_fold,
    )
    findings = look(finished)
    return Result(
        verdict=judged.verdict or NoVerdict(),
        model=trained.model,
        metrics=metrics.get(delivered),
        predictor=predictor,
        runs=judged.runs,
        run_metrics=metrics,
        predictions=predictions,
        splits=judged.splits,
        notes=tuple(command.log),
        pseudo_labels=judged.pseudo_labels,
        findings=findings,
        training={
            "method": job.method.name,
            "recipe": job.recipe.name,
            **({"downstream": job.recipe.downstream.name} if isinstance(job.recipe, Pretrain) else {}),
            "network": network_name,
            "optimizer": job.optimizer.name,
            "budget": job.budget.text,
            "seed": job.seed,
        },
        spent=command.spending.to_json(),
        folder=command.folder,
        plan=plan,
        repeats=repeats,
    )


def _in_place(result: Result, module: nn.Module | None) -> Result:
    """The result with the delivered weights in the user's own network, if it was one."""
    if module is None:
        return result
    load_state(module, result.model.state_dict())
    module.eval()
    return dataclasses.replace(result, model=module)


def _save(result: Result, command: Command, repetition: Repetition) -> None:
    """Write everything a person or a later command wants to find."""
    import tomli_w

    folder = command.folder
    if folder is None:
        return
    sentences = result.verdict.sentences() if result.verdict else ()
    lines = [*result.notes, *(sentences if result.repeats is None else result.repeats.sentences)]
    options = repetition.options() | to_table(command.job)
    with explained(folder):
        (folder / "config.toml").write_text(tomli_w.dumps(options), encoding="utf-8")
        (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        result.splits.save(folder / "splits.json", command.collection)
    write_json(folder / "quarantine.json", [{"file": f, "reason": r} for f, r in command.collection.quarantine])
    if result.predictions is not None:
        result.predictions.save(folder / "predictions.csv")
    for trained in result.runs.values():
        rounds = [line for line in trained.rounds if "returned" in line]
        if any("coverage" in line for line in rounds):
            with explained(folder):
                draw_rounds(rounds, result.predictor.classes, folder / "rounds.png")
        probes = [line for line in trained.rounds if "kept" in line]
        if probes:
            with explained(folder):
                draw_probes(probes, folder / "probes.png")
    result.findings.save(folder)
    write_json(folder / "result.json", {**result.to_json(), "environment": _environment()})
    result.predictor.save(folder)  # last: its presence says that the run is finished


@shown()
def evaluate(
    folder: str | Path,
    source: Any,
    *,
    network: nn.Module | str | Callable[[], nn.Module] | None = None,
    cache: str | Path | None = None,
    watch: Watcher | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `shown`
) -> Metrics:
    """The metrics of a run folder's classifier on labeled images; of a source with a test part, on that part.

    Args:
        network: Your own module, for a run that trained one; see `Predictor.load`.
        watch: As for `train`.
        quiet: Show nothing.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "method": "supervised", "budget": "10steps", "plan": False, "quiet": True}
        >>> result = understudy.train("digits", folder="run", **options)
        >>> metrics = understudy.evaluate("run", "digits", quiet=True)
        >>> metrics.accuracy == result.metrics.accuracy
        True

    Raises:
        UserError: The folder or the images cannot be used, no image is labeled, or a class is unknown to the model.
    """
    check(cache=cache, watch=watch)
    return measured(Predictor.load(folder, network), source, cache=cache, watch=watch)


def measured(
    predictor: Predictor, source: Any, *, cache: str | Path | None = None, watch: Watcher | None = None
) -> Metrics:
    """The metrics of a classifier on the labeled images of a source; see `evaluate`."""
    shape = predictor.shape
    size, channels = (shape[1], shape[0]) if len(shape) == 3 else (None, None)
    observe = watch.decoding if watch else None
    collection = load(
        source, size=size, channels=channels, cache=cache, observe=observe, ranges=predictor.ranges
    ).in_classes(predictor.classes)
    check_test_labels(collection.labels, collection.parts)
    known = np.flatnonzero((collection.labels >= 0) & (collection.parts != Part.PSEUDO))
    tests = known[collection.parts[known] == Part.TEST]
    known = tests if len(tests) else known  # a source that names its test images has others that were trained on
    if not len(known):
        raise UserError("none of the images is labeled; evaluation needs a folder per class or a label column")
    data, averaging = predictor.as_data(collection), predictor.test_time_averaging
    found = predict(predictor.network, data, known, test_time_averaging=averaging)
    return measure(collection.labels[known], found, classes=predictor.classes)


def _without_nan(line: Mapping[str, Any]) -> dict[str, Any]:
    """The line with null where a figure is not known, for JSON has no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in line.items()}


def _run_to_json(trained: Trained) -> dict[str, Any]:
    plain = {name: getattr(trained, name) for name in ("steps", "best_step", "stopped")}
    return plain | {
        "cost": asdict(trained.cost),
        "execution": asdict(trained.execution),
        "history": list(trained.history),
        "rounds": list(trained.rounds),
    }


def _environment() -> dict[str, Any]:
    packages = ("understudy", "torch", "numpy", "scikit-learn")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: version(name) for name in packages},
    }

"""From images to a proven classifier: `train`, the `Result` it gives, and `evaluate`."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Budget
from understudy.core.config import to_table
from understudy.core.errors import UserError
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.data.simulate import HiddenLabels, simulate
from understudy.data.split import Splits, split
from understudy.data.training import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.fit import Trained, fit
from understudy.engine.observers import HistoryLines, Observer, PictureGrids, PseudoLabelQuality, Report
from understudy.engine.predict import predict
from understudy.engine.rundir import FORMAT, RunFolder, explained, read_json, write_json
from understudy.engine.stage import Stage
from understudy.evaluation.metrics import Metrics, are_imbalanced, measure
from understudy.evaluation.verdict import Candidate, HeldOut, Verdict, judge
from understudy.methods.supervised import Supervised
from understudy.models import check_network
from understudy.recipes.findings import Findings, Finished, look
from understudy.recipes.job import Job, as_training_data, initial_network, make_job
from understudy.recipes.plain import Plain
from understudy.reports.probes import draw_probes
from understudy.reports.record import RunRecord
from understudy.reports.rounds import draw_rounds
from understudy.reports.write import page_of, write_page
from understudy.serving.predictor import Predictions, Predictor

_RESERVE = 0.03
_LEAST_SHARE_TO_TRAIN = 0.2


class Watcher(Protocol):
    """Whoever shows a person what is going on."""

    def message(self, text: str) -> None:
        """Something worth knowing, in a sentence."""

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""

    def step(self, report: Report) -> None:
        """A finished training step."""


class Silent:
    """A watcher that shows nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def step(self, report: Report) -> None:
        """Nothing."""


@dataclass(frozen=True, eq=False)
class Result:
    """What training gives.

    Args:
        verdict: Did the unlabeled images help; None when there was nothing to compare.
        model: The delivered classifier: an ordinary module, averaged weights, evaluation mode.
        metrics: The delivered model on the images that judge; None when none were held out.
        runs: Each trained run by name: "supervised" and the method's.
        run_metrics: Their metrics, by the same names.
        predictions: The delivered model's predictions of the images that judge.
        pseudo_labels: Accuracy and coverage of the pseudo-labels over training, when labels were hidden.
        findings: What a report tells beyond that: calibration, mistakes, suspected label errors, the pool, pictures.
        training: What was trained and how, in a few words each.
        folder: Where everything was saved, if anywhere.
    """

    verdict: Verdict | None
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
    folder: Path | None

    def predict(self, source: Any, **options: Any) -> Predictions:
        """Class probabilities of new images; see `Predictor.predict`."""
        return self.predictor.predict(source, **options)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report, one self-contained HTML file with its figures beside it, and give its path.

        Raises:
            UserError: The file cannot be written.
        """
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
            **self.findings.figures,
            "verdict": None if self.verdict is None else self.verdict.to_json(),
            "metrics": {name: metrics.to_json() for name, metrics in self.run_metrics.items()},
            "runs": {name: _run_to_json(trained) for name, trained in self.runs.items()},
            "pseudo_labels": [dict(line) for line in self.pseudo_labels],
            "notes": list(self.notes),
        }


def train(
    source: Any = None,
    *,
    unlabeled: Any = None,
    test: Any = None,
    network: str | nn.Module = "auto",
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    watch: Watcher | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Result:
    """Train with and without the unlabeled images at equal cost, and say which model to use.

    Args:
        source: Labeled images, some of which may be unlabeled: a folder per class, a manifest, (X, y) arrays with -1
            for unlabeled, a map-style data set, or a name such as "digits".
        unlabeled: More images: a flat folder, or any of the above.
        test: Labeled images that only judge.
        network: A name, or your own module, which is trained in place.
        folder: A new or interrupted run folder; without one nothing is written but decoded images.
        cache: Folder of decoded images, shared between runs.
        config: A table of options, as read from a TOML file; `options` overrule it.
        options: Any field of `Job`, by name: `budget="10m"`, `method="fixmatch"`, `seed=1`. A method or optimizer is
            given by name or as an object.

    Raises:
        UserError: Something given cannot be used; the sentence says what to do.
        Interrupted: Ctrl-C or SIGTERM came; the same call with the same folder goes on.
    """
    return _Command(source, unlabeled, test, network, folder, cache, watch, config, options).run()


class _Command:
    """One call of `train`, from sources to result."""

    def __init__(
        self,
        source: Any,
        unlabeled: Any,
        test: Any,
        network: str | nn.Module,
        folder: str | Path | None,
        cache: str | Path | None,
        watch: Watcher | None,
        config: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise UserError(
                "train runs in one process and was started in several; call it without torchrun, or use understudy.fit"
            )
        self.begun = time.perf_counter()
        self.watch: Watcher = watch or Silent()
        self.module = network if isinstance(network, nn.Module) else None
        table = dict(config or {}) | dict(options)
        if self.module is None and network != "auto":
            table["network"] = network
        self.folder = None if folder is None else RunFolder(Path(folder))
        self.log: list[str] = []
        self.name = Path(source).name if isinstance(source, str | Path) else "images given in memory"
        self.hidden: HiddenLabels | None = None
        self.collection = load(
            source,
            unlabeled=unlabeled,
            test=test,
            size=table.get("size") or None,
            channels=table.get("channels") or None,
            cache=cache,
            observe=self.watch.decoding,
        )
        self.job = make_job(table, self.collection, self.module, named=source if isinstance(source, str) else "")
        if self.folder is not None:
            self.folder.recognize(_identity(self.job, self.collection, self.module))

    def run(self) -> Result:
        """Split, train twice, judge, save."""
        job, watch = self.job, self.watch
        budget = Budget.parse(job.budget)
        collection = self.collection
        for note in collection.notes:
            self.say(note)
        if collection.quarantine:
            self.say(_quarantine_note(collection))
        if job.num_labels:
            collection, self.hidden = simulate(collection, job.num_labels, job.seed, **job.simulation())
            self.say(collection.notes[-1])
        splits = split(collection, job.seed)
        self.say(splits.note)
        data = as_training_data(collection, splits, job.domain)
        network, network_name = self.initial_network(data)
        method = job.method
        if not len(splits.unlabeled) and not isinstance(method, Supervised):
            self.say("There are no unlabeled images, so the supervised model alone is trained.")
            method = Supervised(criterion=method.criterion, ema_decay=method.ema_decay)
        compare = bool(len(splits.unlabeled)) and not (isinstance(method, Supervised) and isinstance(job.recipe, Plain))
        name = method.name if isinstance(job.recipe, Plain) else job.recipe.name
        quality = None
        if self.hidden is not None:
            quality = PseudoLabelQuality(self.hidden.of(data.pool), len(data.classes))
        observers: list[Observer] = [watch.step, *([quality] if quality else [])]
        if self.folder is not None:
            observers += [
                PictureGrids(self.folder.path / "pictures"),
                HistoryLines(self.folder.path / "history.jsonl"),
            ]

        baseline_budget = self.first_budget(budget, compare)
        settings = job.settings()
        plain = Supervised(criterion=method.criterion, ema_decay=method.ema_decay)
        stage = Stage(
            settings=dataclasses.replace(settings, method=plain),
            data=data,
            network=network,
            budget=baseline_budget,
            name="supervised",
            network_name=network_name,
        )
        self.say(_opening(data, job, network_name, baseline_budget, job.recipe.outline(method.name) if compare else ""))
        runs = {"supervised": fit(stage, self.subfolder("supervised"), observe=observers)}
        if compare:
            second = self.second_budget(budget, runs["supervised"])
            stage = dataclasses.replace(
                stage, settings=dataclasses.replace(settings, method=method), budget=second, name=name
            )
            execution = dataclasses.replace(runs["supervised"].execution, chunks=1)
            trained = job.recipe.train(stage, self.subfolder(name), observe=observers, execution=execution)
            runs[name] = _with_quality(trained, quality)
        return self.conclude(splits, data, runs, name if compare else "supervised", network_name, quality)

    def conclude(
        self,
        splits: Splits,
        data: TrainingData,
        runs: dict[str, Trained],
        method: str,
        network_name: str,
        quality: PseudoLabelQuality | None,
    ) -> Result:
        """Let the held-out images judge, pick the model to deliver, and save."""
        labels = self.collection.labels
        held = {name: self.probabilities(data, trained, splits) for name, trained in runs.items()}
        metrics: dict[str, Metrics] = {}
        if len(splits.judge):
            metrics = {
                name: measure(labels[splits.judge], found["judge"], classes=data.classes)
                for name, found in held.items()
            }
        verdict = None
        delivered = method
        if method != "supervised":
            verdict = self.judge(splits, held, runs, method)
            delivered = method if verdict.delivered == "method" else "supervised"
        model = runs[delivered].model
        if self.module is not None:
            self.module.load_state_dict(model.state_dict())
            model = self.module.eval()
        averaging = self.job.test_time_averaging
        network_name = runs[delivered].network_name or network_name
        predictor = Predictor(model, network_name, data.classes, data.row_shape, self.job.domain, averaging)
        predictions = None
        if len(splits.judge):
            names = tuple(str(name) for name in self.collection.names[splits.judge])
            predictions = Predictions(names, data.classes, held[delivered]["judge"])
        job = self.job
        finished = Finished(
            name=self.name,
            domain=job.domain,
            collection=self.collection,
            splits=splits,
            data=data,
            runs=runs,
            held=held,
            delivered=delivered,
            hidden=self.hidden,
            device=job.device,
            seed=job.seed,
            corrupted=job.corrupted,
        )
        result = Result(
            verdict=verdict,
            model=model,
            metrics=metrics.get(delivered),
            predictor=predictor,
            runs=runs,
            run_metrics=metrics,
            predictions=predictions,
            splits=splits,
            notes=tuple(self.log),
            pseudo_labels=tuple(quality.rounds) if quality else (),
            findings=look(finished),
            training={
                "method": job.method.name,
                "recipe": job.recipe.name,
                "network": network_name,
                "optimizer": job.optimizer.name,
                "budget": job.budget,
                "seed": job.seed,
            },
            folder=None if self.folder is None else self.folder.path,
        )
        if self.folder is not None:
            self.save(result, splits)
        return result

    def probabilities(self, data: TrainingData, trained: Trained, splits: Splits) -> dict[str, NDArray[np.float32]]:
        """Class probabilities of the images that judge and of those that choose."""
        device = pick_device(self.job.device)
        averaging = self.job.test_time_averaging
        return {
            role: predict(trained.model.to(device), data, ids, device=device, test_time_averaging=averaging)
            for role, ids in (("judge", splits.judge), ("choose", splits.choose))
        }

    def judge(
        self, splits: Splits, held: dict[str, dict[str, NDArray[np.float32]]], runs: dict[str, Trained], method: str
    ) -> Verdict:
        """The paired comparison of the two models."""
        labels = self.collection.labels

        def held_out(role: str, ids: NDArray[np.int64]) -> HeldOut | None:
            if not len(ids):
                return None
            return HeldOut(labels[ids], held["supervised"][role].argmax(-1), held[method][role].argmax(-1))

        candidates = {name: Candidate(name, trained.cost, trained.steps) for name, trained in runs.items()}
        verdict = judge(
            held_out("judge", splits.judge),
            baseline=candidates["supervised"],
            method=candidates[method],
            choosing=held_out("choose", splits.choose),
            cost_clock="cpu_s" if pick_device(self.job.device).type == "cpu" else "wall_s",
            imbalanced=any(are_imbalanced(labels[ids]) for ids in (splits.labeled, splits.judge)),
        )
        returned = (line for line in runs[method].rounds if line.get("returned"))
        if all(line.get("learned_from_pool", True) for line in returned):
            return verdict
        return _without_pool(verdict)

    def initial_network(self, data: TrainingData) -> tuple[nn.Module, str]:
        """The network both runs start from, and its name in the run folder."""
        if self.module is None:
            return initial_network(self.job, data), self.job.network
        check_network(self.module, data.row_shape, len(data.classes))
        return self.module, f"module:{type(self.module).__qualname__}"

    def first_budget(self, budget: Budget, compare: bool) -> Budget:
        """What the baseline may spend: half of what is left of a timed budget, or as many steps as the method."""
        recorded = self.recorded_budgets().get("supervised")
        if recorded:
            return Budget(**recorded)
        share = 0.5 if compare else 1.0
        if not budget.is_timed:
            result = budget
        elif budget.wall_s is None:
            assert budget.cpu_s is not None
            result = Budget(cpu_s=budget.cpu_s * share)
        else:
            left = budget.wall_s * (1 - _RESERVE) - (time.perf_counter() - self.begun)
            if left < _LEAST_SHARE_TO_TRAIN * budget.wall_s:
                raise UserError(
                    f"reading the images took most of the budget of {budget}; repeat the command, which finds them "
                    "decoded, or give a longer budget"
                )
            result = Budget(wall_s=left * share)
        self.record_budget("supervised", result)
        return result

    def second_budget(self, budget: Budget, baseline: Trained) -> Budget:
        """What the method may spend: as much processor or device time as the baseline spent."""
        recorded = self.recorded_budgets().get("method")
        if recorded:
            return Budget(**recorded)
        if not budget.is_timed:
            result = budget
        elif pick_device(self.job.device).type == "cpu":
            left = None
            if budget.wall_s is not None:
                # A little more than the baseline's, so that a busier machine does not cut the comparison short.
                left = max(baseline.cost.wall_s, budget.wall_s - (time.perf_counter() - self.begun)) * 1.05
            result = Budget(cpu_s=baseline.cost.cpu_s, wall_s=left)
        else:
            result = Budget(wall_s=baseline.cost.wall_s)
        self.record_budget("method", result)
        return result

    def recorded_budgets(self) -> dict[str, dict[str, Any]]:
        """How an earlier process of the same run divided the budget."""
        path = None if self.folder is None else self.folder.path / "budgets.json"
        return read_json(path) if path is not None and path.exists() else {}

    def record_budget(self, name: str, budget: Budget) -> None:
        """Write a decision about the budget down before it takes effect."""
        if self.folder is not None:
            write_json(self.folder.path / "budgets.json", self.recorded_budgets() | {name: asdict(budget)})

    def subfolder(self, name: str) -> Path | None:
        """Where one run's files go."""
        return None if self.folder is None else self.folder.path / name

    def say(self, text: str) -> None:
        """Show a sentence and keep it for the log."""
        self.log.append(text)
        self.watch.message(text)

    def save(self, result: Result, splits: Splits) -> None:
        """Write everything a person or a later command wants to find."""
        import tomli_w

        assert self.folder is not None
        folder = self.folder.path
        lines = [*self.log, *(result.verdict.sentences() if result.verdict else ())]
        with explained(folder):
            (folder / "config.toml").write_text(tomli_w.dumps(to_table(self.job)), encoding="utf-8")
            (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            splits.save(folder / "splits.json", self.collection)
        write_json(folder / "quarantine.json", [{"file": f, "reason": r} for f, r in self.collection.quarantine])
        if result.predictions is not None:
            result.predictions.save(folder / "predictions.csv")
        for trained in result.runs.values():
            if any("coverage" in line for line in trained.rounds):
                with explained(folder):
                    draw_rounds(trained.rounds, result.predictor.classes, folder / "rounds.png")
            if any("kept" in line for line in trained.rounds):
                with explained(folder):
                    draw_probes(trained.rounds, folder / "probes.png")
        result.findings.save(folder)
        write_json(folder / "result.json", {**result.to_json(), "environment": _environment()})
        result.predictor.save(folder)  # last: its presence says that the run is finished


def evaluate(
    folder: str | Path, source: Any, *, cache: str | Path | None = None, watch: Watcher | None = None
) -> Metrics:
    """The metrics of a run folder's classifier on labeled images; of a source with a test part, on that part.

    Raises:
        UserError: The folder or the images cannot be used, no image is labeled, or a class is unknown to the model.
    """
    predictor = Predictor.load(folder)
    shape = predictor.shape
    size, channels = (shape[1], shape[0]) if len(shape) == 3 else (None, None)
    observe = watch.decoding if watch else None
    collection = load(source, size=size, channels=channels, cache=cache, observe=observe).in_classes(predictor.classes)
    known = np.flatnonzero(collection.labels >= 0)
    tests = known[collection.parts[known] == Part.TEST]
    known = tests if len(tests) else known  # a source that names its test images has others that were trained on
    if not len(known):
        raise UserError("none of the images is labeled; evaluation needs a folder per class or a label column")
    data, averaging = predictor.as_data(collection), predictor.test_time_averaging
    found = predict(predictor.network, data, known, test_time_averaging=averaging)
    return measure(collection.labels[known], found, classes=predictor.classes)


def _opening(data: TrainingData, job: Job, network: str, budget: Budget, second_run: str) -> str:
    what = f"{len(data.labeled):,} labeled and {len(data.unlabeled):,} unlabeled rows, {len(data.classes)} classes"
    how = f"network {network}, {job.optimizer.name}, domain {job.domain}, seed {job.seed}"
    if not second_run:
        return f"Training on {what}: {how}; {budget}."
    second = "at the same cost" if budget.is_timed else "for as many steps"
    return f"Training on {what}: {how}; first the labels alone ({budget}), then {second_run} {second}."


def _quarantine_note(collection: Collection) -> str:
    count = len(collection.quarantine)
    name, reason = collection.quarantine[0]
    skipped = f"{count} files could not be used and were skipped" if count > 1 else "1 file could not be used"
    return f"{skipped}, such as {name}: {reason}."


def _identity(job: Job, collection: Collection, module: nn.Module | None) -> dict[str, str]:
    settings = {name: value for name, value in to_table(job).items() if name not in ("budget", "device")}
    network = job.network if module is None else type(module).__qualname__
    digest = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=16).hexdigest()
    return {"settings": digest, "budget": job.budget, "network": network, "data": collection.content}


def _run_to_json(trained: Trained) -> dict[str, Any]:
    plain = {name: getattr(trained, name) for name in ("steps", "best_step", "stopped")}
    return plain | {
        "cost": asdict(trained.cost),
        "execution": asdict(trained.execution),
        "history": list(trained.history),
        "rounds": list(trained.rounds),
    }


def _without_pool(verdict: Verdict) -> Verdict:
    """The verdict on a recipe whose model learned from no unlabeled image: the better one, and no credit or blame."""
    name = verdict.method.name
    what = "the model trained on the labels alone; that of " + name
    if verdict.delivered == "method":
        what = f"the model of {name}, which"
    reason = f"Delivered: {what} learned from no unlabeled image either, so that these explain no difference."
    outcome = verdict.outcome if verdict.comparison is None else "not proven"
    return dataclasses.replace(verdict, outcome=outcome, reason=reason)


def _with_quality(trained: Trained, quality: PseudoLabelQuality | None) -> Trained:
    """The run, each of its rounds with the accuracy of the pseudo-labels where hidden labels tell it."""
    lines = quality.rounds if quality else ()
    known: dict[Any, float] = {line["round"]: line["pseudo_label_accuracy"] for line in lines if "round" in line}
    rounds = (
        line | {"pseudo_label_accuracy": known.get(line.get("round"))} if known else line for line in trained.rounds
    )
    return dataclasses.replace(trained, rounds=tuple(rounds))


def _environment() -> dict[str, Any]:
    packages = ("understudy", "torch", "numpy", "scikit-learn")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: version(name) for name in packages},
    }

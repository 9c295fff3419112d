"""The result of `understudy.train`: the verdict, the delivered classifier, and everything that a report shows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from understudy.api.environment import environment
from understudy.api.evaluate import measured
from understudy.core.arguments import check
from understudy.core.brief import Brief
from understudy.core.files import FORMAT
from understudy.core.text import counted, percent
from understudy.data.split import Splits
from understudy.engine.finalize import Trained
from understudy.evaluation.metrics import Metrics, measure
from understudy.evaluation.no_verdict import NoVerdict
from understudy.evaluation.repeats import Repeats
from understudy.evaluation.verdict import Verdict
from understudy.experiment.diagnostics import Diagnostics, diagnose
from understudy.experiment.outcome import Outcome
from understudy.models import load_state
from understudy.planning.plan import Plan
from understudy.recipes.pretrain import Pretrain
from understudy.reports.figures.model import accuracies
from understudy.reports.figures.style import framed, svg
from understudy.reports.record import RunRecord
from understudy.reports.write import page_of, write_page
from understudy.serving.predictor import Predictions, Predictor


@dataclass(frozen=True, eq=False, repr=False)
class Result(Brief):
    """The result of `understudy.train`.

    Args:
        verdict: Whether the unlabeled images helped; if nothing was compared, a `NoVerdict`, which is false and says
            why.
        model: The delivered classifier: an `nn.Module` with averaged weights, in evaluation mode.
        metrics: Metrics of the delivered model on the test images; None without test images.
        predictor: The delivered model with the preprocessing of its images.
        runs: The trained runs by name: "supervised" and the name of the method.
        run_metrics: Their metrics, by the same names.
        predictions: The delivered model's predictions for the test images; None without test images.
        splits: The rows of labeled, unlabeled, validation and test images.
        notes: Sentences of the run's log, in order.
        pseudo_labels: Accuracy and coverage of the pseudo-labels during training, if labels were hidden.
        diagnostics: What a report also shows: calibration, mistakes, suspected label errors, the pool, pictures.
        training: Method, recipe, network, optimizer, budget and seed.
        spent: Wall-clock and CPU seconds of each part: start, reading, planning, training and evaluation.
        folder: The run folder; None if nothing was saved.
        plan: The planned settings with their reasons; None if fixed defaults were used.
        repeats: The result over all seeds or folds; None for a single run. All other fields are then those of the first
            seed, or of the final model. After folds, the verdict is that of the folds, and without other test images
            so are metrics and predictions, each on images that the fold's model had not seen.
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
    diagnostics: Diagnostics
    training: Mapping[str, Any]
    spent: Mapping[str, Mapping[str, float]]
    folder: Path | None
    plan: Plan | None = None
    repeats: Repeats | None = None

    def brief(self) -> tuple[str, ...]:
        """The verdict, the accuracy of each model, and the folder."""
        first = self.verdict.sentences()[0] if self.repeats is None else self.repeats.sentences[0]
        steps = {name: f", {counted(run.steps, 'step')}" for name, run in self.runs.items()}
        models = (  # of folds, a run may be measured that was not trained on all labels in the end
            f"{name}: {percent(metrics.accuracy)} of {counted(metrics.n, 'held-out image')}{steps.get(name, '')}"
            for name, metrics in self.run_metrics.items()
        )
        where = "not saved" if self.folder is None else f"saved in {self.folder}, with report.html"
        return (first, *models, where)

    def _repr_html_(self) -> str:
        picture = accuracies(self.to_json())
        return super()._repr_html_() + ("" if picture is None else framed(svg(picture.figure)))

    def predict(self, source: Any, **options: Any) -> Predictions:
        """Predict the class probabilities of new images; see `Predictor.predict`."""
        return self.predictor.predict(source, **options)

    def evaluate(self, source: Any, *, cache: str | Path | None = None) -> Metrics:
        """Evaluate the delivered model on labeled images; if some are test images, only those count.

        Raises:
            UserError: The images cannot be used, no image is labeled, or a class is unknown to the model.
        """
        check(cache=cache)
        return measured(self.predictor, source, cache=cache)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report, one self-contained HTML file with its figures beside it, and return its path.

        Raises:
            UserError: The file cannot be written.
        """
        check(path=path)
        record = RunRecord(
            name=self.diagnostics.figures["data"]["name"] if self.folder is None else self.folder.resolve().name,
            result={**self.to_json(), "environment": environment()},
            pictures=self.diagnostics.pictures,
            held_out=self.diagnostics.held_out,
        )
        return write_page(page_of([record]), Path(path))

    def to_json(self) -> dict[str, Any]:
        """All results as plain values, as in `result.json`."""
        return {
            "format": FORMAT,
            "training": dict(self.training),
            "spent": {name: dict(clocks) for name, clocks in self.spent.items()},
            "plan": None if self.plan is None else self.plan.to_json(),
            **self.diagnostics.figures,
            "verdict": self.verdict.to_json() if isinstance(self.verdict, Verdict) else None,
            "metrics": {name: metrics.to_json() for name, metrics in self.run_metrics.items()},
            "runs": {name: _run_to_json(trained) for name, trained in self.runs.items()},
            "pseudo_labels": [_without_nan(line) for line in self.pseudo_labels],
            "notes": list(self.notes),
            **({} if self.repeats is None else {"repeats": self.repeats.to_json()}),
        }


def result_of(outcome: Outcome, plan: Plan | None, repeats: Repeats | None = None) -> Result:
    """The result of a finished experiment."""
    job, collection, data, delivered = outcome.job, outcome.collection, outcome.data, outcome.delivered
    evaluated = outcome.with_folds_as_test()
    test, labels = evaluated.splits.test, collection.labels
    trained = outcome.runs[delivered]
    predictor = Predictor(
        trained.model,
        trained.network_name or outcome.prepared.network_name,
        data.classes,
        data.row_shape,
        job.domain,
        job.test_time_averaging,
        data.domain.hflip,
        collection.ranges,
    )
    metrics: dict[str, Metrics] = {}
    predictions = None
    if len(test):
        metrics = {
            name: measure(labels[test], held["test"], classes=data.classes) for name, held in evaluated.held.items()
        }
        names = tuple(str(name) for name in collection.names[test])
        predictions = Predictions(names, data.classes, evaluated.held[delivered]["test"])
    return Result(
        verdict=outcome.verdict or NoVerdict(),
        model=trained.model,
        metrics=metrics.get(delivered),
        predictor=predictor,
        runs=outcome.runs,
        run_metrics=metrics,
        predictions=predictions,
        splits=outcome.splits,
        notes=tuple(outcome.experiment.log.sentences),
        pseudo_labels=outcome.pseudo_labels,
        diagnostics=diagnose(outcome),
        training={
            "method": job.method.name,
            "recipe": job.recipe.name,
            **({"downstream": job.recipe.downstream.name} if isinstance(job.recipe, Pretrain) else {}),
            "network": predictor.network_name,
            "optimizer": job.optimizer.name,
            "budget": job.budget.text,
            "seed": job.seed,
        },
        spent=outcome.experiment.spending.to_json(),
        folder=outcome.experiment.folder,
        plan=plan,
        repeats=repeats,
    )


def in_place(result: Result, module: nn.Module | None) -> Result:
    """The result with the delivered weights in the user's own network, if it was one."""
    if module is None:
        return result
    load_state(module, result.model.state_dict())
    module.eval()
    return dataclasses.replace(result, model=module)


def _without_nan(line: Mapping[str, Any]) -> dict[str, Any]:
    """The line with null where a figure is not known, since JSON has no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in line.items()}


def _run_to_json(trained: Trained) -> dict[str, Any]:
    plain = {name: getattr(trained, name) for name in ("steps", "best_step", "stopped")}
    return plain | {
        "cost": asdict(trained.cost),
        "execution": asdict(trained.execution),
        "history": list(trained.history),
        "rounds": list(trained.rounds),
    }

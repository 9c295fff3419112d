"""One run, trained and tested: images and a job in, figures and predictions of the test images out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Budget, Cost
from understudy.core.errors import RunFolderError
from understudy.core.files import atomic, load_arrays
from understudy.data.collection import Collection
from understudy.engine.execution import choose_execution, pick_device
from understudy.engine.finalize import Trained
from understudy.engine.observers import Observer, PseudoLabelQuality, StepReport
from understudy.engine.predict import predict
from understudy.engine.rundir import RunFolder
from understudy.engine.state import TrainState
from understudy.evaluation.metrics import balanced_accuracy
from understudy.experiment.job import Job
from understudy.experiment.pool_statistics import coverage, mask_ratio
from understudy.experiment.prepare import Prepared, assign_roles, prepare
from understudy.models.nets import Execution
from understudy.recipes.plain import Plain

# Other processes look at the file about twice a second.
_PROGRESS_S = 0.5
_PROGRESS, _PREDICTIONS = "progress.json", "predictions.npz"


@dataclass(frozen=True, eq=False)
class Predicted:
    """The finished classifier's predictions of the test images, by row number."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def classes(self) -> NDArray[np.int64]:
        """The most probable class of each image."""
        classes: NDArray[np.int64] = self.probabilities.argmax(-1)
        return classes

    def save(self, folder: Path) -> None:
        """Write a compressed file, probabilities as half-precision numbers beside the exact predicted class."""
        with atomic(folder / _PREDICTIONS) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                ids=self.ids,
                labels=self.labels.astype(np.int32),
                predicted=self.classes.astype(np.int32),
                probabilities=self.probabilities.astype(np.float16),
            )


@dataclass(frozen=True)
class Figures:
    """What one run cost and how it did.

    Args:
        num_test: Test images, which selected nothing.
        validation_accuracy: On the `num_validation` validation images; None without them.
        mask_ratio: Share of the unlabeled images shown that counted, over all steps that showed any; 0 when none were
            shown, None when the method does not say. Of a recipe of rounds, the share of the pool that was labeled.
        mask_ratio_at_end: The same in the last twentieth of training.
        pseudo_label_accuracy: Share of the pseudo-labels that counted which were right, in the last twentieth of
            training; None when no labels were hidden.
        stopped: Why training ended before its budget, or an empty text.
    """

    accuracy: float
    balanced_accuracy: float
    num_test: int
    validation_accuracy: float | None
    num_validation: int
    num_labeled: int
    num_unlabeled: int
    steps: int
    best_step: int
    cpu_s: float
    wall_s: float
    mask_ratio: float | None
    mask_ratio_at_end: float | None
    pseudo_label_accuracy: float | None
    stopped: str
    execution: Mapping[str, Any]


def run_one(
    collection: Collection,
    job: Job,
    *,
    folder: Path | None = None,
    execution: Execution | None = None,
    observe: Sequence[Observer] = (),
    reveal: bool = False,
    module: nn.Module | None = None,
) -> tuple[Figures, Predicted]:
    """The figures of one run of its own budget, and its predictions of the test images, looked at once, after it.

    Args:
        collection: Images with their test part.
        job: Its `budget` is this run's, its `seed` draws the labels to keep and the initial weights.
        folder: The run's folder; a finished run is loaded, an interrupted one resumed.
        execution: How a run to compare with was executed.
        reveal: Whether to train on all labels that the job would hide, to see what they are worth.
        module: The user's own network, as `prepared` gives it, in place of the one that the job names.

    Raises:
        UserError: The options, the images or the folder cannot be used.
        Interrupted: Ctrl-C or SIGTERM came while a folder was given; everything is saved.
    """
    prepared = set_up(collection, job, reveal=reveal, module=module)
    stage, splits, hidden = prepared.stage(), prepared.splits, prepared.roles.hidden
    watchers = list(observe)
    quality = None
    if hidden is not None:
        quality = PseudoLabelQuality(hidden.of(stage.data.pool), len(stage.data.classes))
        watchers.append(quality)
    if folder is not None:
        RunFolder(folder)
        watchers.append(ProgressFile(folder, quality, stage.budget))
    trained = job.recipe.train(stage, folder, observe=watchers, execution=execution)
    rounds = quality.rounds if quality else []
    last = rounds[-1] if rounds else None

    def probabilities(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return predict(trained.model, stage.data, ids, test_time_averaging=job.test_time_averaging)

    predicted = Predicted(splits.test, collection.labels[splits.test], probabilities(splits.test))
    is_right = probabilities(splits.validation).argmax(-1) == collection.labels[splits.validation]
    figures = _figures(prepared, trained, predicted, is_right, last)
    if folder is not None:
        predicted.save(folder)
    return figures, predicted


def set_up(collection: Collection, job: Job, *, reveal: bool = False, module: nn.Module | None = None) -> Prepared:
    """The run up to its first step.

    Args:
        reveal: Whether the images get back the labels that the job hides; images it leaves out stay out.

    Raises:
        UserError: The job does not suit the images.
    """
    roles = assign_roles(collection, job, reveal=reveal)
    return prepare(roles, job, module)


def measure_execution(prepared: Prepared) -> Execution:
    """The fastest execution of runs like this one, measured where time matters; one thread each on a processor."""
    device = pick_device(prepared.job.device)
    stage = prepared.stage()
    execution = choose_execution(TrainState(stage, device), device, stage.budget)
    return dataclasses.replace(execution, threads=1) if device.type == "cpu" else execution


class ProgressFile:
    """An observer that shows other processes, by a small file, how far a run is."""

    def __init__(self, folder: Path, quality: PseudoLabelQuality | None, budget: Budget) -> None:
        """Take up the costs of parts that an earlier process trained.

        Args:
            budget: That of the whole, which a recipe divides among several runs.
        """
        self._folder = folder
        self._quality = quality
        self._budget = budget
        self._written_at = 0.0
        self._parts: dict[str, dict[str, float]] = read_progress(folder).get("parts", {})

    def __call__(self, report: StepReport) -> None:
        """Write the file, at evaluations and otherwise at most every half second."""
        if report.round is None:
            part = {"wall_s": report.spent.wall_s, "cpu_s": report.spent.cpu_s, "steps": report.step.index + 1}
            self._parts[report.run] = part
        is_news = report.evaluation is not None or report.round is not None
        if not is_news and time.monotonic() - self._written_at < _PROGRESS_S:
            return
        self._written_at = time.monotonic()
        wall_s, cpu_s, steps = (
            sum(part[name] for part in self._parts.values()) for name in ("wall_s", "cpu_s", "steps")
        )
        done = min(1.0, Cost(wall_s, cpu_s).share_of(self._budget, int(steps)))
        rounds = self._quality.rounds if self._quality else []
        line = {"done": done, "wall_s": wall_s, "pseudo_labels": rounds[-1] if rounds else None, "parts": self._parts}
        with atomic(self._folder / _PROGRESS) as temporary:
            temporary.write_text(json.dumps(line), encoding="utf-8")


def read_progress(folder: Path) -> dict[str, Any]:
    """The progress that the run in a folder last wrote; empty before its first step."""
    with contextlib.suppress(OSError, ValueError):
        progress: dict[str, Any] = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
        return progress
    return {}


def read_predictions(folder: Path) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The true and the predicted class of each test image of a finished run.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    saved = load_arrays(folder / _PREDICTIONS)
    if saved is None or not {"labels", "predicted"} <= set(saved):
        raise RunFolderError(f"{folder / _PREDICTIONS} is missing or damaged; remove {folder} and run it again")
    return saved["labels"], saved["predicted"]


def _figures(
    prepared: Prepared,
    trained: Trained,
    predicted: Predicted,
    is_right: NDArray[np.bool_],
    pseudo_labels: Mapping[str, float] | None,
) -> Figures:
    splits, classes = prepared.splits, predicted.classes
    used, used_at_end = mask_ratio(trained.history)
    if isinstance(prepared.job.recipe, Plain):
        if not prepared.job.method.unlabeled_batch_size(1):
            used = used_at_end = 0.0
    elif used is None:
        used = used_at_end = coverage(trained.rounds)
    right = (pseudo_labels or {}).get("pseudo_label_accuracy", math.nan)
    return Figures(
        accuracy=float((classes == predicted.labels).mean()),
        balanced_accuracy=balanced_accuracy(predicted.labels, classes),
        num_test=len(classes),
        validation_accuracy=float(is_right.mean()) if len(is_right) else None,
        num_validation=len(is_right),
        num_labeled=len(splits.labeled),
        num_unlabeled=len(splits.unlabeled),
        steps=trained.steps,
        best_step=trained.best_step,
        cpu_s=trained.cost.cpu_s,
        wall_s=trained.cost.wall_s,
        mask_ratio=used,
        mask_ratio_at_end=used_at_end,
        pseudo_label_accuracy=None if math.isnan(right) else right,
        stopped=trained.stopped,
        execution=dataclasses.asdict(trained.execution),
    )

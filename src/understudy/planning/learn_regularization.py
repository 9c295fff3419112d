"""Augmentation: symmetries that the pool has, and the strength that trials prefer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from understudy.augment import Augmentation
from understudy.augment.policy import OPERATIONS
from understudy.core.budget import Cost
from understudy.core.seeding import generator
from understudy.data.training_data import TrainingData
from understudy.engine.execution import free_cores
from understudy.engine.predict import predict
from understudy.planning.choice import Choice, Learned, PlanningBudget, asked
from understudy.planning.trials import Trial, Trials, described, is_better

_THUMBNAIL_PX, _MAX_THUMBNAILS, _MIN_THUMBNAILS = 8, 2000, 200  # in 8 px, 2,000 take seconds; 200 give an area to 0.04
_MAX_COMPONENTS = 60  # of 64 pixels or more: bounds the time of the classifier with three channels
SYMMETRIES_SHARE = 0.3  # of the planning time at most; the networks' speeds take as much, and trials the rest
# Numbers of images, and the time of a classifier for them as a multiple of that for 200, on the processor's clock.
_COSTS = ((2000, 12.0), (1000, 3.0))
_MIN_SEEN = 500  # images, which take a quarter of a second in all
_MIN_FOR_ROTATIONS = 1000  # images, with which the standard error of an area is 0.02
# The area under the ROC curve is 0.97 for mirrored digits, 0.51 for mirrored photographs, 0.63 to 0.72 for photographs
# turned upside down, and 0.48 for photographs that had been turned at random before.
_DIFFERENT, _ALIKE = 0.6, 0.54
_GENTLE = 0.5  # times the domain's magnitude: a clear difference, so that a few hundred images can show it
_FAR = 3.0  # times the median distance, from which an operation is left out
_MIN_DISTANCE = 0.02  # of losses: where all are smaller no operation is far
_MAX_SCREENED = 500  # images: the mean loss of more is hardly more certain than these distances need


@dataclass(frozen=True)
class LearnedRegularization(Learned):
    """The augmentation; None where the domain's default is kept."""

    hflip: Choice[bool] | None = None
    rotations: Choice[bool] | None = None
    magnitude: Choice[float] | None = None
    operations: Choice[tuple[str, ...]] | None = None

    def augmentation(self) -> Augmentation:
        """The choices as settings of the augmentation."""
        return Augmentation(**{choice.key.rpartition(".")[2]: choice.value for choice in self.choices})


def learn_regularization(
    data: TrainingData,
    *,
    trials: Trials | None = None,
    no_trials: str = "",
    allowance: PlanningBudget | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> LearnedRegularization:
    """Symmetries by whether a classifier can detect the change, strengths by short training runs.

    Images are mirrored if a classifier cannot distinguish mirrored images from others (Lin et al., 2020, "Visual
    chirality"), which needs no label. Operations of the strong view are screened by how much they change the loss. The
    remaining ones are tried against all of them, and so is half the strength.

    Args:
        trials: Trials for the strength; without them it is the domain's default.
        no_trials: The reason why there are none.
        allowance: Planning time, of which symmetries take a share by using fewer images; all images without it.
    """
    begun = Cost.now()
    options = options or {}
    if data.domain.vector:
        return LearnedRegularization(cost=Cost.now() - begun)
    wanted = {
        name: asked(options, f"augmentation.{name}") for name in ("hflip", "rotations", "magnitude", "operations")
    }
    figures: dict[str, Any] = {}
    used_up = allowance is not None and allowance.is_used_up  # on a busy machine; the domain's defaults are kept
    symmetries = {} if used_up else _symmetries(data, seed, allowance)
    if symmetries:
        figures["symmetry_auroc"] = {name: round(area, 3) for name, area in symmetries.items()}
    hflip = wanted["hflip"] or _hflip(data, symmetries)
    rotations = wanted["rotations"] or _rotations(data, symmetries)
    magnitude, operations = wanted["magnitude"], wanted["operations"]
    if magnitude is None and operations is None:
        if trials is None:
            reason = f"the domain's default; {no_trials}" if no_trials else "the domain's default"
            magnitude = Choice("augmentation.magnitude", data.domain.magnitude, "rule", reason)
        else:
            magnitude, operations, figures["distances"] = _strength(trials, hflip, rotations, seed)
    return LearnedRegularization(
        hflip=hflip,
        rotations=rotations,
        magnitude=magnitude,
        operations=operations,
        figures=figures,
        cost=Cost.now() - begun,
    )


def _symmetries(data: TrainingData, seed: int, allowance: PlanningBudget | None = None) -> dict[str, float]:
    """For each symmetry the area under the ROC curve of a classifier of changed against unchanged training images."""
    ids = data.pool
    if len(ids) < _MIN_THUMBNAILS or data.row_shape[1] != data.row_shape[2]:
        return {}
    torch.set_num_threads(free_cores())  # one thread too many makes the decomposition below many times slower
    order = generator("symmetries", seed).permutation(len(ids))[:_MAX_THUMBNAILS]
    count = len(order) if allowance is None else _affordable(data, ids[order], seed, allowance)
    images = _all_thumbnails(data, ids[np.sort(order[:count])])
    return {name: _area(images, change(images), seed) for name, change in _CHANGES.items()}


_CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda images: images.flip(-1),
    "upside down": lambda images: images.flip(-2),
    "turned": lambda images: images.rot90(1, (-2, -1)),
}


def _affordable(data: TrainingData, ids: NDArray[np.int64], seed: int, allowance: PlanningBudget) -> int:
    """The number of images for the symmetries, estimated from the time that a few of them take."""
    if not allowance.whole_s or len(ids) <= _MIN_SEEN:
        return len(ids)
    begun = allowance.read()
    few = _all_thumbnails(data, ids[:_MIN_THUMBNAILS])
    rendered = allowance.read()
    for _ in range(2):  # the first pass of a process loads scikit-learn's libraries
        started = allowance.read()
        _area(few, few.flip(-1), seed)
    per_image, once = (rendered - begun) / len(few), allowance.read() - started
    left = SYMMETRIES_SHARE * allowance.whole_s - (allowance.read() - begun)
    for count, factor in _COSTS:
        if count * per_image + len(_CHANGES) * factor * once <= left:
            return count
    return _MIN_SEEN


def _all_thumbnails(data: TrainingData, ids: NDArray[np.int64]) -> Float[Tensor, "n c s s"]:
    parts = np.array_split(ids, max(1, len(ids) // 250))
    return torch.cat([_thumbnails(data.render(part, "plain", device=torch.device("cpu"))) for part in parts])


def _thumbnails(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c s s"]:
    side = min(_THUMBNAIL_PX, images.shape[-1])
    return F.adaptive_avg_pool2d(images, side)


def _area(images: Tensor, changed: Tensor, seed: int) -> float:
    """The area under the ROC curve of a classifier of one half of the images, changed, against the other half."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import SVC

    is_changed = generator("changed", seed).permutation(len(images)) % 2 == 1
    mixed = torch.where(torch.from_numpy(is_changed).view(-1, 1, 1, 1), changed, images)
    rows = _whitened(mixed.flatten(1).double())
    if not rows.shape[1]:
        return 0.5
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scores = cross_val_predict(SVC(), rows.numpy(), is_changed, cv=folds, method="decision_function")
    return float(roc_auc_score(is_changed, scores))


def _whitened(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """The rows' principal components with unit variance; none if all rows are equal.

    Computed from the covariance, because scipy's decomposition of the rows takes minutes on a busy machine.
    """
    centered = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    kept = min(_MAX_COMPONENTS, int((values > 1e-6).sum()))
    top = slice(len(values) - kept, None)
    components: Tensor = centered @ vectors[:, top] / values[top].sqrt()
    return components


def _hflip(data: TrainingData, areas: Mapping[str, float]) -> Choice[bool] | None:
    area = areas.get("mirrored")
    if area is None:
        return None
    key, evidence = "augmentation.hflip", f"a classifier recognizes the mirrored image in {_times(area)}"
    if area >= _DIFFERENT:
        return Choice(key, False, "measured", f"{evidence}: left and right matter here, so nothing is mirrored")
    if area <= _ALIKE:
        return Choice(
            key, True, "measured", f"{evidence}, no better than chance: mirrored images are as good as others"
        )
    return Choice(key, data.domain.hflip, "rule", f"{evidence}, which is inconclusive, so the domain's default is kept")


def _rotations(data: TrainingData, areas: Mapping[str, float]) -> Choice[bool] | None:
    if not areas:
        return None
    key, area = "augmentation.rotations", max(areas["upside down"], areas["turned"])
    evidence = f"a classifier recognizes the rotated image in {_times(area)}"
    if area >= _DIFFERENT:
        return Choice(
            key,
            False,
            "measured",
            f"{evidence}: these images have an orientation, so nothing is rotated by quarter turns",
        )
    if area > _ALIKE or areas["mirrored"] > _ALIKE:
        return Choice(
            key, data.domain.rotations, "rule", f"{evidence}, which is inconclusive, so the domain's default is kept"
        )
    if len(data.pool) < _MIN_FOR_ROTATIONS:
        reason = (
            f"{evidence}, no better than chance, but of only {len(data.pool):,} images: the domain's default is kept"
        )
        return Choice(key, data.domain.rotations, "rule", reason)
    return Choice(key, True, "measured", f"{evidence}, no better than chance: these images have no orientation")


def _times(area: float) -> str:
    return f"{100 * max(area, 1 - area):.0f} of 100 pairs"


def _strength(
    trials: Trials, hflip: Choice[bool] | None, rotations: Choice[bool] | None, seed: int
) -> tuple[Choice[float] | None, Choice[tuple[str, ...]] | None, dict[str, float]]:
    """All operations at the domain's strength, unless fewer or gentler ones were better in a trial."""
    known = LearnedRegularization(hflip=hflip, rotations=rotations).augmentation()
    domain = known.of(trials.data.domain)
    data = dataclasses.replace(trials.data, domain=domain)
    trials.data = data
    base = trials.settings.method
    plain = base.baseline()
    full = trials.run("supervised", method=plain)
    distances = _distances(full, trials, seed)
    middle = float(np.median(list(distances.values())))
    near = tuple(name for name, distance in distances.items() if distance <= _FAR * max(middle, _MIN_DISTANCE))
    shown = {"all": full}
    if len(near) < len(distances):
        fewer = dataclasses.replace(domain, operations=near)
        shown["fewer"] = trials.run("fewer-operations", dataclasses.replace(data, domain=fewer), method=plain)
    gentle = dataclasses.replace(domain, magnitude=_GENTLE * domain.magnitude)
    shown["gentle"] = trials.run("gentle", dataclasses.replace(data, domain=gentle), method=plain)
    best = max(shown, key=lambda name: shown[name].accuracy)
    beats = best != "all" and is_better(shown[best], full)
    n = len(full.right)
    tried = f"trials of supervised training, tested on {n:,} images: {described(shown)}"
    rounded = {name: round(distance, 3) for name, distance in distances.items()}
    if beats and best == "fewer":
        dropped = ", ".join(name for name in distances if name not in near)
        reason = f"without {dropped}, which changed the loss most; {tried}"
        return None, Choice("augmentation.operations", near, "tried", reason), rounded
    value = gentle.magnitude if beats else domain.magnitude
    why = "half the strength won" if beats else "no other policy was better than chance explains"
    return Choice("augmentation.magnitude", value, "tried", f"{tried}: {why}"), None, rounded


def _distances(trial: Trial, trials: Trials, seed: int) -> dict[str, float]:
    """The change of the mean loss on the held-out images of trials by each operation of the strong view."""
    chosen = trials.held_out[:_MAX_SCREENED]
    labels = trials.labels[: len(chosen)]
    device = next(trial.trained.model.parameters()).device
    random = generator("distances", seed)
    plain = _loss(trial, trials.data, chosen, labels)
    distances = {}
    for name in trials.data.domain.operations:
        operation = OPERATIONS[name]
        low = operation.neutral + trials.data.domain.magnitude * (operation.low - operation.neutral)
        high = operation.neutral + trials.data.domain.magnitude * (operation.high - operation.neutral)
        magnitude = torch.from_numpy(random.uniform(low, high, len(chosen)).astype(np.float32))
        rows = (trials.data.render(chosen, "plain", device=torch.device("cpu")) * 255).round().to(torch.uint8)
        changed = dataclasses.replace(
            trials.data,
            rows=operation.apply(rows, magnitude),
            labeled=trials.data.labeled[:0],
            unlabeled=trials.data.unlabeled[:0],
        )
        ids = np.arange(len(chosen))
        probabilities = predict(trial.trained.model, changed, ids, device=device)
        distances[name] = abs(_mean_loss(probabilities, labels) - plain)
    return distances


def _loss(trial: Trial, data: TrainingData, ids: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    device = next(trial.trained.model.parameters()).device
    return _mean_loss(predict(trial.trained.model, data, ids, device=device), labels)


def _mean_loss(probabilities: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean())

"""Which changes leave the images what they are: symmetries the pool shows by itself, strengths that trials prefer."""

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
from understudy.planning.choice import Allowance, Choice, Learned, asked
from understudy.planning.trials import Trial, Trials, described, is_better

_THUMBNAIL_PX, _MOST_THUMBNAILS, _FEWEST = 8, 2000, 200
_MOST_COMPONENTS = 60
SYMMETRIES_SHARE = 0.3  # of the allowance at most; the networks' speeds take as much, and trials the rest
# Numbers of images, and how many times as long as 200 images a classifier takes for them, on the processor's clock.
_COSTS = ((2000, 12.0), (1000, 3.0))
_LEAST_SEEN = 500  # which take a quarter of a second in all
_MANY = 1000  # images that turning them must rest on
# Mirrored digits are told from digits with an area of 0.97, mirrored photographs with 0.51; photographs
# turned upside down with 0.63 to 0.72, and those that were turned any way before with 0.48.
_TOLD_APART, _ALIKE = 0.6, 0.54
_GENTLE = 0.5
_FAR = 3.0  # times the median distance, at which an operation is screened out
_MOST_SCREENED = 500


@dataclass(frozen=True)
class LearnedRegularization(Learned):
    """How views may differ from the image; None where the domain's own policy stays."""

    hflip: Choice[bool] | None = None
    rotations: Choice[bool] | None = None
    magnitude: Choice[float] | None = None
    operations: Choice[tuple[str, ...]] | None = None

    def augmentation(self) -> Augmentation:
        """The changes as settings."""
        return Augmentation(**{choice.key.rpartition(".")[2]: choice.value for choice in self.choices})


def learn_regularization(
    data: TrainingData,
    *,
    trials: Trials | None = None,
    no_trials: str = "",
    allowance: Allowance | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> LearnedRegularization:
    """Symmetries by whether changed images can be told from unchanged ones, strengths by short trainings.

    A mirror is allowed where a classifier cannot tell mirrored images from the others (Lin et al., 2020, "Visual
    chirality"). No label is needed for that. Operations of the strong view are screened by the distance between the
    loss of changed and unchanged images; what is left is tried against all of them, and so is half their strength.

    Args:
        trials: For choices that take trainings; without them the strength is the domain's own.
        no_trials: Why there are none.
        allowance: Of a time, of which symmetries take a share by looking at fewer images; without one, at all.
    """
    begun = Cost.now()
    options = options or {}
    if data.domain.vector:
        return LearnedRegularization(cost=Cost.now() - begun)
    wanted = {
        name: asked(options, f"augmentation.{name}") for name in ("hflip", "rotations", "magnitude", "operations")
    }
    figures: dict[str, Any] = {}
    used_up = allowance is not None and allowance.is_used_up  # on a busy machine; the domain's own symmetries stay
    symmetries = {} if used_up else _symmetries(data, seed, allowance)
    if symmetries:
        figures["told_apart"] = {name: round(area, 3) for name, area in symmetries.items()}
    hflip = wanted["hflip"] or _hflip(data, symmetries)
    rotations = wanted["rotations"] or _rotations(data, symmetries)
    magnitude, operations = wanted["magnitude"], wanted["operations"]
    if magnitude is None and operations is None:
        if trials is None:
            reason = f"the domain's own strength; {no_trials}" if no_trials else "the domain's own strength"
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


def _symmetries(data: TrainingData, seed: int, allowance: Allowance | None = None) -> dict[str, float]:
    """For each symmetry the area under the curve of a classifier that tells changed training images from others."""
    ids = data.pool
    if len(ids) < _FEWEST or data.row_shape[1] != data.row_shape[2]:
        return {}
    torch.set_num_threads(free_cores())  # a thread too many makes the decomposition below many times slower
    order = generator("symmetries", seed).permutation(len(ids))[:_MOST_THUMBNAILS]
    count = len(order) if allowance is None else _affordable(data, ids[order], seed, allowance)
    images = _all_thumbnails(data, ids[np.sort(order[:count])])
    return {name: _area(images, change(images), seed) for name, change in _CHANGES.items()}


_CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda images: images.flip(-1),
    "upside down": lambda images: images.flip(-2),
    "turned": lambda images: images.rot90(1, (-2, -1)),
}


def _affordable(data: TrainingData, ids: NDArray[np.int64], seed: int, allowance: Allowance) -> int:
    """How many of the images the symmetries may look at, by what a few of them take on the allowance's clock."""
    if not allowance.whole_s or len(ids) <= _LEAST_SEEN:
        return len(ids)
    begun = allowance.read()
    few = _all_thumbnails(data, ids[:_FEWEST])
    rendered = allowance.read()
    for _ in range(2):  # the first of a process loads what scikit-learn needs
        started = allowance.read()
        _area(few, few.flip(-1), seed)
    per_image, once = (rendered - begun) / len(few), allowance.read() - started
    left = SYMMETRIES_SHARE * allowance.whole_s - (allowance.read() - begun)
    for count, factor in _COSTS:
        if count * per_image + len(_CHANGES) * factor * once <= left:
            return count
    return _LEAST_SEEN


def _all_thumbnails(data: TrainingData, ids: NDArray[np.int64]) -> Float[Tensor, "n c s s"]:
    parts = np.array_split(ids, max(1, len(ids) // 250))
    return torch.cat([_thumbnails(data.render(part, "plain", device=torch.device("cpu"))) for part in parts])


def _thumbnails(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c s s"]:
    side = min(_THUMBNAIL_PX, images.shape[-1])
    return F.adaptive_avg_pool2d(images, side)


def _area(images: Tensor, changed: Tensor, seed: int) -> float:
    """How well half of the images, changed, are told from the other half, unchanged: 0.5 is chance, 1 is always."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import SVC

    is_changed = generator("changed", seed).permutation(len(images)) % 2 == 1
    mixed = torch.where(torch.from_numpy(is_changed).view(-1, 1, 1, 1), changed, images)
    rows = _whitened(mixed.flatten(1).double())
    if not rows.shape[1]:
        return 0.5
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    found = cross_val_predict(SVC(), rows.numpy(), is_changed, cv=folds, method="decision_function")
    return float(roc_auc_score(is_changed, found))


def _whitened(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """The rows' principal components, each of unit variance; none where all rows are alike.

    By the covariance, since scipy's decomposition of the rows takes minutes on a busy machine.
    """
    centered = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(rows))
    kept = min(_MOST_COMPONENTS, int((values > 1e-6).sum()))
    top = slice(len(values) - kept, None)
    components: Tensor = centered @ vectors[:, top] / values[top].sqrt()
    return components


def _hflip(data: TrainingData, areas: Mapping[str, float]) -> Choice[bool] | None:
    area = areas.get("mirrored")
    if area is None:
        return None
    key, tells = "augmentation.hflip", f"a classifier tells mirrored images from the others in {_times(area)}"
    if area >= _TOLD_APART:
        return Choice(key, False, "measured", f"{tells}: sides matter here, so nothing is mirrored")
    if area <= _ALIKE:
        return Choice(key, True, "measured", f"{tells}, no better than chance: mirrored images are as good as others")
    return Choice(key, data.domain.hflip, "rule", f"{tells}, which settles nothing, so that the domain's own stays")


def _rotations(data: TrainingData, areas: Mapping[str, float]) -> Choice[bool] | None:
    if not areas:
        return None
    key, area = "augmentation.rotations", max(areas["upside down"], areas["turned"])
    tells = f"a classifier tells turned images from the others in {_times(area)}"
    if area >= _TOLD_APART:
        return Choice(key, False, "measured", f"{tells}: they have an upside, so nothing is turned by quarters")
    if area > _ALIKE or areas["mirrored"] > _ALIKE:
        return Choice(
            key, data.domain.rotations, "rule", f"{tells}, which settles nothing, so that the domain's own stays"
        )
    if len(data.pool) < _MANY:
        reason = (
            f"{tells}, no better than chance, but of {len(data.pool):,} images only, so that the domain's own stays"
        )
        return Choice(key, data.domain.rotations, "rule", reason)
    return Choice(key, True, "measured", f"{tells}, no better than chance: these images have no upside")


def _times(area: float) -> str:
    return f"{100 * max(area, 1 - area):.0f} of 100 pairs"


def _strength(
    trials: Trials, hflip: Choice[bool] | None, rotations: Choice[bool] | None, seed: int
) -> tuple[Choice[float] | None, Choice[tuple[str, ...]] | None, dict[str, float]]:
    """All operations at the domain's strength, unless fewer or gentler ones did better in a trial."""
    known = LearnedRegularization(hflip=hflip, rotations=rotations).augmentation()
    domain = known.of(trials.data.domain)
    data = dataclasses.replace(trials.data, domain=domain)
    trials.data = data
    base = trials.settings.method
    plain = base.baseline()
    full = trials.run("supervised", method=plain)
    distances = _distances(full, trials, seed)
    middle = float(np.median(list(distances.values())))
    near = tuple(name for name, distance in distances.items() if distance <= _FAR * max(middle, 0.02))
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
        reason = f"without {dropped}, which moved the loss most; {tried}"
        return None, Choice("augmentation.operations", near, "tried", reason), rounded
    value = gentle.magnitude if beats else domain.magnitude
    why = "half the strength won" if beats else "no other policy was better than chance explains"
    return Choice("augmentation.magnitude", value, "tried", f"{tried}: {why}"), None, rounded


def _distances(trial: Trial, trials: Trials, seed: int) -> dict[str, float]:
    """How far each operation of the strong view moves the mean loss of the images that test trials."""
    chosen = trials.held_out[:_MOST_SCREENED]
    labels = trials.labels[: len(chosen)]
    device = next(trial.trained.model.parameters()).device
    random = generator("distances", seed)
    plain = _loss(trial, trials.data, chosen, labels)
    found = {}
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
        found[name] = abs(_mean_loss(probabilities, labels) - plain)
    return found


def _loss(trial: Trial, data: TrainingData, ids: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    device = next(trial.trained.model.parameters()).device
    return _mean_loss(predict(trial.trained.model, data, ids, device=device), labels)


def _mean_loss(probabilities: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean())

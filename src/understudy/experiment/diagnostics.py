"""Diagnostics of an experiment: where the models fail, what they predict for the pool, and pictures of both."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from understudy.core.errors import UserError
from understudy.core.files import atomic
from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.data.training_data import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.predict import features, predict
from understudy.engine.robustness import robustness
from understudy.evaluation.calibration import calibrate
from understudy.evaluation.chance import chance_accuracy
from understudy.evaluation.label_errors import find_label_errors
from understudy.experiment.outcome import Outcome
from understudy.experiment.reserve import MAX_COMPARED, POOL_SAMPLE

PICTURES, HELD_OUT = "pictures.npz", "held_out.npz"
MAX_PICTURE_PX = 96  # a page holds some hundred pictures, and should stay small enough to mail
MAX_MISTAKES = 24  # a page of the report; more are not looked at one by one
MAX_SUSPECTS = 200  # a list that a person can go through; those after it are the least suspicious
MAX_SHOWN = 24  # of the suspects, as pictures in the report; all are in the list
_NUM_NEIGHBORS = 3  # enough to see a pattern, few enough for one line of pictures
_CONFIDENCE_BINS = 20  # of 5 points each
_SAMPLES_PER_CLASS, MAX_SAMPLED_CLASSES = 4, 10  # pictures in the report; of more classes the first ten
_NO_PICTURES: NDArray[np.uint8] = np.zeros((0, 1, 1, 3), np.uint8)

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """The diagnostics of a finished run for its report, beside verdict and metrics.

    Args:
        figures: The keys of `result.json` that are made here.
        pictures: Small images (n, height, width, 3), by the numbers that `figures` names; empty for vectors.
        held_out: Names, labels, and class probabilities by run of the test images.
    """

    figures: Mapping[str, Any]
    pictures: NDArray[np.uint8]
    held_out: Mapping[str, NDArray[Any]]

    def save(self, folder: Path) -> None:
        """Write pictures, predictions of the held-out images, and the lists of files to look at again."""
        _save_arrays(folder / PICTURES, {"images": self.pictures})
        _save_arrays(folder / HELD_OUT, self.held_out)
        classes = self.figures["data"]["classes"]
        for name, keys in (("mistakes", ("true", "predicted")), ("label_errors", ("given", "suggested"))):
            lines = [
                {"path": line["name"]}
                | {key: classes[line[key]] for key in keys}
                | {key: f"{value:.4f}" for key, value in line.items() if key.endswith("confidence")}
                for line in self.figures[name]
            ]
            _save_lines(folder / f"{name}.csv", ("path", *keys, "confidence", "given_confidence"), lines)


def diagnose(outcome: Outcome) -> Diagnostics:
    """The diagnostics of a finished experiment; no result on test images affects a model."""
    outcome = outcome.with_folds_as_test()
    album = _Album(outcome.data)
    test = outcome.splits.test
    figures: dict[str, Any] = {
        "data": _data(outcome),
        "delivered": outcome.delivered,
        "calibration": {name: _calibration(outcome, held) for name, held in outcome.held.items()} if len(test) else {},
        "robustness": _robustness(outcome),
        "mistakes": _mistakes(outcome, album),
        "label_errors": _label_errors(outcome, album),
    }
    sample = _pool_sample(outcome)
    predictions = {name: _predict(outcome, trained, sample) for name, trained in outcome.runs.items()}
    figures["pool"] = (
        {name: _pool(outcome, sample, probabilities) for name, probabilities in predictions.items()}
        if len(sample)
        else {}
    )
    figures["samples"] = _samples(outcome, sample, predictions[outcome.delivered], album)
    held_out: dict[str, NDArray[Any]] = {
        "names": np.array([str(name) for name in outcome.collection.names[test]], dtype=np.str_),
        "labels": outcome.collection.labels[test],
    }
    held_out |= {name: held["test"].astype(np.float16) for name, held in outcome.held.items()}
    return Diagnostics(figures, album.pictures(), held_out)


@dataclass(eq=False)
class _Album:
    """Rows whose pictures are shown, each once, in the order of request."""

    data: TrainingData
    places: dict[int, int] = field(default_factory=dict)

    def picture(self, row: int) -> int | None:
        """The number of the row's picture; None for rows that are not images."""
        if self.data.rows.dtype != torch.uint8:
            return None
        return self.places.setdefault(int(row), len(self.places))

    def pictures(self) -> NDArray[np.uint8]:
        """The pictures by number."""
        if not self.places:
            return _NO_PICTURES
        views = self.data.render(np.array(list(self.places), np.int64), "plain", device=torch.device("cpu"))
        pixels = (views.clamp(0, 1) * 255).round().byte().numpy().transpose(0, 2, 3, 1)
        pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
        side = max(pixels.shape[1:3])
        if side <= MAX_PICTURE_PX:
            return np.ascontiguousarray(pixels)
        size = [max(1, round(length * MAX_PICTURE_PX / side)) for length in (pixels.shape[2], pixels.shape[1])]
        return np.stack(
            [
                np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BOX))
                for picture in pixels
            ]
        )


def _data(outcome: Outcome) -> dict[str, Any]:
    """The images and their roles."""
    collection, splits, num_classes = outcome.collection, outcome.splits, len(outcome.data.classes)

    def per_class(labels: Ids) -> list[int]:
        return np.bincount(labels[labels >= 0], minlength=num_classes).tolist()  # type: ignore[no-any-return]

    digest = hashlib.blake2b(digest_size=16)
    for name, label in zip(collection.names[splits.test], collection.labels[splits.test], strict=True):
        digest.update(f"{name}\n{label}\n".encode())
    return {
        "name": outcome.experiment.name,
        "classes": list(outcome.data.classes),
        "domain": outcome.job.domain,
        "shape": list(outcome.data.row_shape),
        **{f"num_{role}": len(getattr(splits, role)) for role in ("labeled", "unlabeled", "validation", "test")},
        "test_source": splits.test_source,
        "content": collection.content,
        "test_content": digest.hexdigest(),
        "labeled_per_class": per_class(collection.labels[splits.labeled]),
        "test_per_class": per_class(collection.labels[splits.test]),
        "pool_per_class": None if outcome.hidden is None else per_class(outcome.hidden.of(splits.unlabeled)),
    }


def _calibration(outcome: Outcome, held: Mapping[str, Probabilities]) -> dict[str, Any]:
    """The calibration of the confidence on test images; a temperature is fitted on validation images, if any."""
    labels, splits = outcome.collection.labels, outcome.splits
    has_validation = len(splits.validation) > 0
    return calibrate(
        labels[splits.test],
        held["test"],
        fit_labels=labels[splits.validation] if has_validation else None,
        fit_probabilities=held["validation"] if has_validation else None,
    ).to_json()


def _robustness(outcome: Outcome) -> dict[str, Any]:
    """The accuracy of each model on corrupted test images, if requested."""
    ids = outcome.splits.test
    has_trained_on_them = outcome.splits.test_source == "out of fold"
    if not outcome.job.corrupted or not len(ids) or has_trained_on_them or outcome.data.rows.dtype != torch.uint8:
        return {}
    if len(ids) > outcome.job.corrupted:
        ids = np.sort(generator("corrupted", outcome.job.seed).choice(ids, outcome.job.corrupted, replace=False))
    result = {}
    for name, trained in outcome.runs.items():
        shown = robustness(
            trained.model,
            outcome.data,
            ids,
            outcome.collection.labels[ids],
            device=pick_device(outcome.job.device),
            seed=outcome.job.seed,
        )
        result[name] = {
            "n": shown.n,
            "clean": shown.clean,
            "mean": shown.mean,
            "accuracy": {corruption: list(shares) for corruption, shares in shown.accuracy.items()},
        }
    return result


def _mistakes(outcome: Outcome, album: _Album) -> list[dict[str, Any]]:
    """The delivered model's most confident errors, each with the labeled training images that look most like it."""
    test, labels = outcome.splits.test, outcome.collection.labels
    if not len(test):
        return []
    probabilities = outcome.held[outcome.delivered]["test"]
    predicted, confidence = probabilities.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(predicted != labels[test])
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_MISTAKES]
    neighbors = _neighbors(outcome, test[wrong], album)
    return [
        {
            "name": str(outcome.collection.names[test[at]]),
            "true": int(labels[test[at]]),
            "predicted": int(predicted[at]),
            "confidence": float(confidence[at]),
            "picture": album.picture(test[at]),
            "neighbors": near,
        }
        for at, near in zip(wrong, neighbors, strict=True)
    ]


def _neighbors(outcome: Outcome, ids: Ids, album: _Album) -> list[list[dict[str, Any]]]:
    """For each row the labeled training rows with the largest cosine similarity of features."""
    known = outcome.splits.labeled
    if not len(ids) or not len(known):
        return [[] for _ in ids]
    if len(known) > MAX_COMPARED:
        known = np.sort(generator("neighbors", outcome.job.seed).choice(known, MAX_COMPARED, replace=False))
    model, device = outcome.runs[outcome.delivered].model, pick_device(outcome.job.device)

    def directions(rows: Ids) -> NDArray[np.float32]:
        vectors = features(model, outcome.data, rows, device=device)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # type: ignore[no-any-return]

    try:
        alike = directions(ids) @ directions(known).T
    except UserError:  # a user's network need not have a layer whose input could be features
        return [[] for _ in ids]
    alike[ids[:, None] == known] = -np.inf  # held-out images of a fold are in the final training set
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :_NUM_NEIGHBORS]
    return [
        [
            {
                "name": str(outcome.collection.names[known[at]]),
                "label": int(outcome.collection.labels[known[at]]),
                "similarity": float(alike[row, at]),
                "picture": album.picture(known[at]),
            }
            for at in nearest[row]
            if np.isfinite(alike[row, at])
        ]
        for row in range(len(ids))
    ]


def _label_errors(outcome: Outcome, album: _Album) -> list[dict[str, Any]]:
    """Images whose label disagrees with a model not trained on them: held-out images, or those of a fold."""
    splits, held = outcome.splits, outcome.held[outcome.delivered]
    ids, where = np.concatenate([splits.test, splits.validation]), "held out"
    probabilities = np.concatenate([held["test"], held["validation"]])
    if outcome.out_of_fold is not None:
        ids, where = outcome.out_of_fold.ids, "out of fold"
        probabilities = outcome.out_of_fold.probabilities[outcome.delivered]
    if not len(ids):
        return []
    labels = outcome.collection.labels[ids]
    is_right = probabilities.argmax(-1) == labels
    if is_right.mean() <= chance_accuracy(labels, probabilities.shape[1]):
        return []  # the doubts of a model that learned nothing are its own mistakes
    suspected = find_label_errors(labels, probabilities)[:MAX_SUSPECTS]
    return [
        {
            "name": str(outcome.collection.names[ids[suspect.row]]),
            "given": suspect.given,
            "suggested": suspect.suggested,
            "confidence": suspect.confidence,
            "given_confidence": suspect.given_confidence,
            "where": where,
            "picture": album.picture(ids[suspect.row]) if number < MAX_SHOWN else None,
        }
        for number, suspect in enumerate(suspected)
    ]


def _pool_sample(outcome: Outcome) -> Ids:
    pool = outcome.splits.unlabeled
    if len(pool) <= POOL_SAMPLE:
        return pool
    return np.sort(generator("pool sample", outcome.job.seed).choice(pool, POOL_SAMPLE, replace=False))


def _pool(outcome: Outcome, sample: Ids, probabilities: Probabilities) -> dict[str, Any]:
    """The distribution of a model's predictions of unlabeled images over classes and confidences."""
    predicted = probabilities.argmax(-1)
    counts = np.histogram(probabilities.max(-1), _CONFIDENCE_BINS, (0.0, 1.0))[0]
    accuracy = float("nan") if outcome.hidden is None else outcome.hidden.accuracy(sample, predicted)
    return {
        "n": len(sample),
        "per_class": np.bincount(predicted, minlength=len(outcome.data.classes)).tolist(),
        "confidence": counts.tolist(),
        "accuracy": None if np.isnan(accuracy) else accuracy,
    }


def _samples(outcome: Outcome, sample: Ids, probabilities: Probabilities, album: _Album) -> dict[str, Any]:
    """A few labeled images of each class, and a few unlabeled ones with the predictions of the delivered model."""
    labels, names, random = outcome.collection.labels, outcome.collection.names, generator("samples", outcome.job.seed)
    predicted, confidence = probabilities.argmax(-1), probabilities.max(-1)

    def drawn(of_class: Callable[[int], Ids]) -> list[int]:
        some = (random.permutation(of_class(number))[:_SAMPLES_PER_CLASS] for number in range(MAX_SAMPLED_CLASSES))
        return [int(at) for part in some for at in part]

    labeled = outcome.splits.labeled
    shown = drawn(lambda number: labeled[labels[labeled] == number])
    true = np.full(len(sample), -1) if outcome.hidden is None else outcome.hidden.of(sample)
    from_pool = drawn(lambda number: np.flatnonzero(predicted == number))
    return {
        "labeled": [
            {"name": str(names[row]), "label": int(labels[row]), "picture": album.picture(row)} for row in shown
        ],
        "pool": [
            {
                "name": str(names[sample[at]]),
                "predicted": int(predicted[at]),
                "confidence": float(confidence[at]),
                "picture": album.picture(sample[at]),
                "true": int(true[at]) if true[at] >= 0 else None,
            }
            for at in from_pool
        ],
    }


def _predict(outcome: Outcome, trained: Trained, ids: Ids) -> Probabilities:
    return predict(
        trained.model, outcome.data, ids, device=pick_device(outcome.job.device), execution=trained.execution
    )


def _save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _save_lines(path: Path, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    names = [name for name in columns if any(name in line for line in lines)] or list(columns[:-1])
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(lines)

"""Images small enough to plan for in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.core.budget import Budget
from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.data.split import Splits, split
from understudy.data.training_data import TrainingData
from understudy.experiment.experiment import Experiment
from understudy.experiment.job import as_training_data, make_job
from understudy.experiment.log import Log, Silent, Watcher
from understudy.planning.choice import PlanningBudget

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]
CPU = torch.device("cpu")


def sided(
    count: int, *, seed: int = 0, classes: int = 2, side: int = 16
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy color images whose class is how bright their left part is: a mirrored one is like none of them."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    pixels = random.integers(0, 60, (count, 3, side, side)).astype(np.uint8)
    pixels[..., : side // 2] += (60 + 100 * labels / classes).astype(np.uint8)[:, None, None, None]
    return pixels, labels


def even(count: int, *, seed: int = 0, side: int = 16) -> Images:
    """Images of noise on a brightness that is their class: they have neither sides nor an upside."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 100, (count, 3, side, side)) + 60 * labels[:, None, None, None] + 40
    return pixels.astype(np.uint8), labels


def with_known(images: tuple[NDArray[np.uint8], NDArray[np.int64]], known: int) -> Any:
    """The images with labels on the first ones alone."""
    pixels, labels = images
    return pixels, np.where(np.arange(len(labels)) < known, labels, -1)


def collected(images: Any, test: Any = None) -> tuple[Collection, Splits]:
    """The images in one collection, and their roles."""
    collection = load(images, test=test)
    return collection, split(collection)


def training(images: Any, test: Any = None, domain: str = "natural") -> TrainingData:
    """What a run may see of them."""
    collection, splits = collected(images, test)
    return as_training_data(collection, splits, domain)


def experiment(images: Any, test: Any = None, *, watch: Watcher | None = None, **options: Any) -> Experiment:
    """An experiment before it is planned."""
    collection = load(images, test=test)
    job = make_job(options, collection, None)
    return Experiment("images", collection, job, None, None, Log(watch or Silent()), 0.0)


def plenty() -> PlanningBudget:
    """An allowance nobody can spend."""
    return PlanningBudget(Budget(cpu_s=1e6))

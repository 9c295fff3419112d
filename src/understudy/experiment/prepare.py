"""One assembly of a run: roles of the images, training data, network and stage, each made once and handed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.budget import Budget
from understudy.data.collection import Collection
from understudy.data.simulate import HiddenLabels, revealed, simulate
from understudy.data.split import Splits, split
from understudy.data.training_data import TrainingData
from understudy.engine.stage import Stage
from understudy.experiment.job import Job, as_training_data, initial_network
from understudy.inspection.unrelated import FilteredPool, filter_pool
from understudy.methods.base import Method
from understudy.models import check_network

# What `assign_roles` reads of a job; planning leaves these settings as they were asked for.
_OF_ROLES = (
    "seed", "num_labels", "imbalance", "num_unlabeled", "unlabeled_imbalance", "unlabeled_order", "filter_pool",
)  # fmt: skip
# What `prepare` reads of a job to make the initial network.
_OF_NETWORK = ("network", "pretrained", "weights_file", "seed")


@dataclass(frozen=True, eq=False)
class Roles:
    """What each image is for.

    Args:
        collection: The images, without the labels that the job hides.
        hidden: The labels that it hides.
        filtered: What was left out of the pool, if the job asks for that.
        notes: Sentences on how the roles came to be.
    """

    collection: Collection
    splits: Splits
    hidden: HiddenLabels | None = None
    filtered: FilteredPool | None = None
    notes: tuple[str, ...] = ()


def hide_labels(collection: Collection, job: Job) -> tuple[Collection, HiddenLabels | None]:
    """The images as the job sees them, and the labels that it hides."""
    if not job.num_labels:
        return collection, None
    return simulate(collection, job.num_labels, job.seed, **job.simulation())


def assign_roles(
    collection: Collection, job: Job, *, folder: Path | None = None, splits: Splits | None = None, reveal: bool = False
) -> Roles:
    """The roles of the images: labels hidden, validation and test images held out, the pool filtered.

    Args:
        folder: The run's, where an earlier process may have recorded what it left out of the pool.
        splits: The roles to use, as of a fold; drawn by the job's seed if not given.
        reveal: Whether the images get back the labels that the job hides; images it leaves out stay out.

    Raises:
        UserError: The job does not suit the images.
    """
    filtered, notes = None, []
    collection, hidden = hide_labels(collection, job)
    if hidden is not None and splits is None:
        notes.append(collection.notes[-1])
    if hidden is not None and reveal:
        collection, hidden = revealed(collection, hidden), None
    splits = split(collection, job.seed) if splits is None else splits
    notes.append(splits.note)
    if job.filter_pool:
        filtered = filter_pool(collection, splits, job.seed, folder)
        splits = filtered.splits
        notes.append(filtered.note)
    return Roles(collection, splits, hidden, filtered, tuple(notes))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run before it is trained.

    Args:
        module: The user's own network, if any; `network` is then the same object.
        network: The initial network; stages copy it and never change it.
        network_name: How it was asked for, or the class of the user's module.
    """

    job: Job
    roles: Roles
    module: nn.Module | None
    data: TrainingData
    network: nn.Module
    network_name: str

    @property
    def splits(self) -> Splits:
        """The roles of the images."""
        return self.roles.splits

    def stage(self, method: Method[Any] | None = None, *, name: str = "", budget: Budget | None = None) -> Stage:
        """The training of one method on these images from this network; by default as the job says."""
        settings = self.job.settings()
        method = settings.method if method is None else method
        return Stage(
            settings=dataclasses.replace(settings, method=method),
            data=self.data,
            network=self.network,
            budget=self.job.budget if budget is None else budget,
            name=name or method.name,
            network_name=self.network_name,
        )

    def with_job(self, job: Job) -> Prepared:
        """The same images for a job with other settings; the network is kept where these do not change it."""
        assert not _differ(self.job, job, _OF_ROLES)
        data = as_training_data(self.roles.collection, self.splits, job.domain, job.augmentation)
        if self.module is not None:
            return dataclasses.replace(self, job=job, data=data)
        is_same = not _differ(self.job, job, _OF_NETWORK)
        network = self.network if is_same else initial_network(job, data)
        return dataclasses.replace(self, job=job, data=data, network=network, network_name=job.network)


def prepare(roles: Roles, job: Job, module: nn.Module | None = None) -> Prepared:
    """A run of the job on these images, up to its first step.

    Args:
        module: The user's own network, in place of the one that the job names.

    Raises:
        UserError: The network does not take such images.
    """
    data = as_training_data(roles.collection, roles.splits, job.domain, job.augmentation)
    if module is None:
        return Prepared(job, roles, None, data, initial_network(job, data), job.network)
    check_network(module, data.row_shape, len(data.classes))
    return Prepared(job, roles, module, data, module, f"module:{type(module).__qualname__}")


def _differ(first: Job, second: Job, names: Sequence[str]) -> bool:
    return any(getattr(first, name) != getattr(second, name) for name in names)

"""An experiment: the images of one job, with its folder, its log and its spending."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.budget import Budget, Cost
from understudy.core.config import to_table
from understudy.core.spending import REPORT, Spending
from understudy.data.collection import Collection
from understudy.data.split import Splits
from understudy.engine.rundir import RunFolder
from understudy.experiment.budget_split import BudgetSplit
from understudy.experiment.job import Job
from understudy.experiment.log import Log
from understudy.experiment.prepare import Prepared, assign_roles, prepare
from understudy.experiment.reserve import ReportSeconds


@dataclass(frozen=True, eq=False)
class Experiment:
    """A job and its images, ready for training.

    Args:
        name: What the images are called.
        collection: The images with all labels that were given, those to be hidden included.
        module: The user's own network, if any.
        folder: Where everything is kept; without one nothing is written.
        log: The sentences said so far, and who shows them.
        begun: When the time that the budget limits began.
        tensorboard: Folder of a log for TensorBoard.
        spending: What the time went into so far; parts of an experiment share it.
        planning: What planning took of the budget.
        report_s: Predicts what the report takes; None where none is written.
        prepared: What planning made of the images, if it did; it is trained on as it is.
    """

    name: str
    collection: Collection
    job: Job
    module: nn.Module | None
    folder: Path | None
    log: Log
    begun: float
    tensorboard: Path | None = None
    spending: Spending = field(default_factory=Spending)
    planning: Cost = field(default_factory=Cost)
    report_s: ReportSeconds | None = None
    prepared: Prepared | None = None

    @property
    def budget_split(self) -> BudgetSplit:
        """The division of the budget among runs."""
        return BudgetSplit(self.job.budget, self.folder, self.begun, self.planning, self.spending, self.log.say)

    def claim(self, **more: str) -> None:
        """Claim the folder for this experiment, or check that it belongs to it.

        Args:
            more: What else distinguishes this experiment from others.

        Raises:
            RunFolderError: It is another's.
        """
        if self.folder is not None:
            RunFolder(self.folder).recognize(_identity(self.job, self.collection, self.module) | more)

    def announce(self) -> None:
        """Show the notes on the images."""
        for note in self.collection.notes:
            self.log.say(note)
        if self.collection.quarantine:
            self.log.say(_quarantine_note(self.collection))

    def prepare(self, splits: Splits | None = None) -> Prepared:
        """The experiment up to its first step; what planning prepared is used again.

        Args:
            splits: The roles of the images, as of a fold; drawn by the job's seed if not given.
        """
        if splits is None and self.prepared is not None:
            return self.prepared.with_job(self.job)
        roles = assign_roles(self.collection, self.job, folder=self.folder, splits=splits)
        return prepare(roles, self.job, self.module)

    def part(self, name: str, budget: Budget, **changes: Any) -> Experiment:
        """An experiment that is a part of this one, in a folder of its own, whose log begins with this one's.

        Args:
            budget: Its own.
            changes: Settings of the job that are others.
        """
        part = dataclasses.replace(
            self.within(budget, **changes),
            folder=self.subfolder(name),
            tensorboard=self.tensorboard and self.tensorboard / name,
            log=self.log.branch(),
        )
        part.claim()
        return part

    def within(self, budget: Budget, **changes: Any) -> Experiment:
        """This experiment with another budget, which begins now."""
        job = dataclasses.replace(self.job, budget=budget, **changes)
        prepared = self.prepared if job.seed == self.job.seed else None  # another seed draws other roles
        return dataclasses.replace(
            self, job=job, begun=time.perf_counter(), planning=Cost(), report_s=None, prepared=prepared
        )

    def report_reserve_s(self, num_models: int) -> float:
        """Seconds of a wall-clock budget that the report is expected to take; 0 without a report."""
        if self.report_s is None or self.job.budget.wall_s is None:
            return 0.0
        with self.spending.part(REPORT):
            return self.report_s(num_models)

    def subfolder(self, name: str) -> Path | None:
        """The folder of one run's files."""
        return None if self.folder is None else self.folder / name


def _quarantine_note(collection: Collection) -> str:
    count = len(collection.quarantine)
    name, reason = collection.quarantine[0]
    skipped = f"{count:,} files could not be used and were skipped" if count > 1 else "1 file could not be used"
    return f"{skipped}, such as {name}: {reason}."


def _identity(job: Job, collection: Collection, module: nn.Module | None) -> dict[str, str]:
    settings = {name: value for name, value in to_table(job).items() if name not in ("budget", "device")}
    network = job.network if module is None else type(module).__qualname__
    digest = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=16).hexdigest()
    return {"settings": digest, "budget": job.budget.text, "network": network, "data": collection.content}

"""The runs of a comparison: what each of them is, where it is kept, and how one is trained."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.core.budget import Budget, format_seconds
from understudy.core.config import to_table
from understudy.core.errors import RunFolderError, UserError
from understudy.engine.rundir import check_format, read_json, write_json
from understudy.models.nets import Execution
from understudy.recipes.comparison import FORMAT, Run
from understudy.recipes.job import Job
from understudy.recipes.one_run import Figures, run_one
from understudy.recipes.shared_images import SharedImages

_RECORD = "run.json"
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Task:
    """One run to train, as a worker process gets it.

    Args:
        root: The comparison's folder.
        folder: The run's, below it.
    """

    images: SharedImages
    root: Path
    folder: str
    method: str
    job: Job
    execution: Execution


@dataclass(frozen=True)
class Plan:
    """What a comparison is about to do.

    Args:
        methods: Their names in the report, supervised first.
        num_labels: Labels kept; 0 is all that are given.
        finished: Runs that the folder held already.
        left: Those to train, in order.
    """

    methods: tuple[str, ...]
    num_labels: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: Budget
    jobs: int
    finished: tuple[Run, ...]
    left: tuple[Task, ...]

    @property
    def seconds(self) -> float | None:
        """Expected wall seconds of what is left to train; None where the budget is a number of steps."""
        each = self.budget.wall_s or self.budget.cpu_s
        if each is None:
            return None
        return each * -(-len(self.left) // self.jobs)

    def __str__(self) -> str:
        grid = [
            f"{len(self.methods)} methods with supervised",
            *([f"{len(self.num_labels)} numbers of labels"] if len(self.num_labels) > 1 else []),
            f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}",
        ]
        total = len(self.left) + len(self.finished)
        text = f"{' x '.join(grid)}: {total} runs of {self.budget} each, {self.jobs} at a time"
        if self.finished:
            text += f"; {len(self.finished)} are finished, {len(self.left)} are left"
        if len(self.left) and self.seconds is not None:
            text += f"; about {format_seconds(self.seconds)}"
        return text + "."


def run_task(task: Task) -> Run:
    """The run of a task, trained to its end and recorded in its folder; a run that fails says why.

    Raises:
        Interrupted: It was asked to stop; everything is saved.
    """
    place = task.root / task.folder
    head: dict[str, Any] = {"method": task.method, "num_labels": task.job.num_labels, "seed": task.job.seed}
    try:
        figures, _ = run_one(task.images.open(), task.job, folder=place, execution=task.execution)
    except UserError as error:
        return Run(**head, folder=task.folder, error=str(error))
    except Exception as error:  # of a method's own making, which must not take the other runs with it
        with contextlib.suppress(OSError):
            (place / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return Run(**head, folder=task.folder, error=f"{type(error).__name__}: {error} (see {task.folder}/error.txt)")
    settings = to_table(task.job.method)
    write_json(
        place / _RECORD,
        {"format": FORMAT, **head, "method_settings": settings, "figures": dataclasses.asdict(figures)},
    )
    return Run(**head, folder=task.folder, figures=figures)


def run_folder(num_labels: int, seed: int, slug: str) -> str:
    """Where a run is kept below the comparison's folder."""
    return f"runs/{f'{num_labels}-labels' if num_labels else 'labels-given'}/seed-{seed}/{slug}"


def recorded_run(root: Path, folder: str, method: str, job: Job) -> Run | None:
    """The finished run that a folder holds, if it does.

    Raises:
        RunFolderError: Its method had other settings, as another version's defaults may be, or it is damaged.
    """
    path = root / folder / _RECORD
    if not path.exists():
        return None
    found = read_json(path)
    check_format(found, path.parent)
    wanted, there = to_table(job.method), found["method_settings"]
    different = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    if different:
        raise RunFolderError(
            f"{path.parent} holds a run of {method} with another {' and '.join(different)}; choose another folder"
        )
    return Run(method, job.num_labels, job.seed, folder, Figures(**found["figures"]))


def lost_run(task: Task, reason: str) -> Run:
    """The run of a task whose process died again and again."""
    return Run(task.method, task.job.num_labels, task.job.seed, task.folder, error=reason)


def folder_name(label: str) -> str:
    """The label as a folder's name, cut short and made distinct by a digest where it is long."""
    text = re.sub(r"[^\w.=-]+", "-", label).strip("-")
    digest = hashlib.blake2b(label.encode(), digest_size=4).hexdigest()
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}-{digest}"

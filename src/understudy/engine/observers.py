"""Observers of a run: they get an immutable report per step and return nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core import distributed
from understudy.core.budget import Budget, Cost
from understudy.core.errors import RunFolderError, UserError
from understudy.core.files import DamagedError, JsonLines, explain_write_errors
from understudy.core.types import Loss, PseudoLabels, Step

_GAP_PX = 2  # enough to tell tiles apart
_MIN_TILE_PX = 32  # a digit of 8 px is too small to look at


@dataclass(frozen=True)
class Round:
    """A finished round of a recipe that trains several runs.

    Args:
        number: 0 is the first teacher.
        record: Its figures, as in `Trained.rounds`.
        pseudo_labels: Those it was trained on, by pool position.
    """

    number: int
    record: Mapping[str, Any]
    pseudo_labels: PseudoLabels | None = None


@dataclass(frozen=True)
class StepReport:
    """One finished step.

    Args:
        losses: The loss of each objective, with tensors still on their device.
        progress: Share of training done after the step.
        phase: 1 while training is supervised alone, then 2.
        spent: Time spent so far, resumed parts included.
        evaluation: The line of the history written at this step, if one was.
        pictures: What the method has to show at an evaluation: images (n, c, h, w) in [0, 1], or rows of numbers.
        round: The round of a recipe that ended with this step; such a report has no losses.
    """

    run: str
    step: Step
    losses: tuple[Loss, ...]
    progress: float
    phase: int
    spent: Cost
    budget: Budget
    evaluation: Mapping[str, float] | None
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    round: Round | None = None


Observer = Callable[[StepReport], None]


@runtime_checkable
class Resumable(Protocol):
    """An observer whose findings the run keeps in its checkpoints, so that a resumed run ends with the same ones."""

    def state(self, run: str) -> Any:
        """What was seen of a run, as JSON holds it."""

    def load_state(self, run: str, state: Any) -> None:
        """Replace what was seen of a run."""


def resumable(observers: Sequence[Observer]) -> list[Resumable]:
    """Those of the observers whose findings a run keeps."""
    everyone: Sequence[object] = observers
    return [observer for observer in everyone if isinstance(observer, Resumable)]


class PseudoLabelQuality:
    """Diagnostics by someone who knows the hidden labels: how many pseudo-labels counted, and how many were right."""

    def __init__(self, hidden: NDArray[np.int64], num_classes: int | None = None) -> None:
        """`hidden` is the true class by pool position, -1 where it is not known.

        Args:
            num_classes: As many as occur in `hidden` if not given.
        """
        self._hidden = hidden
        self._num_classes = num_classes or int(hidden.max(initial=0)) + 1
        self._lines: list[tuple[str, dict[str, Any]]] = []
        self._since: dict[str, _Counts] = {}

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The lines in the order of the runs."""
        return [line for _, line in self._lines]

    def __call__(self, report: StepReport) -> None:
        """Count one step or round; a line is added to `rounds` at every evaluation, and for every round."""
        line: dict[str, Any] = {"progress": report.progress}
        ended = report.round
        if ended is not None:
            counts = _Counts.none(self._num_classes)
            if ended.pseudo_labels is not None:
                line["round"] = ended.number
                counts.add(ended.pseudo_labels, self._hidden)
        else:
            counts = self._since.setdefault(report.run, _Counts.none(self._num_classes))
            for loss in report.losses:
                if loss.pseudo_labels is not None:
                    counts.add(loss.pseudo_labels, self._hidden)
        if (report.evaluation is not None or "round" in line) and counts.seen:
            self._lines.append((report.run, line | counts.figures()))
            if ended is None:
                del self._since[report.run]

    def state(self, run: str) -> dict[str, Any]:
        """Lines and counts of a run, without those of a recipe's rounds, which the recipe reports again."""
        since = self._since.get(run)
        lines = [line for name, line in self._lines if name == run and "round" not in line]
        return {"lines": lines, "since": None if since is None else since.to_json()}

    def load_state(self, run: str, state: Mapping[str, Any]) -> None:
        """Replace lines and counts of a run."""
        kept = [(name, line) for name, line in self._lines if name != run or "round" in line]
        self._lines = kept + [(run, dict(line)) for line in state["lines"]]
        self._since.pop(run, None)
        if state["since"] is not None:
            self._since[run] = _Counts.from_json(state["since"])


@dataclass
class _Counts:
    """Pseudo-labels since the last line: all, those that counted, and by class those of known truth and those right."""

    seen: int
    counted: int
    known: NDArray[np.int64]
    right: NDArray[np.int64]

    @classmethod
    def none(cls, num_classes: int) -> _Counts:
        """Nothing seen yet."""
        return cls(0, 0, np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> _Counts:
        """Those that `to_json` gave."""
        known, right = (np.array(plain[name], np.int64) for name in ("known", "right"))
        return cls(plain["seen"], plain["counted"], known, right)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        counts = {"known": self.known.tolist(), "right": self.right.tolist()}
        return {"seen": self.seen, "counted": self.counted, **counts}

    def add(self, batch: PseudoLabels, hidden: NDArray[np.int64]) -> None:
        """Count a batch."""
        counts = (batch.weight > 0).cpu().numpy()
        truth = hidden[batch.ids.cpu().numpy()]
        labels = batch.labels.cpu().numpy()
        known = counts & (truth >= 0)
        self.seen += len(counts)
        self.counted += int(counts.sum())
        np.add.at(self.known, labels[known], 1)
        np.add.at(self.right, labels[known & (labels == truth)], 1)

    def figures(self) -> dict[str, Any]:
        """A line's figures."""
        known, right = int(self.known.sum()), int(self.right.sum())
        return {
            "coverage": self.counted / self.seen,
            "pseudo_label_accuracy": right / known if known else float("nan"),
            "counts": self.known.tolist(),
            "right": self.right.tolist(),
        }


class HistoryLines:
    """Appends every evaluation's line to a file as JSON, so that a run cut short can be reported on too."""

    def __init__(self, path: Path) -> None:
        """Continue the file of an earlier process.

        Raises:
            RunFolderError: It is damaged.
        """
        try:
            self._file = JsonLines(path)
        except DamagedError as error:
            raise RunFolderError(
                f"{path} is damaged ({error}); it serves only the report of an unfinished run: delete it and resume"
            ) from None
        self._folder = path.parent

    def __call__(self, report: StepReport) -> None:
        """Append the line of this step, if it has one; a resumed run says again what came after its checkpoint."""
        if report.evaluation is None or distributed.rank():
            return
        with explain_write_errors(self._folder):
            self._file.append({"run": report.run, **report.evaluation})


class TensorBoard:
    """Writes every evaluation's figures as TensorBoard reads them, a run of its own for each training."""

    def __init__(self, folder: Path) -> None:
        """`folder` is what TensorBoard is to be pointed at.

        Raises:
            UserError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "tensorboard is not installed; pip install 'understudy[tensorboard]', or leave the log out"
            ) from None
        self._folder, self._writer = folder, SummaryWriter
        self._writers: dict[str, Any] = {}

    def __call__(self, report: StepReport) -> None:
        """Write the line of this step, if it has one."""
        if report.evaluation is None or distributed.rank():
            return
        step = int(report.evaluation["step"])
        with explain_write_errors(self._folder):
            if report.run not in self._writers:  # what a resumed run makes again replaces what it made before
                place = self._folder / report.run.replace("/", "-")
                self._writers[report.run] = self._writer(str(place), purge_step=step)
            writer = self._writers[report.run]
            for name, value in report.evaluation.items():
                if name != "step":
                    writer.add_scalar(name, value, step)
            writer.flush()


class PictureGrids:
    """Saves the images that a method has to show, such as generated ones, as a PNG per evaluation."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when there is a first picture for it."""
        self._folder = folder

    def __call__(self, report: StepReport) -> None:
        """Save this step's pictures as RUN-NAME-STEP.png; rows that are no images are left out."""
        images = {name: rows for name, rows in report.pictures.items() if rows.ndim == 4 and len(rows)}
        if not images or distributed.rank():
            return
        from PIL import Image

        with explain_write_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, rows in images.items():
                file = f"{report.run}-{name}-{report.step.index + 1:06d}.png".replace("/", "-")
                Image.fromarray(picture_grid(rows)).save(self._folder / file)


def picture_grid(images: Tensor) -> NDArray[np.uint8]:
    """Images (n, c, h, w) in [0, 1] side by side as one picture (height, width, 3), about as wide as it is high."""
    pixels = (images.detach().float().cpu().clamp(0, 1) * 255).round().byte().numpy().transpose(0, 2, 3, 1)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    zoom = ceil(_MIN_TILE_PX / min(pixels.shape[1:3]))
    pixels = pixels.repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = ceil(len(pixels) ** 0.5)
    height, width = pixels.shape[1] + _GAP_PX, pixels.shape[2] + _GAP_PX
    grid = np.full((ceil(len(pixels) / columns) * height - _GAP_PX, columns * width - _GAP_PX, 3), 255, np.uint8)
    for index, tile in enumerate(pixels):
        top, left = index // columns * height, index % columns * width
        grid[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return grid

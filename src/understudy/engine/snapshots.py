"""The last good state of a run: in memory to roll back to, on disk to resume from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from understudy.core import distributed
from understudy.engine.observers import Observer, resumable
from understudy.engine.rundir import RunFolder
from understudy.engine.state import TrainState

Snapshot = tuple[dict[str, Tensor], dict[str, Any]]

# Every snapshot copies the whole state; a roll-back repeats up to this many steps, on a device up to twice as many.
SNAPSHOT_STEPS = 20


class Snapshots:
    """Copies of a state and of what observers have seen of it.

    A snapshot is a candidate until losses after it were finite, and good from then on: weights that are already
    damaged show only in the next loss. `good` is what a roll-back returns to and what a checkpoint holds.
    """

    def __init__(
        self, state: TrainState, run: str, observe: Sequence[Observer], folder: RunFolder | None, every_s: float
    ) -> None:
        """Restore the newest checkpoint of the folder, if there is one.

        Args:
            run: The name under which observers know the run.
            every_s: Least seconds between two checkpoints.
        """
        self._state = state
        self._run = run
        self._observe = observe
        self._folder = folder
        self._every_s = every_s
        checkpoint = folder.load_checkpoint() if folder else None
        if checkpoint is not None:
            self._restore(checkpoint)
            torch.set_num_threads(state.nets.execution.threads)  # the entry that did is not replayed
        self.good = self._take()
        self._candidate: Snapshot | None = None
        self._saved = self.good
        self._saved_at = time.monotonic()

    def take_when_due(self, step: int) -> None:
        """Take a candidate at every 20th step, unless the last one is still unconfirmed."""
        if step % SNAPSHOT_STEPS == 0 and self._candidate is None:
            self._candidate = self._take()

    def confirm(self) -> None:
        """Make the candidate good: all losses since it was taken are finite."""
        if self._candidate is not None:
            self.good, self._candidate = self._candidate, None

    def take_good(self) -> None:
        """Take a good snapshot of a state that was checked."""
        self.good, self._candidate = self._take(), None

    def roll_back(self) -> None:
        """Return to the last good snapshot."""
        self._restore(self.good)
        self._candidate = None

    def save_when_due(self) -> None:
        """Write the last good snapshot to disk when it is new and the last checkpoint is old enough."""
        if self.good is not self._saved and time.monotonic() - self._saved_at >= self._every_s:
            self.save()

    def save(self) -> None:
        """Write the last good snapshot to disk."""
        if self._folder is not None and distributed.rank() == 0:
            self._folder.save_checkpoint(*self.good)
            self._saved_at, self._saved = time.monotonic(), self.good

    def _take(self) -> Snapshot:
        tensors, meta = self._state.snapshot()
        return tensors, meta | {"observed": observed(self._observe, self._run)}

    def _restore(self, snapshot: Snapshot) -> None:
        # Observers go back too, so that a step that is repeated is not counted twice.
        tensors, meta = snapshot
        show_again(self._observe, self._run, meta["observed"])
        self._state.restore(tensors, {name: value for name, value in meta.items() if name != "observed"})


def observed(observe: Sequence[Observer], run: str) -> list[Any]:
    """What observers have seen of a run, as far as they keep anything."""
    return [observer.state(run) for observer in resumable(observe)]


def show_again(observe: Sequence[Observer], run: str, states: Sequence[Any]) -> None:
    """Give observers back what they had seen; if they are now others, they start anew."""
    observers = resumable(observe)
    if len(observers) == len(states):
        for observer, state in zip(observers, states, strict=True):
            observer.load_state(run, state)

"""Decisions of a run: proposed here, written to the ledger, and applied only from there."""

from __future__ import annotations

import torch

from understudy.core import distributed
from understudy.core.errors import RunFolderError, UserError
from understudy.core.types import Step
from understudy.engine.execution import choose_execution
from understudy.engine.ledger import (
    Diverged,
    ExecutionChosen,
    FirstPhaseEnded,
    Ledger,
    LedgerEntry,
    OutOfMemory,
    PaceSet,
    Stopped,
)
from understudy.engine.pace import Clock, Pace
from understudy.engine.rundir import RunFolder
from understudy.engine.snapshots import Snapshots
from understudy.engine.stage import Stage
from understudy.engine.state import TrainState
from understudy.models.nets import Execution

# Five halvings leave 3 % of the learning rate; what still diverges then has its cause elsewhere.
MAX_ATTEMPTS, RATE_CUT = 6, 0.5


class Decisions:
    """Makes the decisions that depend on the environment: execution, pace, recovery."""

    def __init__(
        self,
        stage: Stage,
        state: TrainState,
        ledger: Ledger,
        snapshots: Snapshots,
        clock: Clock,
        execution: Execution | None,
    ) -> None:
        """`execution` is chosen by measurement if not given."""
        self._stage = stage
        self._state = state
        self._ledger = ledger
        self._snapshots = snapshots
        self._clock = clock
        self._execution = execution

    def refuse_lost_files(self, folder: RunFolder) -> None:
        """Check that no applied decision and no finished result is missing.

        Raises:
            RunFolderError: They are.
        """
        name = ""
        if self._state.now.ledger_position > distributed.broadcast_object(len(self._ledger.entries)):
            name = "ledger.jsonl"
        elif distributed.broadcast_object(self._ledger.is_closed):
            name = "finished.json"
        if name:
            raise RunFolderError(
                f"{folder.path / name} is missing or was cut short; restore it, or delete {folder.path} and train again"
            )

    def decide(self) -> None:
        """Apply what the ledger holds for this step; after its last entry, decide anew.

        While entries are left for later steps, nothing is decided: an earlier process passed this step without a
        decision, and repeating it must not add one, whatever the clock says now.
        """
        state, budget = self._state, self._stage.budget
        while (entry := self._ledger.pending(state.now.ledger_position, state.now.next_step)) is not None:
            self.apply(entry)
        replaying = state.now.ledger_position < len(self._ledger.entries)
        if not replaying:
            self._choose_execution()
            self._end_first_phase_early()
        now = state.now
        first_phase_ends = now.phase == 1 and now.pace.progress(now.next_step) >= state.pacer.warmup
        if not budget.is_timed:
            now.phase = 2 if first_phase_ends else now.phase  # no entry: it follows from step and pace alone
        elif not replaying:
            self._adjust_pace(first_phase_ends)

    def record(self, decision: LedgerEntry) -> None:
        """Write a decision into the ledger, then make it take effect."""
        self.apply(self._ledger.append(decision, position=self._state.now.ledger_position))

    def apply(self, decision: LedgerEntry) -> None:
        """Make a decision of the ledger take effect."""
        state = self._state
        position = state.now.ledger_position + 1  # kept here, because a roll-back restores an earlier one
        match decision:
            case ExecutionChosen():
                state.nets.execution = decision.execution
                torch.set_num_threads(decision.execution.threads)
            case PaceSet():
                state.now.phase, state.now.pace = decision.phase, decision.pace
                state.pacer.load_state({"seen": [decision.step, decision.share], "warmup": decision.warmup})
            case FirstPhaseEnded():
                state.now.phase, state.now.pace = 2, decision.pace
                state.now.evaluations_since_best = 0
            case Diverged():
                state.now.attempt += 1
                state.now.rate_scale *= RATE_CUT
                self._roll_back()
            case OutOfMemory():
                state.set_execution(chunks=2 * state.nets.execution.chunks)
                self._roll_back()
            case Stopped():
                state.now.ledger_position = position
                self._snapshots.take_good()
        state.now.ledger_position = position

    def recover_from_divergence(self, step: Step) -> None:
        """Repeat from the last good snapshot with other draws and half the learning rate.

        Raises:
            UserError: That was tried often enough.
        """
        if self._state.now.attempt + 1 >= MAX_ATTEMPTS:
            raise UserError(
                f"the loss was not finite {MAX_ATTEMPTS} times, last at step {step.index}, at ever lower learning "
                "rates; check the images and labels, or set optimizer.lr much lower"
            )
        self.record(Diverged(step=step.index))
        self._snapshots.save()

    def recover_from_oom(self, step: Step, error: BaseException) -> None:
        """Repeat from the last good snapshot with the forward pass cut into twice as many parts.

        Raises:
            UserError: The parts are single rows already.
        """
        stream = self._state.stream
        if self._state.nets.execution.chunks * 2 > stream.batch_size + stream.unlabeled_batch_size:
            raise UserError(
                f"memory ran out even one row at a time (batch_size {stream.batch_size}); "
                "choose a smaller network or smaller images"
            ) from error
        self.record(OutOfMemory(step=step.index))
        self._snapshots.save()

    def stop(self) -> None:
        """Save the present step. It is an entry, because the snapshot changes what a later roll-back returns to."""
        self.record(Stopped(step=self._state.now.next_step))
        self._snapshots.save()

    def _choose_execution(self) -> None:
        state = self._state
        if state.now.ledger_position == 0:
            execution = self._execution or choose_execution(state, state.device, self._stage.budget)
            self.record(ExecutionChosen(step=state.now.next_step, execution=execution))

    def _end_first_phase_early(self) -> None:
        """Begin the second phase where validation has stopped improving in the first."""
        state, now = self._state, self._state.now
        if now.phase == 1 and now.has_stalled(self._stage.settings.patience):
            end = None if self._stage.budget.is_timed else now.pace.to_step
            pace = state.pacer.second_phase(now.next_step, now.pace.progress(now.next_step), end)
            self.record(FirstPhaseEnded(step=now.next_step, evaluations=now.evaluations_since_best, pace=pace))

    def _adjust_pace(self, first_phase_ends: bool) -> None:
        """Update the estimate of progress when the pacer proposes one."""
        state, now = self._state, self._state.now
        pacer = state.pacer
        share = distributed.broadcast_object(now.spent.share_of(self._stage.budget, now.next_step))
        pace: Pace | None
        warmup = pacer.warmup
        if first_phase_ends and (longer := pacer.longer_warmup(now.next_step, share)) is not None:
            pace, phase, warmup = Pace(now.next_step, warmup, to_progress=longer), 1, longer
        elif first_phase_ends:
            pace, phase = pacer.enter_second_phase(now.pace, now.next_step, share), 2
        else:
            pace, phase = pacer.propose(now.pace, now.next_step, share), now.phase
        if pace is not None:
            self.record(PaceSet(step=now.next_step, share=share, phase=phase, warmup=warmup, pace=pace))

    def _roll_back(self) -> None:
        """Return to the last good snapshot, keeping the clock, the pace, and what was learned about failures.

        Time that is spent is spent, so the pace stays: the steps between are repeated at the progress they had. The
        attempt stays, because it is part of every draw's seed: the same draws would fail again.
        """
        now, execution = self._state.now, self._state.nets.execution
        spent = self._clock.spent()
        self._snapshots.roll_back()
        restored = self._state.now
        restored.spent, restored.pace = spent, now.pace
        restored.attempt, restored.rate_scale = now.attempt, now.rate_scale
        self._state.nets.execution = execution

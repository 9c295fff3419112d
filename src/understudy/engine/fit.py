"""The training loop. It knows networks, objectives, steps and decisions; it knows no algorithm."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from understudy.core import distributed
from understudy.core.errors import Interrupted
from understudy.core.seeding import seed_torch
from understudy.core.stopping import stop_signals
from understudy.core.types import Loss, Step
from understudy.engine.decisions import Decisions
from understudy.engine.execution import is_out_of_memory, keep_freed_memory, pick_device
from understudy.engine.finalize import Trained, finalize, load_finished, save_finished, save_networks
from understudy.engine.ledger import Ledger
from understudy.engine.monitor import Monitor
from understudy.engine.observers import Observer, StepReport
from understudy.engine.pace import Clock
from understudy.engine.rundir import RunFolder
from understudy.engine.snapshots import Snapshots, observed
from understudy.engine.stage import Stage
from understudy.engine.state import TrainState
from understudy.models.nets import Execution

CHECKPOINT_S = 20.0  # at most this much work is lost to a kill, for a write that takes a small part of it


def fit(
    stage: Stage,
    folder: Path | None = None,
    *,
    observe: Sequence[Observer] = (),
    checkpoint_s: float = CHECKPOINT_S,
    execution: Execution | None = None,
) -> Trained:
    """Train one stage: a finished folder is loaded, an interrupted one resumed, exact to the bit.

    Args:
        folder: Where ledger, checkpoints and result are kept; without one nothing is written.
        checkpoint_s: Least seconds between two checkpoints on disk.
        execution: How a run to compare with was executed; measured anew without one.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> import understudy
        >>> from understudy.augment import DOMAINS
        >>> from understudy.data.training_data import TrainingData
        >>> from understudy.methods.fixmatch import FixMatch
        >>> data = TrainingData(
        ...     rows=torch.randn(20, 2),
        ...     labeled=np.arange(4),
        ...     targets=torch.tensor([0, 1, 0, 1]),
        ...     unlabeled=np.arange(4, 20),
        ...     classes=("inner", "outer"),
        ...     domain=DOMAINS["vector"],
        ... )
        >>> settings = understudy.Settings(method=FixMatch(), batch_size=4)
        >>> network = torch.nn.Linear(2, 2)
        >>> budget = understudy.Budget(steps=5)
        >>> trained = understudy.fit(understudy.Stage(settings=settings, data=data, network=network, budget=budget))
        >>> trained.steps
        5

    Raises:
        UserError: The folder cannot be used, memory or the disk ran out, or the loss is not finite again and again.
        Interrupted: Ctrl-C or SIGTERM came while a folder was given; everything is saved.
    """
    distributed.start()
    device = pick_device(stage.settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    if folder is None:
        return _Run(stage, None, device, observe, checkpoint_s, execution).train(lambda: False)
    run_folder = RunFolder(folder)
    leader = distributed.rank() == 0
    with run_folder.claim() if leader else contextlib.nullcontext(), _stop_requests() as stop_requested:
        if leader:
            run_folder.recognize(stage.identity())
        if (folder / "finished.json").exists():
            trained = load_finished(stage, folder, device, observe)
            if leader:
                run_folder.drop_checkpoints()  # a kill may have come between the result and this
        else:
            run = _Run(stage, run_folder, device, observe, checkpoint_s, execution)
            trained = run.train(stop_requested)
            if leader:
                save_networks(stage, run.state, run_folder)
                save_finished(trained, run_folder, observed(observe, stage.name))
                run.ledger.close(trained.steps)
    if stop_requested():  # asked once nothing is deferred any longer, so that no request is lost
        raise Interrupted(f"stopped after the last step; everything is saved in {folder}")
    return trained


class _Run:
    """One call of `fit`: the loop and the step."""

    def __init__(
        self,
        stage: Stage,
        folder: RunFolder | None,
        device: torch.device,
        observe: Sequence[Observer],
        every_s: float,
        execution: Execution | None,
    ) -> None:
        self.stage = stage
        self.folder = folder
        self.observe = observe
        self.state = TrainState(stage, device)
        self.ledger = Ledger(folder.path / "ledger.jsonl" if folder else None)
        self.snapshots = Snapshots(self.state, stage.name, observe, folder, every_s)
        self.clock = Clock(self.state.now.spent)
        self.decisions = Decisions(stage, self.state, self.ledger, self.snapshots, self.clock, execution)
        if folder is not None:
            self.decisions.refuse_lost_files(folder)
        self.monitor = Monitor(stage, self.state)

    def train(self, stop_requested: Callable[[], bool]) -> Trained:
        """Step until the budget is used, then hand out the averaged weights."""
        state, decisions, monitor, snapshots = self.state, self.decisions, self.monitor, self.snapshots
        while True:
            decisions.decide()
            now = state.now  # a roll-back replaces it
            step = Step(now.next_step, now.pace.progress(now.next_step), now.attempt)
            ended = step.progress >= 1.0 or bool(now.stopped)
            stopping = not ended and not distributed.all_true(not stop_requested())
            if (ended or stopping) and not monitor.all_finite():
                decisions.recover_from_divergence(step)
                continue
            if ended:
                break
            if stopping:
                decisions.stop()
                assert self.folder is not None  # without a folder nobody can request it
                raise Interrupted(f"stopped at step {step.index}; everything is saved in {self.folder.path}")
            snapshots.take_when_due(step.index)
            try:
                losses = self.run_step(step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                decisions.recover_from_oom(step, error)
                continue
            if monitor.checks_losses(step):
                if not monitor.losses_finite():
                    decisions.recover_from_divergence(step)
                    continue
                snapshots.confirm()
            now.next_step += 1
            now.spent = self.clock.update_time(now.spent)
            evaluation = monitor.evaluate_when_due()
            self.report(step, losses, evaluation)
            snapshots.save_when_due()
        state.now.spent = self.clock.spent()
        if state.now.num_summed:  # the time was over before the step foreseen as the last
            monitor.evaluate(1.0)
        return finalize(self.stage, state)

    def run_step(self, step: Step) -> tuple[Loss, ...]:
        """Run one step of every objective; in the first phase, of the supervised losses alone."""
        state, method = self.state, self.state.settings.method
        # Whatever draws from torch's own generator, such as dropout, is a function of seed, attempt and step too.
        seed_torch("step", state.settings.seed, step.attempt, step.index)
        second_phase = state.now.phase == 2
        batch = state.stream.batch(step, with_unlabeled=second_phase and state.stream.unlabeled_batch_size > 0)
        state.set_rates(step.progress)
        losses = []
        for index, objective in enumerate(state.objectives if second_phase else method.first_phase()):
            loss = objective.loss(state.nets, batch, state.memory, step)
            state.update(index, loss)
            losses.append(loss)
        state.average_weights()
        self.monitor.accumulate(losses)
        return tuple(losses)

    def report(self, step: Step, losses: tuple[Loss, ...], evaluation: Mapping[str, float] | None) -> None:
        """Show observers the step that was finished."""
        if not self.observe:
            return
        state, now = self.state, self.state.now
        done = now.pace.progress(now.next_step)
        pictures = {} if evaluation is None else state.settings.method.pictures(state.nets, state.memory)
        report = StepReport(
            self.stage.name, step, losses, done, now.phase, now.spent, self.stage.budget, evaluation, pictures
        )
        for observer in self.observe:
            observer(report)


@contextlib.contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Defer the first signal to stop until the loop asks for it at the next step; a second Ctrl-C stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    requests: list[int] = []

    def ask(number: int, _: Any) -> None:
        if requests and number == signal.SIGINT:
            raise KeyboardInterrupt
        requests.append(number)

    previous = {number: signal.signal(number, ask) for number in stop_signals()}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

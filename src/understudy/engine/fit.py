"""The training loop. It knows networks, objectives, steps and decisions; it knows no algorithm."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.brief import Brief
from understudy.core.budget import Cost
from understudy.core.errors import Interrupted, RunFolderError, UserError
from understudy.core.files import read_json, write_json
from understudy.core.seeding import generator, seed_torch
from understudy.core.stopping import stop_signals
from understudy.core.types import Loss, Step
from understudy.engine.execution import is_out_of_memory, keep_freed_memory, pick_device, resolve
from understudy.engine.ledger import Ledger
from understudy.engine.observers import Observer, Report, resumable
from understudy.engine.pace import Pace
from understudy.engine.predict import features, predict
from understudy.engine.rundir import RunFolder, load_tensors, save_weights
from understudy.engine.stage import Stage
from understudy.engine.state import TrainState
from understudy.evaluation.probes import knn_accuracy, linear_accuracy
from understudy.models.batch_norm import evaluation_check, recompute_statistics
from understudy.models.nets import Execution

_SNAPSHOT_STEPS = 20
_CHECK_STEPS_ON_DEVICE = 20
_MOST_ATTEMPTS = 6
_CHECKPOINT_S = 20.0
_CLOCK_S = 0.02
_MOST_PROBED = 2000


@dataclass(frozen=True, eq=False, repr=False)
class Trained(Brief):
    """What a finished run leaves.

    Args:
        model: The classifier with averaged weights, in evaluation mode; the best ones if a validation set chose.
        best_step: The step those weights are from.
        history: One line per evaluation: step, progress, mean losses and metrics, accuracy on the validation images.
        stopped: Why training ended before its budget, or an empty text.
        rounds: One line per run of a recipe that makes several: what it was, and its figures.
        network_name: What the classifier is called, where a recipe trained another than its stage's.
    """

    model: nn.Module
    steps: int
    best_step: int
    cost: Cost
    execution: Execution
    history: tuple[dict[str, Any], ...]
    stopped: str = ""
    rounds: tuple[dict[str, Any], ...] = ()
    network_name: str = ""

    def brief(self) -> tuple[str, ...]:
        """How long it was trained, and what it cost."""
        line = f"{type(self.model).__name__} after {self.steps:,} steps, weights of step {self.best_step:,}"
        cost = f"{self.cost.cpu_s:.1f} s of processor time, {self.cost.wall_s:.1f} s on the clock"
        return tuple(filter(None, (line, cost, self.stopped)))


def fit(
    stage: Stage,
    folder: Path | None = None,
    *,
    observe: Sequence[Observer] = (),
    checkpoint_s: float = _CHECKPOINT_S,
    execution: Execution | None = None,
) -> Trained:
    """Train one stage to its end: a finished folder is loaded, an interrupted one goes on to the bit.

    Args:
        folder: Where ledger, checkpoints and result are kept; without one nothing is written.
        checkpoint_s: Least seconds between two checkpoints on disk.
        execution: How a run to compare with was executed; measured anew without one.

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
            trained = _load_finished(stage, folder, device, observe)
            if leader:
                run_folder.drop_checkpoints()  # a kill may have come between the result and this
        else:
            run = _Run(stage, run_folder, device, observe, checkpoint_s, execution)
            trained = run.train(stop_requested)
            if leader:
                _save_finished(trained, run_folder, run.observed())
                run.ledger.close(trained.steps)
    if stop_requested():  # asked once nothing is deferred any longer, so that no request is lost
        raise Interrupted(f"stopped after the last step; everything is saved in {folder}")
    return trained


class _Run:
    """One call of `fit`: the state, the ledger, the last good snapshot, and the clock."""

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
        self.device = device
        self.observe = observe
        self.every_s = every_s
        self.execution = execution
        self.state = TrainState(stage, device)
        self.ledger = Ledger(folder.path / "ledger.jsonl" if folder else None)
        saved = folder.load_checkpoint() if folder else None
        if saved is not None:
            self.restore(saved)
            torch.set_num_threads(self.state.nets.execution.threads)
        if folder is not None:
            self.refuse_lost_files(folder)
        self.good = self.snapshot()
        self.candidate: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.begun = Cost.now() - self.state.now.spent
        self.looked_at = 0.0
        self.saved_at = time.monotonic()
        self.saved = self.good

    def refuse_lost_files(self, folder: RunFolder) -> None:
        """Make sure that neither decisions that were already taken nor a finished result are missing.

        Raises:
            RunFolderError: They are.
        """
        ledger = self.ledger
        name = ""
        if self.state.now.ledger_position > distributed.broadcast_object(len(ledger.entries)):
            name = "ledger.jsonl"
        elif distributed.broadcast_object(ledger.is_closed):
            name = "finished.json"
        if name:
            raise RunFolderError(
                f"{folder.path / name} is missing or was cut short; restore it, or delete {folder.path} and train again"
            )

    def observed(self) -> list[Any]:
        """What observers have seen of this run, as far as they keep anything."""
        return [observer.state(self.stage.name) for observer in resumable(self.observe)]

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state, and what observers have seen, so that a step that is repeated is not counted twice."""
        tensors, meta = self.state.snapshot()
        return tensors, meta | {"observed": self.observed()}

    def restore(self, saved: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
        """Become what `snapshot` returned."""
        tensors, meta = saved
        _show_again(self.observe, self.stage.name, meta["observed"])
        self.state.restore(tensors, {name: value for name, value in meta.items() if name != "observed"})

    def train(self, stop_requested: Callable[[], bool]) -> Trained:
        """Step until the budget is used, then hand out the averaged weights."""
        state = self.state
        while True:
            self.decide()
            now = state.now
            progress = now.pace.progress(now.next_step)
            ended = progress >= 1.0 or bool(now.stopped)
            stopping = not ended and not distributed.all_true(not stop_requested())
            if (ended or stopping) and not self.is_sound():
                self.survive_divergence(Step(now.next_step, progress, now.attempt))
                continue
            if ended:
                break
            if stopping:
                self.interrupt()
            if now.next_step % _SNAPSHOT_STEPS == 0 and self.candidate is None:
                self.candidate = self.snapshot()
            step = Step(now.next_step, progress, now.attempt)
            try:
                losses = self.run_step(step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.survive_memory(step, error)
                continue
            if not self.losses_are_finite(step):
                self.survive_divergence(step)
                continue
            now.next_step += 1
            self.look_at_clock()
            evaluation = self.evaluate_when_due()
            if self.observe:
                done = now.pace.progress(now.next_step)
                pictures = {} if evaluation is None else self.stage.settings.method.pictures(state.nets, state.memory)
                report = Report(
                    self.stage.name, step, losses, done, now.phase, now.spent, self.stage.budget, evaluation, pictures
                )
                for observer in self.observe:
                    observer(report)
            self.keep_snapshot()
        return self.finish()

    def look_at_clock(self) -> None:
        """Update the time spent, at most every few hundredths of a second: the processor's clock is dear to read."""
        if time.perf_counter() - self.looked_at >= _CLOCK_S:
            self.state.now.spent = Cost.now() - self.begun
            self.looked_at = time.perf_counter()

    def run_step(self, step: Step) -> tuple[Loss, ...]:
        """One step of every objective; in the first phase, of the supervised losses alone."""
        state, method = self.state, self.state.settings.method
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
        self.add_up(losses)
        return tuple(losses)

    # Decisions: proposed here, written to the ledger, and carried out only from there.

    def decide(self) -> None:
        """Carry out what the ledger holds for this step, then what the clock now asks for."""
        state = self.state
        while entry := self.ledger.pending(state.now.ledger_position, state.now.next_step):
            self.carry_out(entry)
        now, timed = state.now, self.stage.budget.is_timed
        first_phase_ends = now.phase == 1 and now.pace.progress(now.next_step) >= state.pacer.warmup
        if first_phase_ends and not timed:
            now.phase = 2
        if now.ledger_position < len(self.ledger.entries):
            return  # still repeating what an earlier process decided
        if now.ledger_position == 0:
            execution = self.execution or resolve(state, self.device, self.stage.budget)
            self.note("execution", now.next_step, **asdict(execution))
        if not timed:
            return
        share = distributed.broadcast_object(now.spent.share_of(self.stage.budget, now.next_step))
        proposal: Pace | None
        warmup = state.pacer.warmup
        if first_phase_ends and (longer := state.pacer.longer_warmup(now.next_step, share)) is not None:
            proposal, phase, warmup = Pace(now.next_step, warmup, to_progress=longer), 1, longer
        elif first_phase_ends:
            proposal, phase = state.pacer.enter_second_phase(now.pace, now.next_step, share), 2
        else:
            proposal, phase = state.pacer.propose(now.pace, now.next_step, share), now.phase
        if proposal is not None:
            self.note("pace", now.next_step, share=share, phase=phase, warmup=warmup, **asdict(proposal))

    def note(self, kind: str, step: int, **details: Any) -> None:
        """Write a decision into the ledger, then make it take effect."""
        position = self.state.now.ledger_position
        self.carry_out(self.ledger.append(kind, step, position=position, **details))

    def carry_out(self, entry: dict[str, Any]) -> None:
        """Make one decision of the ledger take effect."""
        state = self.state
        position = state.now.ledger_position + 1
        details = {name: value for name, value in entry.items() if name not in ("kind", "step")}
        match entry["kind"]:
            case "execution":
                state.nets.execution = Execution(**details)
                torch.set_num_threads(state.nets.execution.threads)
            case "pace":
                state.now.phase = details.pop("phase")
                share, warmup = details.pop("share"), details.pop("warmup")
                state.now.pace = Pace(**details)
                state.pacer.load_state({"seen": [entry["step"], share], "warmup": warmup})
            case "diverged":
                attempt, scale = state.now.attempt + 1, state.now.rate_scale * 0.5
                self.roll_back()
                state.now.attempt, state.now.rate_scale = attempt, scale
            case "out of memory":
                chunks = state.nets.execution.chunks * 2
                self.roll_back()
                state.set_execution(chunks=chunks)
            case "interrupted":
                state.now.ledger_position = position
                self.good, self.candidate = self.snapshot(), None
        state.now.ledger_position = position

    def roll_back(self) -> None:
        """Return to the last good snapshot, keeping the clock and the pace."""
        now, execution = self.state.now, self.state.nets.execution
        kept = {
            "spent": Cost.now() - self.begun,
            "pace": now.pace,
            "attempt": now.attempt,
            "rate_scale": now.rate_scale,
        }
        self.restore(self.good)
        self.state.nets.execution = execution
        for name, value in kept.items():
            setattr(self.state.now, name, value)
        self.candidate = None

    def survive_divergence(self, step: Step) -> None:
        """Repeat from the last good snapshot with other draws and half the learning rate."""
        if self.state.now.attempt + 1 >= _MOST_ATTEMPTS:
            raise UserError(
                f"the loss was not finite {_MOST_ATTEMPTS} times, last at step {step.index}, at ever lower learning "
                "rates; check the images and labels, or set optimizer.lr much lower"
            )
        self.note("diverged", step.index)
        self.checkpoint()

    def survive_memory(self, step: Step, error: BaseException) -> None:
        """Repeat from the last good snapshot with the forward pass cut into twice as many parts."""
        rows = self.state.stream.batch_size + self.state.stream.unlabeled_batch_size
        if self.state.nets.execution.chunks * 2 > rows:
            raise UserError(
                f"memory ran out even one row at a time (batch_size {self.state.stream.batch_size}); "
                "choose a smaller network or smaller images"
            ) from error
        self.note("out of memory", step.index)
        self.checkpoint()

    def interrupt(self) -> None:
        """Save the present step and leave."""
        self.note("interrupted", self.state.now.next_step)
        self.checkpoint()
        assert self.folder is not None
        raise Interrupted(f"stopped at step {self.state.now.next_step}; everything is saved in {self.folder.path}")

    # Watching: finite losses, snapshots, means over steps, evaluations.

    def add_up(self, losses: list[Loss]) -> None:
        """Add the step's terms and metrics to the sums of this interval, on the device."""
        sums = self.state.sums
        self.state.now.num_summed += 1
        for loss in losses:
            for name, value in (*loss.terms.items(), *loss.metrics.items()):
                if name in sums:
                    sums[name] += value.detach()
                else:
                    sums[name] = value.detach().clone()

    def losses_are_finite(self, step: Step) -> bool:
        """Whether all losses of this interval are; looked at now and then where looking would hold up a device."""
        if self.device.type != "cpu" and step.index % _CHECK_STEPS_ON_DEVICE != _CHECK_STEPS_ON_DEVICE - 1:
            return True
        finite = distributed.all_true(all(math.isfinite(float(value)) for value in self.state.sums.values()))
        if finite and self.candidate is not None:
            self.good, self.candidate = self.candidate, None
        return finite

    def is_sound(self) -> bool:
        """Whether the losses of this interval and the averaged weights are finite; asked before anything is kept."""
        values = [*self.state.sums.values(), *self.state.nets.ema.state_dict().values()]
        return distributed.all_true(all(bool(value.isfinite().all()) for value in values))

    def keep_snapshot(self) -> None:
        """Write the last good snapshot to disk when it is new and the last checkpoint is old enough."""
        if self.good is not self.saved and time.monotonic() - self.saved_at >= self.every_s:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write the last good snapshot to disk."""
        if self.folder is not None and distributed.rank() == 0:
            tensors, meta = self.good
            self.folder.save_checkpoint(tensors, meta)
            self.saved_at, self.saved = time.monotonic(), self.good

    def evaluate_when_due(self) -> dict[str, float] | None:
        """The line that `evaluate` adds to the history, if an interval of training has ended."""
        now, settings = self.state.now, self.stage.settings
        progress = now.pace.progress(now.next_step)
        if progress < min(1.0, (now.evaluations + 1) / settings.num_evaluations):
            return None
        return self.evaluate(progress)

    def evaluate(self, progress: float) -> dict[str, float]:
        """A line of history: mean losses since the last one, and the accuracy of the averaged weights."""
        state, now, settings = self.state, self.state.now, self.stage.settings
        now.evaluations = int(progress * settings.num_evaluations + 1e-9)
        line = {"step": now.next_step, "progress": progress, "cpu_s": now.spent.cpu_s, "wall_s": now.spent.wall_s}
        line |= {name: float(value) / now.num_summed for name, value in state.sums.items()}
        state.sums, now.num_summed = {}, 0
        data = self.stage.data
        if settings.method.pretext:
            line |= self.probe()
        elif len(data.validation):
            probabilities = predict(
                state.nets.ema, data, data.validation, device=self.device, execution=state.nets.execution
            )
            # Batch-norm statistics differ between processes, and with them what each would decide.
            accuracy = distributed.broadcast_object(float(np.mean(probabilities.argmax(-1) == data.validation_targets)))
            line["validation_accuracy"] = accuracy
            self.remember_best(accuracy)
            self.lose_patience(progress)
        now.history.append(line)
        return line

    def remember_best(self, accuracy: float) -> None:
        """Keep the averaged weights if none before were better."""
        state, now = self.state, self.state.now
        if accuracy >= now.best_accuracy:  # of equals the later: it has been averaged for longer
            gained = accuracy > now.best_accuracy
            now.best_accuracy, now.best_step = accuracy, now.next_step
            now.evaluations_since_best = 0 if gained else now.evaluations_since_best + 1
            state.keep_best()
        else:
            now.evaluations_since_best += 1

    def probe(self) -> dict[str, float]:
        """How well averaged features tell labeled rows apart, each row or fold left out in turn; the best are kept."""
        data, state = self.stage.data, self.state
        if data.targets.ndim != 1:
            return {}
        count = len(data.labeled)  # rows come sorted by class, so some are taken of all
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_PROBED)).astype(np.int64))
        ids, labels = data.labeled[chosen], data.targets.numpy(force=True)[chosen]
        found = features(state.nets.ema, data, ids, device=self.device, execution=state.nets.execution)
        probes = {"knn_accuracy": knn_accuracy(found, labels), "linear_accuracy": linear_accuracy(found, labels)}
        line = {name: value for name, value in distributed.broadcast_object(probes).items() if value is not None}
        if line:
            self.remember_best(next(iter(line.values())))
        return line

    def lose_patience(self, progress: float) -> None:
        """End the phase when validation has not improved for as many evaluations as the settings allow."""
        now, settings = self.state.now, self.stage.settings
        if not settings.patience or now.evaluations_since_best < settings.patience:
            return
        now.evaluations_since_best = 0
        if now.phase == 1:
            end = None if self.stage.budget.is_timed else now.pace.to_step
            now.phase, now.pace = 2, self.state.pacer.second_phase(now.next_step, progress, end)
        else:
            now.stopped = f"validation accuracy did not rise for {settings.patience} evaluations"

    def finish(self) -> Trained:
        """The averaged weights, or the best of them, checked in evaluation mode."""
        state, now = self.state, self.state.now
        now.spent = Cost.now() - self.begun
        if now.num_summed:  # the time was over before the step foreseen as the last
            self.evaluate(1.0)
        model = copy.deepcopy(state.nets.ema)
        if state.best:
            model.load_state_dict(state.best)
        model.requires_grad_(True)
        self.mend_statistics(model)
        self.keep_networks()
        return Trained(
            model=model.eval(),
            steps=now.next_step,
            best_step=now.best_step if state.best else now.next_step,
            cost=now.spent,
            execution=state.nets.execution,
            history=tuple(now.history),
            stopped=now.stopped,
        )

    def keep_networks(self) -> None:
        """Write the networks beside the classifier that the method wants kept, with their last weights."""
        method = self.stage.settings.method
        if self.folder is not None and distributed.rank() == 0:
            for name in getattr(method, "base", method).kept_networks:
                shape = json.dumps({"shape": self.state.spec.shape})
                weights = dict(self.state.nets.get_submodule(name).state_dict())
                save_weights(self.folder.path / f"{name}.safetensors", weights, {"rows": shape})

    def mend_statistics(self, model: nn.Module) -> None:
        """Measure batch-norm statistics anew when evaluation mode does not agree with training mode."""
        data, parts = self.stage.data, self.state.nets.execution.chunks
        draw = generator("statistics", self.stage.settings.seed)  # rows come sorted by class
        chosen = draw.permutation(len(data.labeled))[: max(2, 256 // parts)]
        if len(chosen) < 2:
            return
        x = data.render(data.labeled[chosen], "plain", device=self.device)
        targets = data.targets[torch.from_numpy(chosen)].to(self.device)
        if not evaluation_check(model, x, targets):
            before = copy.deepcopy(model.state_dict())
            pool = draw.permutation(data.pool)[: 16 * 128]
            # Even parts, because batch norm cannot measure a single row.
            at_once = np.array_split(pool, max(1, min(parts * len(pool) // 128, len(pool) // 2)))
            recompute_statistics(model, (data.render(part, "plain", device=self.device) for part in at_once))
            if not evaluation_check(model, x, targets):
                model.load_state_dict(before)


def _show_again(observe: Sequence[Observer], run: str, observed: Sequence[Any]) -> None:
    """Give observers back what they had seen; those of another kind or number than then start anew."""
    observers = resumable(observe)
    if len(observers) == len(observed):
        for observer, state in zip(observers, observed, strict=True):
            observer.load_state(run, state)


def _save_finished(trained: Trained, folder: RunFolder, observed: list[Any]) -> None:
    save_weights(folder.path / "model.safetensors", dict(trained.model.state_dict()))
    plain = {name: getattr(trained, name) for name in ("steps", "best_step", "stopped")}
    plain |= {"cost": asdict(trained.cost), "execution": asdict(trained.execution), "history": list(trained.history)}
    plain["observed"] = observed
    write_json(folder.path / "finished.json", plain)
    folder.drop_checkpoints()


def _load_finished(stage: Stage, folder: Path, device: torch.device, observe: Sequence[Observer]) -> Trained:
    path = folder / "finished.json"
    plain = read_json(path)
    saved = load_tensors(folder / "model.safetensors")
    if saved is None:
        raise UserError(f"{folder / 'model.safetensors'} is missing or damaged; delete {folder} and train again")
    model = copy.deepcopy(stage.network)
    model.load_state_dict(saved[0])
    try:
        _show_again(observe, stage.name, plain["observed"])
        return Trained(
            model=model.to(device).eval(),
            steps=plain["steps"],
            best_step=plain["best_step"],
            cost=Cost(**plain["cost"]),
            execution=Execution(**plain["execution"]),
            history=tuple(plain["history"]),
            stopped=plain["stopped"],
        )
    except (KeyError, TypeError):
        raise RunFolderError(f"{path} holds something else than it did; delete {folder} and train again") from None


@contextlib.contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """While it lasts, the first signal to stop asks the loop to end at the next step; a second Ctrl-C stops it."""
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

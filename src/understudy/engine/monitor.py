"""Monitoring of a run: finite losses, means over steps, accuracy on validation images, and when it stops rising."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from understudy.core import distributed
from understudy.core.types import Loss, Step
from understudy.engine.predict import features, predict
from understudy.engine.stage import Stage
from understudy.engine.state import TrainState
from understudy.evaluation.probes import knn_accuracy, linear_accuracy

# Reading a loss waits for the device; one step in twenty is as often as snapshots are taken.
CHECK_STEPS_ON_DEVICE = 20
# Nearest neighbors compare all pairs of rows; an accuracy of 2,000 has a standard error of 1.1 points at most.
MAX_PROBED = 2000


class Monitor:
    """Monitors one state. Its findings are part of the state, so a resumed run has the same."""

    def __init__(self, stage: Stage, state: TrainState) -> None:
        self._stage = stage
        self._state = state

    def accumulate(self, losses: Sequence[Loss]) -> None:
        """Add the step's terms and metrics to the sums of this interval, on the device."""
        sums = self._state.sums
        self._state.now.num_summed += 1
        for loss in losses:
            for name, value in (*loss.terms.items(), *loss.metrics.items()):
                if name in sums:
                    sums[name] += value.detach()
                else:
                    sums[name] = value.detach().clone()

    def checks_losses(self, step: Step) -> bool:
        """Whether losses are looked at after this step: always on a processor, now and then on a device."""
        return self._state.device.type == "cpu" or (step.index + 1) % CHECK_STEPS_ON_DEVICE == 0

    def losses_finite(self) -> bool:
        """Whether all losses of this interval are finite; a sum is not as soon as one of its terms was not."""
        return distributed.all_true(all(math.isfinite(float(value)) for value in self._state.sums.values()))

    def all_finite(self) -> bool:
        """Whether the losses of this interval and the averaged weights are finite; asked before anything is kept."""
        values = [*self._state.sums.values(), *self._state.nets.ema.state_dict().values()]
        return distributed.all_true(all(bool(value.isfinite().all()) for value in values))

    def evaluate_when_due(self) -> dict[str, float] | None:
        """The line that `evaluate` adds to the history, if an interval of training has ended."""
        now = self._state.now
        progress = now.pace.progress(now.next_step)
        if progress < min(1.0, (now.evaluations + 1) / self._stage.settings.num_evaluations):
            return None
        return self.evaluate(progress)

    def evaluate(self, progress: float) -> dict[str, float]:
        """A line of history: mean losses since the last one, and the accuracy of the averaged weights."""
        state, now, settings = self._state, self._state.now, self._stage.settings
        now.evaluations = int(progress * settings.num_evaluations + 1e-9)  # 29 / 100 * 100 is less than 29
        line = {"step": now.next_step, "progress": progress, "cpu_s": now.spent.cpu_s, "wall_s": now.spent.wall_s}
        line |= {name: float(value) / now.num_summed for name, value in state.sums.items()}
        state.sums, now.num_summed = {}, 0
        data = self._stage.data
        if settings.method.pretext:
            line |= self.probe()
        elif len(data.validation):
            probabilities = predict(
                state.nets.ema, data, data.validation, device=state.device, execution=state.nets.execution
            )
            # Batch-norm statistics differ between processes, and with them what each would decide.
            accuracy = distributed.broadcast_object(float(np.mean(probabilities.argmax(-1) == data.validation_targets)))
            line["validation_accuracy"] = accuracy
            self.keep_best(accuracy)
            self.check_early_stopping()
        now.history.append(line)
        return line

    def probe(self) -> dict[str, float]:
        """How well averaged features tell labeled rows apart, each row or fold left out in turn; the best are kept."""
        data, state = self._stage.data, self._state
        if data.targets.ndim != 1:
            return {}
        count = len(data.labeled)  # rows come sorted by class, so some are taken of all
        chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_PROBED)).astype(np.int64))
        ids, labels = data.labeled[chosen], data.targets.numpy(force=True)[chosen]
        rows = features(state.nets.ema, data, ids, device=state.device, execution=state.nets.execution)
        probes = {"knn_accuracy": knn_accuracy(rows, labels), "linear_accuracy": linear_accuracy(rows, labels)}
        line = {name: value for name, value in distributed.broadcast_object(probes).items() if value is not None}
        if line:
            self.keep_best(next(iter(line.values())))
        return line

    def keep_best(self, accuracy: float) -> None:
        """Keep the averaged weights if none before were better."""
        state, now = self._state, self._state.now
        now.evaluations_since_best = 0 if accuracy > now.best_accuracy else now.evaluations_since_best + 1
        if accuracy >= now.best_accuracy:  # of equals the later: it has been averaged for longer
            now.best_accuracy, now.best_step = accuracy, now.next_step
            state.keep_best()

    def check_early_stopping(self) -> None:
        """End training if validation has stopped improving in the second phase; the first ends by a decision."""
        now, patience = self._state.now, self._stage.settings.patience
        if now.phase == 2 and now.has_stalled(patience):
            now.evaluations_since_best = 0
            now.stopped = f"validation accuracy did not rise for {patience} evaluations"

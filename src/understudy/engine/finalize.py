"""From the last step to a result: which weights, their batch-norm statistics, and the files of a finished run."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from understudy.core.brief import Brief
from understudy.core.budget import Cost
from understudy.core.errors import RunFolderError, UserError
from understudy.core.files import read_json, write_json
from understudy.core.seeding import generator
from understudy.engine.observers import Observer
from understudy.engine.rundir import RunFolder, load_tensors, save_weights
from understudy.engine.snapshots import show_again
from understudy.engine.stage import Stage
from understudy.engine.state import TrainState
from understudy.models.batch_norm import evaluation_check, recompute_statistics
from understudy.models.nets import Execution

# A few usual batches; the check asks for a large difference between the modes, which few rows show.
MAX_CHECKED = 256
# 16 batches of a usual size: a mean over 2,048 rows is within about 2 % of a deviation of the one over all.
STATISTICS_ROWS, STATISTICS_BATCH = 16 * 128, 128


@dataclass(frozen=True, eq=False, repr=False)
class Trained(Brief):
    """The result of a finished run.

    Args:
        model: The classifier with averaged weights, in evaluation mode; the best ones if there is a validation set.
        best_step: The step of these weights.
        history: One line per evaluation: step, progress, mean losses and metrics, accuracy on the validation images.
        stopped: Why training ended before its budget, or an empty text.
        rounds: One record per run, for recipes that train several.
        network_name: Name of the network, if a recipe trained another than its stage's.
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
        """The number of steps and the cost."""
        line = f"{type(self.model).__name__} after {self.steps:,} steps, weights of step {self.best_step:,}"
        cost = f"{self.cost.cpu_s:.1f} s of processor time, {self.cost.wall_s:.1f} s on the clock"
        return tuple(filter(None, (line, cost, self.stopped)))


def finalize(stage: Stage, state: TrainState) -> Trained:
    """The averaged weights, or the best of them, checked in evaluation mode."""
    now = state.now
    model = copy.deepcopy(state.nets.ema)
    if state.best:
        model.load_state_dict(state.best)
    model.requires_grad_(True)
    repair_batch_norm(model, stage, state)
    return Trained(
        model=model.eval(),
        steps=now.next_step,
        best_step=now.best_step if state.best else now.next_step,
        cost=now.spent,
        execution=state.nets.execution,
        history=tuple(now.history),
        stopped=now.stopped,
    )


def repair_batch_norm(model: nn.Module, stage: Stage, state: TrainState) -> None:
    """Measure batch-norm statistics anew where evaluation mode does not agree with training mode."""
    data, chunks, device = stage.data, state.nets.execution.chunks, state.device
    rng = generator("statistics", stage.settings.seed)  # rows come sorted by class
    # Where memory ran out in training, rows are cut into parts here too.
    labeled_ids = rng.permutation(len(data.labeled))[: max(2, MAX_CHECKED // chunks)]
    if len(labeled_ids) < 2:  # batch norm cannot measure a single row
        return
    x = data.render(data.labeled[labeled_ids], "plain", device=device)
    targets = data.targets[torch.from_numpy(labeled_ids)].to(device)
    if not evaluation_check(model, x, targets):
        before = copy.deepcopy(model.state_dict())
        rows = rng.permutation(data.pool)[:STATISTICS_ROWS]
        num_parts = max(1, min(chunks * len(rows) // STATISTICS_BATCH, len(rows) // 2))
        parts = np.array_split(rows, num_parts)  # even ones, so that none is a single row
        recompute_statistics(model, (data.render(part, "plain", device=device) for part in parts))
        if not evaluation_check(model, x, targets):
            model.load_state_dict(before)


def save_networks(stage: Stage, state: TrainState, folder: RunFolder) -> None:
    """Write the networks beside the classifier that the method wants kept, with their last weights."""
    method = stage.settings.method
    for name in getattr(method, "base", method).kept_networks:
        shape = json.dumps({"shape": state.spec.shape})
        weights = dict(state.nets.get_submodule(name).state_dict())
        save_weights(folder.path / f"{name}.safetensors", weights, {"rows": shape})


def save_finished(trained: Trained, folder: RunFolder, observed: list[Any]) -> None:
    """Write the result of a run; `finished.json` comes last, because it says that all the rest is there."""
    save_weights(folder.path / "model.safetensors", dict(trained.model.state_dict()))
    values = {name: getattr(trained, name) for name in ("steps", "best_step", "stopped")}
    values |= {"cost": asdict(trained.cost), "execution": asdict(trained.execution), "history": list(trained.history)}
    values["observed"] = observed
    write_json(folder.path / "finished.json", values)
    folder.drop_checkpoints()


def load_finished(stage: Stage, folder: Path, device: torch.device, observe: Sequence[Observer]) -> Trained:
    """The result that `save_finished` wrote; observers get back what they had seen.

    Raises:
        UserError: Its weights are missing or damaged.
        RunFolderError: Its values are not those of a result.
    """
    path = folder / "finished.json"
    values = read_json(path)
    weights = load_tensors(folder / "model.safetensors")
    if weights is None:
        raise UserError(f"{folder / 'model.safetensors'} is missing or damaged; delete {folder} and train again")
    model = copy.deepcopy(stage.network)
    model.load_state_dict(weights[0])
    try:
        show_again(observe, stage.name, values["observed"])
        return Trained(
            model=model.to(device).eval(),
            steps=values["steps"],
            best_step=values["best_step"],
            cost=Cost(**values["cost"]),
            execution=Execution(**values["execution"]),
            history=tuple(values["history"]),
            stopped=values["stopped"],
        )
    except (KeyError, TypeError):
        raise RunFolderError(f"{path} holds something else than it did; delete {folder} and train again") from None

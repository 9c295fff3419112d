"""All that a checkpoint holds: networks, memory, optimizers, place in the data, and decisions in force."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.budget import Cost
from understudy.core.seeding import generator, seed_torch
from understudy.core.types import Loss, Objective
from understudy.data.stream import Stream
from understudy.engine.optim import learning_rate_factor
from understudy.engine.pace import Pace, Pacer
from understudy.engine.stage import Stage
from understudy.functional.schedules import ema_decay_at
from understudy.models import feature_width, fit_input
from understudy.models.heads import layers_named
from understudy.models.nets import Execution, Networks

_INPUT_SAMPLE = 2000  # rows to fit normalization and whitening on


@dataclass
class Progress:
    """The plain values of a state, saved as JSON."""

    next_step: int = 0
    ledger_position: int = 0
    attempt: int = 0
    rate_scale: float = 1.0
    pace: Pace = field(default_factory=Pace)
    phase: int = 1
    num_summed: int = 0
    evaluations: int = 0
    best_accuracy: float = -1.0
    best_step: int = -1
    evaluations_since_best: int = 0
    stopped: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    spent: Cost = field(default_factory=Cost)

    def has_stalled(self, patience: int) -> bool:
        """Whether validation has not improved for this many evaluations; a patience of 0 never ends."""
        return 0 < patience <= self.evaluations_since_best


class TrainState:
    """One run in memory."""

    def __init__(self, stage: Stage, device: torch.device) -> None:
        """Copy the stage's network, fit its input layer on training rows, and build what the method needs."""
        settings, method = stage.settings, stage.settings.method
        self.settings = settings
        self.device = device
        seed_torch("networks", settings.seed)
        classifier = copy.deepcopy(stage.network)
        fit_input(classifier, input_sample(stage))
        self.spec = stage.data.spec(feature_width(classifier))
        self.nets: Networks = method.networks(classifier, self.spec).to(device)
        self.memory: nn.Module = method.memory(self.spec).to(device)
        self.objectives: tuple[Objective, ...] = method.objectives()
        trained = {name for objective in self.objectives for name in objective.trains}
        for name, network in self.nets.named_children():
            network.train(name in trained)
            if name not in trained:
                network.requires_grad_(False)
        self.nets.freeze(layers_named(self.nets.model, settings.freeze))
        self.parameters = [
            [p for name in objective.trains for p in self.nets.get_submodule(name).parameters() if p.requires_grad]
            for objective in self.objectives
        ]
        self.optimizers = [
            settings.optimizer.build([self.nets.get_submodule(name) for name in objective.trains])
            for objective in self.objectives
        ]
        self._peak_rates = [
            [group["lr"] * objective.rate for group in optimizer.param_groups]
            for objective, optimizer in zip(self.objectives, self.optimizers, strict=True)
        ]
        self._averaged = _pairs(self.nets)
        self.stream = Stream(
            stage.data,
            seed=settings.seed,
            batch_size=settings.batch_size,
            unlabeled_batch_size=method.unlabeled_batch_size(settings.batch_size),
            labeled_view=settings.labeled_view,
            mix=settings.mix,
            mix_alpha=settings.mix_alpha,
            oversampling=settings.oversampling,
            device=device,
        )
        self.best: dict[str, Tensor] = {}
        self.sums: dict[str, Tensor] = {}  # of losses and metrics since the last evaluation
        two_phases = not method.pretext and stage.data.unlabeled.size > 0 and method.unlabeled_batch_size(1) > 0
        self.pacer = Pacer(stage.budget, settings.warmup if two_phases else 0.0)
        self.now = Progress(pace=self.pacer.start(), phase=1 if self.pacer.warmup > 0 else 2)

    def set_rates(self, progress: float) -> None:
        """Set every group's learning rate for this share of training."""
        settings = self.settings
        factor = self.now.rate_scale * learning_rate_factor(
            progress, warmup=settings.lr_warmup, decay=settings.lr_decay, final=settings.lr_final
        )
        for optimizer, peaks in zip(self.optimizers, self._peak_rates, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def update(self, index: int, loss: Loss) -> None:
        """Move the networks that objective `index` trains down the gradient of its loss, and no others."""
        optimizer, parameters = self.optimizers[index], self.parameters[index]
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        distributed.average_gradients(parameters)
        optimizer.step()

    @torch.no_grad()
    def average_weights(self) -> None:
        """Move `ema` towards `model`: floating-point buffers as weights, all others copied."""
        averages, values, copies = self._averaged
        decay = ema_decay_at(self.settings.method.ema_decay, self.now.next_step)
        torch._foreach_lerp_(averages, values, 1 - decay)
        for target, source in copies:
            target.copy_(source)

    def keep_best(self) -> None:
        """Remember the averaged weights as the best so far."""
        self.best = {name: tensor.detach().clone() for name, tensor in self.nets.ema.state_dict().items()}

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A copy of everything: tensors by name, and plain values."""
        tensors = {f"nets.{name}": tensor for name, tensor in self.nets.state_dict().items()}
        tensors |= {f"memory.{name}": tensor for name, tensor in self.memory.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"sums.{name}": tensor for name, tensor in self.sums.items()}
        for index, (optimizer, parameters) in enumerate(zip(self.optimizers, self.parameters, strict=True)):
            for number, parameter in enumerate(parameters):
                for name, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{index}.{number}.{name}"] = value
        meta = asdict(self.now) | {
            "stream": self.stream.state(),
            "execution": asdict(self.nets.execution),
            "pacer": self.pacer.state(),
        }
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}, copy.deepcopy(meta)

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Become the state that a snapshot was taken of."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.nets.load_state_dict(part("nets."))
        self.memory.load_state_dict(part("memory."))
        self.best = {name: tensor.clone() for name, tensor in part("best.").items()}
        self.sums = {name: tensor.to(self.device, copy=True) for name, tensor in part("sums.").items()}
        for index, (optimizer, parameters) in enumerate(zip(self.optimizers, self.parameters, strict=True)):
            optimizer.state.clear()
            for name, value in part(f"optimizer.{index}.").items():
                number, _, key = name.partition(".")
                parameter = parameters[int(number)]
                optimizer.state[parameter][key] = value.clone().to(parameter.device)
        meta = copy.deepcopy(meta)
        self.stream.load_state(meta.pop("stream"))
        self.pacer.load_state(meta.pop("pacer"))
        self.nets.execution = Execution(**meta.pop("execution"))
        self.now = Progress(**(meta | {"spent": Cost(**meta["spent"]), "pace": Pace(**meta["pace"])}))

    def set_execution(self, **changes: Any) -> None:
        """Change how networks are run."""
        self.nets.execution = replace(self.nets.execution, **changes)


def input_sample(stage: Stage) -> Tensor:
    """Plain views of training rows, labeled and unlabeled, to fit normalization and whitening on."""
    pool = stage.data.pool
    if len(pool) > _INPUT_SAMPLE:
        pool = np.sort(generator("input", stage.settings.seed).choice(pool, _INPUT_SAMPLE, replace=False))
    return stage.data.render(pool, "plain", device=torch.device("cpu"))


def _pairs(nets: Networks) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
    averages, values, copies = [], [], []
    source = dict(nets.model.state_dict(keep_vars=True))
    # A tensor shared by two layers has two names, and must move once a step.
    targets = {id(tensor): (name, tensor) for name, tensor in nets.ema.state_dict(keep_vars=True).items()}
    for name, target in targets.values():
        if target.is_floating_point():
            averages.append(target)
            values.append(source[name])
        else:
            copies.append((target, source[name]))
    return averages, values, copies

"""Methods that are wrong on purpose, each in the way that one demand of the battery is about."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from tests.contract import battery
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.losses import cross_entropy
from understudy.methods.base import AlignedMemory, WeakPrediction
from understudy.methods.fixmatch import FixMatch
from understudy.methods.softmatch import ConfidenceStatistics, SoftMatch
from understudy.models.nets import Networks


@dataclass(frozen=True, kw_only=True)
class ZeroUnlabeled(FixMatch):
    """Its unlabeled term is a number that no gradient flows from."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        loss = super().loss(nets, batch, memory, step)
        return replace(loss, terms={**loss.terms, "unsupervised": loss.terms["unsupervised"].detach()})


@dataclass(frozen=True, kw_only=True)
class DeadKnob(FixMatch):
    """Nothing reads its temperature."""

    temperature: Annotated[float, Knob("sharpening of the target", 0.0, probe=0.5)] = 1.0


@dataclass(frozen=True, kw_only=True)
class UntestableKnob(FixMatch):
    """Its temperature names no value that must change a run."""

    temperature: Annotated[float, Knob("sharpening of the target", 0.0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class LabelLeak(FixMatch):
    """It looks up the classes of unlabeled rows."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        (logits,) = nets.logits(batch.unlabeled.view("strong"))
        truth = torch.from_numpy(battery.VAULT)[batch.unlabeled.ids]
        return Loss({"supervised": cross_entropy(logits, truth, torch.ones(len(truth)))})


@dataclass(frozen=True, kw_only=True)
class ValidationLeak(FixMatch):
    """It reaches through the renderer of the batch for the labels of the validation images."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        stream = _captured_stream(batch.unlabeled.render)
        loss = super().loss(nets, batch, memory, step)
        share = float(np.mean(stream.data.validation_targets[:4]))
        return replace(loss, terms={name: (1 + share) * term for name, term in loss.terms.items()})


def _captured_stream(function: Any) -> Any:
    """The stream that a function, or one it calls, holds on to."""
    for cell in inspect.unwrap(function).__closure__ or ():
        found = cell.cell_contents
        if hasattr(found, "pool"):
            return found
        if inspect.isfunction(found) and (stream := _captured_stream(found)) is not None:
            return stream
    return None


class Counting(AlignedMemory):
    """Memory with a number that no checkpoint holds."""

    calls = 0


@dataclass(frozen=True, kw_only=True)
class ResumeDrift(FixMatch):
    """Its unlabeled weight depends on Python state that a resume starts anew."""

    def memory(self, spec: DataSpec) -> nn.Module:
        return Counting(spec.num_classes)

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        memory.calls += 1
        loss = super().loss(nets, batch, memory, step)
        return replace(loss, terms={name: term * (1 + 0.01 * memory.calls) for name, term in loss.terms.items()})


@dataclass(frozen=True, kw_only=True)
class HostSync(FixMatch):
    """It reads a number back to the host in every step."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        loss = super().loss(nets, batch, memory, step)
        assert loss.terms["supervised"].item() >= 0
        return loss


@dataclass(frozen=True, kw_only=True)
class BooleanIndexing(FixMatch):
    """It picks rows by a mask, whose count the host must wait for."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        loss = super().loss(nets, batch, memory, step)
        assert loss.pseudo_labels is not None
        assert len(loss.pseudo_labels.labels[loss.pseudo_labels.weight > 0]) >= 0
        return loss


@dataclass(frozen=True, kw_only=True)
class MovesAverage(FixMatch):
    """It runs the averaged network in training mode, which moves its batch-norm statistics."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        nets.ema.train()
        nets.ema(batch.unlabeled.view("weak"))
        nets.ema.eval()
        return super().loss(nets, batch, memory, step)


@dataclass(frozen=True, kw_only=True)
class TrainsNothing(FixMatch):
    """It names a network to train that its loss never uses."""

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        return Networks(model=classifier, projection=nn.Linear(2, 2))

    def objectives(self) -> Any:
        return tuple(replace(objective, trains=("model", "projection")) for objective in super().objectives())


@dataclass(frozen=True, kw_only=True)
class WeightInLoop(FixMatch):
    """Its loss is a mean over the parts a forward was cut into, as plain accumulation gives, and no mean over rows."""

    def loss(self, nets: Networks, batch: Batch, memory: Any, step: Step) -> Loss:
        loss = super().loss(nets, batch, memory, step)
        return replace(loss, terms={name: term / nets.execution.chunks for name, term in loss.terms.items()})


@dataclass(frozen=True, kw_only=True)
class LocalMemory(SoftMatch):
    """Each process remembers what it alone saw."""

    def predict_weak(self, nets: Networks, batch: Batch, memory: ConfidenceStatistics) -> WeakPrediction:
        weak = super().predict_weak(nets, batch, memory)
        memory.balance.unlabeled.lerp_(weak.probs.mean(0), 0.1)
        return weak

"""What every method must do, a function per demand: each takes a method class and raises if the demand is not met."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.contract import processes
from tests.contract.tiny import CLASSES, SIZE, Run, different, fresh_state, network, run, stage, tiny
from understudy.core.config import Config, from_table, knobs, to_table
from understudy.core.errors import ConfigError, Interrupted
from understudy.core.seeding import generator
from understudy.core.types import Batch, DataSpec, Labeled, Step, Unlabeled
from understudy.data.stream import Selector
from understudy.engine.observers import PseudoLabelQuality, StepReport
from understudy.engine.optim import SGD
from understudy.engine.state import TrainState
from understudy.functional.alignment import Alignment
from understudy.functional.criteria import GeneralizedCrossEntropy
from understudy.methods.base import Method
from understudy.methods.softmatch import SoftMatch

HALFWAY = Step(index=30, progress=0.5)
COMPONENTS: dict[str, Any] = {
    "criterion": GeneralizedCrossEntropy(class_weights="inverse"),
    "alignment": Alignment(target="labeled", momentum=0.2),
    "base": SoftMatch(lambda_u=0.5),
}
"""Another component for each place that methods have; the components' own knobs are turned in test_components.py."""
VAULT = np.zeros(0, dtype=np.int64)  # where a method that cheats would look up what it must not know


def variants(kind: type[Method[Any]]) -> Iterator[tuple[str, Any, Method[Any]]]:
    """The method with one knob at a time turned, and with one other component in the place of each."""
    default = kind()
    for name, value in turned(default):
        yield name, value, replace(default, **{name: value})
    for field in dataclasses.fields(kind):
        component = getattr(default, field.name)
        if field.name in COMPONENTS:
            yield field.name, COMPONENTS[field.name], replace(default, **{field.name: COMPONENTS[field.name]})
        else:
            assert not isinstance(component, Config), f"the battery has no other {field.name} to put in its place"


def turned(config: Config) -> Iterator[tuple[str, Any]]:
    """Each knob of a group of settings with its probe, and with every choice that is not the present one."""
    for name, knob in knobs(type(config)).items():
        values = list(knob.choices) if knob.choices else [knob.probe]
        assert values != [None], (
            f"{type(config).__name__}.{name} has neither a probe nor choices, so nobody can test it"
        )
        yield from ((name, value) for value in values if value != getattr(config, name))


def check_every_term_trains(kind: type[Method[Any]], *, norm: bool) -> None:
    """Every loss term moves some network, and all is finite.

    A term that one untrained network gives no gradient may depend on what it happens to predict, such as a single class
    for all rows: it is dead if another network gives it none either.
    """
    for name, value, method in (("", None, kind()), *variants(kind)):
        dead = _dead_terms(method, network(norm=norm))
        if dead:
            dead &= _dead_terms(method, network(norm=norm, seed=1))
        assert not dead, f"{sorted(dead)} of {kind.__name__} gives no gradient with {name}={value}"


def _dead_terms(method: Method[Any], net: nn.Module) -> set[str]:
    """Terms without a gradient in three steps from the network's first weights."""
    state = fresh_state(stage(method, net=net))
    dead = set()
    for number, objective in enumerate(state.objectives):
        reached: dict[str, bool] = {}
        for index in range(3):
            step = replace(HALFWAY, index=HALFWAY.index + index)
            batch = state.stream.batch(step, with_unlabeled=state.stream.unlabeled_batch_size > 0)
            loss = objective.loss(state.nets, batch, state.memory, step)
            for term, scalar in loss.terms.items():
                gradients = _gradients(scalar, state.parameters[number])
                assert all(gradient.isfinite().all() for gradient in gradients), f"{term} has a gradient not finite"
                reached[term] = reached.get(term, False) or any(g.any() for g in gradients)
        assert reached, "the loss has no terms"
        dead |= {term for term, moved in reached.items() if not moved}
    return dead


def _gradients(scalar: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    if not scalar.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def check_every_knob_counts(kind: type[Method[Any]]) -> None:
    """Each knob, turned to its probe or another choice, changes the final weights.

    A knob may be about rows not yet seen: if it counts for nothing with a pool that one step sees whole, a larger one
    is tried.
    """
    reference = run(stage(kind())).trained.model.state_dict()
    again = run(stage(kind())).trained.model.state_dict()
    assert not different(reference, again), f"{kind.__name__} trains differently each time"
    for name, value, method in variants(kind):
        counts = different(reference, run(stage(method)).trained.model.state_dict()) or different(
            *(run(stage(each, data=tiny(unlabeled=120).data)).trained.model.state_dict() for each in (kind(), method))
        )
        assert counts, f"{kind.__name__}.{name}={value} changes nothing"


def check_hidden_labels_unread(kind: type[Method[Any]]) -> None:
    """Other hidden labels, and other labels of the validation images, leave the last weights as they are."""
    global VAULT
    outcomes = []
    for shift in (0, 1):
        made = tiny(validation=9)
        VAULT = (made.truth[: len(made.data.pool)] + shift) % CLASSES
        data = replace(made.data, validation_targets=(made.data.validation_targets + shift) % CLASSES)
        training = stage(kind(), data=data)
        outcomes.append(run(training, observe=[PseudoLabelQuality(VAULT)]))
        state = fresh_state(training)
        batch = state.stream.batch(HALFWAY, with_unlabeled=state.stream.unlabeled_batch_size > 0)
        assert not _holds(batch, VAULT), "the hidden labels can be reached from the batch"
    one, other = (_without(outcome.tensors, "best.") for outcome in outcomes)
    assert not different(one, other), f"{kind.__name__} read labels it must not see: {different(one, other)}"


def _holds(value: Any, labels: np.ndarray[Any, Any], depth: int = 8) -> bool:
    """Whether an array with these labels can be reached from the value through attributes, items and closures."""
    if isinstance(value, Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.ndarray):
        return np.shares_memory(value, labels) or (value.shape == labels.shape and bool((value == labels).all()))
    if depth == 0 or isinstance(value, str | int | float | type):
        return False
    inner: list[Any] = list(getattr(value, "__dict__", {}).values())
    inner += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    inner += [getattr(value, "__self__", None)]
    inner += list(value.values()) if isinstance(value, dict) else []
    inner += list(value) if isinstance(value, list | tuple) else []
    return any(_holds(part, labels, depth - 1) for part in inner if part is not value)


def check_resume(kind: type[Method[Any]], folder: Path, **settings: Any) -> None:
    """Stopped or crashed in either phase and started again, a run ends in the same state to the bit."""
    training = stage(kind(), steps=26, data=tiny(validation=9).data, warmup=0.3, **settings)
    whole = _training_state(run(training, folder / "whole"))
    for moment, crash in ((3, False), (13, False), (23, True)):
        place = folder / str(moment)
        with pytest.raises(_CrashError if crash else Interrupted):
            run(training, place, observe=[_Stop(moment, crash)])
        resumed = _training_state(run(training, place))
        assert not different(whole, resumed), (
            f"{kind.__name__} {'crashed' if crash else 'stopped'} at step {moment} ends in another state: "
            f"{different(whole, resumed)}"
        )


def _training_state(finished: Run) -> dict[str, Tensor]:
    return finished.tensors | {f"final.{name}": value for name, value in finished.trained.model.state_dict().items()}


class _CrashError(Exception):
    pass


class _Stop:
    """An observer that ends the process's work at one step, by a signal or as a crash would."""

    def __init__(self, at: int, crash: bool) -> None:
        self.at, self.crash = at, crash

    def __call__(self, report: StepReport) -> None:
        if report.step.index == self.at:
            if self.crash:
                raise _CrashError
            os.kill(os.getpid(), signal.SIGINT)


def check_config_round_trips(kind: type[Method[Any]]) -> None:
    """Settings survive TOML, and a misspelled one is an error that names the right one."""
    for method in (kind(), *(method for _, _, method in variants(kind))):
        table = tomllib.loads(tomli_w.dumps({"method": to_table(method)}))["method"]
        assert from_table(Method, table) == method
    for name in knobs(kind):
        with pytest.raises(ConfigError) as caught:
            from_table(Method, {"name": kind.name, f"{name}x": 1}, where="method")
        assert f"unknown setting method.{name}x: did you mean {name!r}? allowed: " in str(caught.value)


def check_only_trained_networks_move(kind: type[Method[Any]]) -> None:
    """A step moves each network its objective trains, and leaves every other one bit-equal, buffers included."""
    for method in (kind(), *(method for _, _, method in variants(kind))):
        # Without decay: it would move a network that no gradient reaches.
        state = fresh_state(stage(method, optimizer=SGD(weight_decay=0.0)))
        state.set_rates(0.5)
        # A network may have nothing to learn from before memory holds anything.
        idle = [set(objective.trains) for objective in state.objectives]
        for number in range(3):
            step = replace(HALFWAY, index=HALFWAY.index + number)
            batch = state.stream.batch(step, with_unlabeled=state.stream.unlabeled_batch_size > 0)
            for index, objective in enumerate(state.objectives):
                before = _networks(state)
                state.update(index, objective.loss(state.nets, batch, state.memory, step))
                for name, after in _networks(state).items():
                    moved = different(before[name], after)
                    if moved:
                        idle[index].discard(name)
                        assert name in objective.trains, f"{kind.__name__} is not to train {name} and moved {moved}"
        for names in idle:
            assert not names, f"{kind.__name__} is to train {' and '.join(sorted(names))} and did not"


def _networks(state: TrainState) -> dict[str, dict[str, Tensor]]:
    return {name: copy.deepcopy(dict(net.state_dict())) for name, net in state.nets.named_children()}


def check_no_host_sync(kind: type[Method[Any]]) -> None:
    """The loss runs on tensors without values, so it reads none on the host."""
    b, shape, counts = 4, (1, SIZE, SIZE), torch.tensor([5.0, 3.0, 4.0])
    for method in (kind(), *(method for _, _, method in variants(kind))):
        u = method.unlabeled_batch_size(b)

        def rendered(rows: int) -> Any:
            return lambda view, chosen, draw: torch.rand(rows if chosen is None else len(chosen), *shape)

        spec = DataSpec(CLASSES, 12, 36, shape, (5, 3, 4), 8 * 4)
        real = method.networks(network(), spec), method.memory(spec)
        with FakeTensorMode() as mode:
            nets, memory = (_faked(module, mode) for module in real)
            batch = Batch(
                Labeled(
                    torch.zeros(b, dtype=torch.long),
                    torch.ones(b),
                    rendered(b),
                    "weak",
                    mode.from_tensor(counts),
                    torch.zeros(b, dtype=torch.long),
                ),
                Unlabeled(torch.zeros(u, dtype=torch.long), rendered(u), Selector(exact=False).select),
                generator,
            )
            for objective in method.objectives():
                objective.loss(nets, batch, memory, HALFWAY).total.backward()


def _faked(module: Any, mode: FakeTensorMode) -> Any:
    for part in module.modules():
        for values in (part._parameters, part._buffers):
            values.update({name: mode.from_tensor(value) for name, value in values.items() if value is not None})
    return module


def check_chunks(kind: type[Method[Any]]) -> None:
    """A forward cut in two gives the same gradients, and moves batch-norm statistics once per part."""
    gradients, counts = [], []
    for chunks in (1, 2):
        gradients.append(_one_step(kind, norm=False, chunks=chunks)[0])
        counts.append(_one_step(kind, norm=True, chunks=chunks)[1])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert counts[1] == 2 * counts[0] > 0, f"statistics moved {counts[1]} times in two parts, {counts[0]} in one"


def _one_step(kind: type[Method[Any]], *, norm: bool, chunks: int) -> tuple[list[Tensor], int]:
    state = fresh_state(stage(kind(), net=network(norm=norm)), chunks=chunks)
    batch = state.stream.batch(HALFWAY, with_unlabeled=state.stream.unlabeled_batch_size > 0)
    found = []
    for index, objective in enumerate(state.objectives):
        objective.loss(state.nets, batch, state.memory, HALFWAY).total.backward(inputs=state.parameters[index])
        found += [p.grad for p in state.parameters[index] if p.grad is not None]
    trackers = [int(m.num_batches_tracked) for m in state.nets.model.modules() if isinstance(m, nn.BatchNorm2d)]
    return found, trackers[0] if trackers else 0


def check_processes(kind: type[Method[Any]], outcomes: dict[int, dict[str, Tensor]]) -> None:
    """Two processes train to the weights of one, up to rounding, and remember the same to the bit.

    Args:
        outcomes: The last state of each of the two processes, by rank, from `tests.contract.processes`.
    """
    memories = [{name: v for name, v in outcome.items() if name.startswith("memory.")} for outcome in outcomes.values()]
    assert not different(*memories), f"processes remember different {different(*memories)}"
    alone = run(processes.training(kind)).tensors
    # Under a weight of 50, rounding grows to 2e-5 in twelve steps; what one process did alone makes 1e-2 and more.
    for name in (name for name in alone if name.startswith(("nets.", "memory."))):
        torch.testing.assert_close(
            outcomes[0][name], alone[name], rtol=1e-3, atol=5e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


def check_odd_sizes(kind: type[Method[Any]]) -> None:
    """Two and a thousand classes, one unlabeled row, more rows a step than there are: all train to finite weights."""
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"num_classes": 2}, {}),
        ({"num_classes": 1000}, {}),
        ({"unlabeled": 1}, {}),
        ({"labeled": 3}, {"batch_size": 16}),
        ({"labeled": 3, "unlabeled": 2}, {}),
        ({}, {"batch_size": 1}),
    ]
    for made, settings in cases:
        trained = run(stage(kind(), steps=4, data=tiny(**made).data, **settings)).trained
        assert all(value.isfinite().all() for value in trained.model.state_dict().values()), f"{made} {settings}"


def _without(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.startswith(prefix)}

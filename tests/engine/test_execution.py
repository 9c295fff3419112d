"""What the machine is found to be good at."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from tests.contract.tiny import fresh_state, network, stage
from understudy.core.budget import Budget
from understudy.core.errors import ConfigError, UnderstudyWarning
from understudy.engine import execution
from understudy.engine.execution import choose_execution, free_cores, pick_device
from understudy.engine.fit import fit
from understudy.methods.fixmatch import FixMatch
from understudy.methods.supervised import Supervised

CPU = torch.device("cpu")


def test_free_cores__between_one_and_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= free_cores(0.02) <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("idle", "expected"), [(0.0, 1), (0.5, 4), (1.0, 8)])
def test_free_cores__leaves_busy_cores_alone(idle: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(0, 0), (round(100 * (1 - idle)), round(100 * idle))])
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(execution, "_busy_and_idle_ticks", lambda: next(ticks))
    monkeypatch.setattr(execution, "_cores_of_container", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert free_cores(0.0) == expected


def test_free_cores__heeds_a_container_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert free_cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(execution, "_busy_and_idle_ticks", lambda: None)
    monkeypatch.setattr(execution, "_cores_of_container", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert free_cores() == 2


@pytest.mark.parametrize("name", ["cpu:x", "cpu:-5", "abacus", "cpu:" + "9" * 300])
def test_pick_device__that_is_not_here(name: str) -> None:
    with pytest.raises(ConfigError, match="available: "):
        pick_device(name)


def test_pick_device__names() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match=r"device 'abacus' is not here; available: .*cpu"):
        pick_device("abacus")


def test_choose_execution__takes_what_settings_fix_and_leaves_the_state_alone() -> None:
    state = fresh_state(stage(Supervised(), net=network()))
    before = {name: tensor.clone() for name, tensor in state.nets.state_dict().items()}
    found = choose_execution(state, CPU, Budget(steps=10))
    assert (found.dtype, found.chunks, found.compiled, found.threads) == ("float32", 1, False, 1)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.nets.state_dict().items())


def test_choose_execution__compiles_where_it_was_asked_to() -> None:
    state = fresh_state(stage(Supervised(), compile="on"))
    assert choose_execution(state, CPU, Budget(steps=10)).compiled


def _no_compiler(*_: Any, **__: Any) -> Any:
    raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nSome detail")


@pytest.mark.parametrize("fails", ["when asked", "when called"])
def test_fit__goes_on_without_compiling_where_torch_compile_fails(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = fit(stage(FixMatch(), compile="off"))
    monkeypatch.setattr(torch, "compile", _no_compiler if fails == "when asked" else lambda *_, **__: _no_compiler)
    with pytest.warns(UnderstudyWarning) as notes:
        found = fit(stage(FixMatch(), compile="on"))
    sentence = "torch.compile failed (RuntimeError: Failed to find C compiler. Please specify via CC environment "
    assert [str(note.message) for note in notes] == [
        f"{sentence}variable.); training continues without it, only slower"
    ]
    assert not found.execution.compiled
    assert all(map(torch.equal, found.model.state_dict().values(), eager.model.state_dict().values()))


def test_fit__an_error_of_the_network_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *_, **__: _no_compiler)
    state = fresh_state(stage(Supervised()))
    state.set_execution(compiled=True)
    with pytest.warns(UnderstudyWarning), pytest.raises(RuntimeError, match="Expected 3D"):
        state.nets.predict(torch.zeros(2, 1, 3, 3, 3))

"""Training survives a loss that is not finite, memory that runs out, and a disk that is full."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.contract.tiny import Run, different, network, run, stage, tiny
from tests.engine.test_resume import assert_same, crashed
from understudy.core.errors import UserError
from understudy.engine import rundir
from understudy.engine.execution import is_out_of_memory
from understudy.engine.ledger import Diverged, Ledger, OutOfMemory
from understudy.engine.stage import Stage
from understudy.methods.fixmatch import FixMatch
from understudy.methods.softmatch import SoftMatch
from understudy.methods.supervised import Supervised


class Faulty(nn.Module):
    """Gives not-a-number in chosen training forwards, counted over all copies."""

    faults: ClassVar[set[int]] = set()
    calls: ClassVar[int] = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            Faulty.calls += 1
            if Faulty.calls - 1 in Faulty.faults:
                return x * float("nan")
        return x


def faulty(monkeypatch: pytest.MonkeyPatch, faults: set[int], *, norm: bool = True) -> Stage:
    monkeypatch.setattr(Faulty, "faults", faults)
    monkeypatch.setattr(Faulty, "calls", 0)
    return stage(SoftMatch(mu=2), steps=50, net=nn.Sequential(Faulty(), network(norm=norm)))


@pytest.mark.parametrize("norm", [True, False])
def test_fit__recovers_from_one_fault(norm: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    finished = run(faulty(monkeypatch, {25}, norm=norm), tmp_path)
    assert finished.trained.steps == 50
    assert (finished.meta["attempt"], finished.meta["rate_scale"]) == (1, 0.5)
    assert all(tensor.isfinite().all() for tensor in finished.tensors.values())
    assert all(value == value for line in finished.trained.history for value in line.values())
    assert Ledger(tmp_path / "ledger.jsonl").entries[1:] == [Diverged(step=25)]


def test_fit__repeats_a_recovery_on_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = run(faulty(monkeypatch, {25}))
    training = faulty(monkeypatch, {25})
    crashed(training, tmp_path, 33, checkpoint_s=1e9)
    assert_same(whole, run(training, tmp_path))  # the fault does not come again; the ledger says what it led to


class FaultyGradient(nn.Module):
    """Gives a finite loss and a gradient that is not, in the very last training forward."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            Faulty.calls += 1
            if Faulty.calls == 50:
                return x + (0 * x).abs().sqrt()
        return x


def test_fit__a_gradient_that_is_not_finite_in_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    training = faulty(monkeypatch, set(), norm=False)
    layers = nn.Sequential(nn.Conv2d(1, 1, 1), FaultyGradient(), network(norm=False))
    finished = run(replace(training, network=layers))
    assert finished.trained.steps == 50
    assert finished.meta["attempt"] == 1
    assert all(tensor.isfinite().all() for tensor in finished.trained.model.state_dict().values())


class Hungry(nn.Module):
    """Runs out of memory once, at a training forward counted by the module beside it."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and Faulty.calls == 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x


def test_fit__keeps_its_other_draws_when_memory_runs_out_later(monkeypatch: pytest.MonkeyPatch) -> None:
    training = faulty(monkeypatch, {25})
    finished = run(replace(training, network=nn.Sequential(Faulty(), Hungry(), network())))
    assert finished.trained.execution.chunks == 2
    assert (finished.meta["attempt"], finished.meta["rate_scale"]) == (1, 0.5)


def test_fit__gives_up_on_lasting_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError,
        match=r"the loss was not finite 6 times, last at step 20, at ever lower learning rates; check the images",
    ):
        run(faulty(monkeypatch, set(range(25, 999))))


class Greedy(nn.Module):
    """Runs out of memory on more rows than it has room for, with gradients or always."""

    def __init__(self, room: int, *, always: bool = True) -> None:
        super().__init__()
        self.room = room
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room and (self.always or torch.is_grad_enabled()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x


def test_fit__cuts_the_forward_when_memory_runs_out(tmp_path: Path) -> None:
    training = stage(FixMatch(mu=7), steps=30, net=nn.Sequential(Greedy(12), network(norm=False)))
    finished = run(training, tmp_path)
    assert finished.trained.steps == 30
    assert finished.trained.execution.chunks == 4
    assert [type(entry) for entry in Ledger(tmp_path / "ledger.jsonl").entries[1:]] == [OutOfMemory] * 2
    reference = run(stage(FixMatch(mu=7), steps=30, net=nn.Sequential(Greedy(999), network(norm=False))))
    for name, value in finished.trained.model.state_dict().items():
        torch.testing.assert_close(value, reference.trained.model.state_dict()[name], rtol=1e-2, atol=1e-4)


def test_fit__resumes_after_memory_ran_out(tmp_path: Path) -> None:
    training = stage(FixMatch(mu=7), steps=30, net=nn.Sequential(Greedy(12, always=False), network()))
    whole = run(training, tmp_path / "whole")
    crashed(training, tmp_path / "again", 25)
    assert_same(whole, run(training, tmp_path / "again"))


def test_fit__says_when_no_room_is_left() -> None:
    with pytest.raises(UserError, match=r"memory ran out even one row at a time \(batch_size 6\); choose a smaller"):
        run(stage(Supervised(), net=nn.Sequential(Greedy(0), network())))


def test_fit__passes_other_errors_on() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(stage(Supervised(), net=nn.Sequential(nn.Flatten(), nn.Linear(3, 3))))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_is_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def failing(function: Any, at: set[int]) -> Any:
    """The function, which finds the disk full in some of its calls."""
    calls = iter(range(10**6))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) in at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*args, **kwargs)

    return call


FULL = r"the disk that holds .* is full \(\d+ MB free\); make room and repeat the command, it continues from the last"


def disk_filler() -> Stage:
    """A run that writes an identity, a ledger, one checkpoint, and a result."""
    return stage(SoftMatch(mu=2), steps=22, data=tiny(validation=9).data)


@pytest.fixture(scope="module")
def undisturbed() -> Run:
    """Where that run ends."""
    return run(disk_filler())


@pytest.mark.parametrize(
    ("name", "at"), [("fsync", 0), ("fsync", 1), ("fsync", 2), ("fsync", 5), ("replace", 1), ("replace", 3)]
)
def test_fit__a_full_disk_loses_nothing(name: str, at: int, undisturbed: Run, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, failing(getattr(os, name), {at}))
        with pytest.raises(UserError, match=FULL):
            run(disk_filler(), tmp_path)
    assert_same(undisturbed, run(disk_filler(), tmp_path))
    assert not list(tmp_path.glob("*.tmp"))


def test_save_checkpoint__a_full_disk_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    folder = rundir.RunFolder(tmp_path)
    folder.save_checkpoint({"a": torch.ones(3)}, {"step": 1})
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(UserError, match=FULL):
        folder.save_checkpoint({"a": torch.zeros(3)}, {"step": 2})
    loaded = folder.load_checkpoint()
    assert loaded is not None
    assert loaded[1] == {"step": 1}
    assert not different(loaded[0], {"a": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_run_folder__a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file.*; choose another folder"):
        run(stage(Supervised()), tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write to .*inside: Not a directory; choose another folder"):
        run(stage(Supervised()), tmp_path / "file" / "inside")

"""However a run ends, the same command goes on from there, and arrives where an undisturbed run does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.tiny import Run, different, network, run, stage, tiny
from tests.engine import victim
from understudy.core.budget import Budget, Cost
from understudy.core.errors import Interrupted, RunFolderError
from understudy.core.files import read_json, write_json
from understudy.engine import fit as fit_module
from understudy.engine.fit import fit
from understudy.engine.ledger import Diverged, ExecutionChosen, FirstPhaseEnded, Ledger, LedgerEntry, PaceSet, Stopped
from understudy.engine.monitor import Monitor
from understudy.engine.observers import PseudoLabelQuality, StepReport
from understudy.engine.optim import SGD, AdamW, Muon, Optimizer
from understudy.engine.pace import Pace
from understudy.engine.rundir import RunFolder
from understudy.engine.stage import Stage
from understudy.functional.criteria import CrossEntropy
from understudy.methods.fixmatch import FixMatch
from understudy.methods.softmatch import SoftMatch
from understudy.methods.supervised import Supervised

ROOT = Path(__file__).parents[2]


class CrashError(Exception):
    """What stands for the end of the process."""


def crash_at(step: int) -> Callable[[StepReport], None]:
    """An observer that ends training at a step."""

    def observe(report: StepReport) -> None:
        if report.step.index == step:
            raise CrashError

    return observe


def stop_at(step: int) -> Callable[[StepReport], None]:
    """An observer that presses Ctrl-C at a step."""

    def observe(report: StepReport) -> None:
        if report.step.index == step:
            os.kill(os.getpid(), signal.SIGINT)

    return observe


def crashed(training: Stage, folder: Path, step: int = 25, **options: Any) -> None:
    with pytest.raises(CrashError):
        run(training, folder, observe=[crash_at(step)], **options)


def assert_same(one: Run, other: Run) -> None:
    assert not different(one.tensors, other.tensors)
    assert not different(one.trained.model.state_dict(), other.trained.model.state_dict())
    assert untimed(one) == untimed(other)


def untimed(finished: Run) -> list[dict[str, Any]]:
    """The history without what a clock says."""
    return [
        {name: value for name, value in line.items() if name not in ("cpu_s", "wall_s")}
        for line in finished.trained.history
    ]


def start_victim(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.engine.victim", str(folder)], cwd=ROOT)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline, "the other process did nothing"
        time.sleep(0.01)


def test_fit__killed_and_terminated_processes_resume_to_the_bit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoint.safetensors"
    written = 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start_victim(folder)
        wait_until(lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > written)  # noqa: B023
        time.sleep(random.uniform(0.0, 0.3))
        process.send_signal(number)
        assert process.wait(240) != 0
        written = checkpoint.stat().st_mtime_ns
        assert not (folder / "finished.json").exists()
    assert [type(entry) for entry in Ledger(folder / "ledger.jsonl").entries] == [ExecutionChosen, Stopped]
    assert_same(run(victim.training()), run(victim.training(), folder))


@pytest.mark.parametrize("optimizer", [SGD(), AdamW(), Muon()], ids=lambda settings: settings.name)
def test_fit__every_optimizer_resumes_to_the_bit(optimizer: Optimizer, tmp_path: Path) -> None:
    training = stage(FixMatch(mu=2), steps=30, optimizer=optimizer, net=network(dropout=0.5))
    with pytest.raises(Interrupted, match=rf"stopped at step 14; everything is saved in {tmp_path}"):
        run(training, tmp_path, observe=[stop_at(13)])
    saved = RunFolder(tmp_path).load_checkpoint()
    assert saved is not None
    assert saved[1]["next_step"] == 14  # nothing is trained twice
    crashed(training, tmp_path, 17)
    assert_same(run(training), run(training, tmp_path))


def test_fit__damaged_checkpoints(tmp_path: Path) -> None:
    training = stage(SoftMatch(mu=2), steps=50, net=network(dropout=0.5))
    crashed(training, tmp_path, 45)
    newest, previous = (tmp_path / f"{name}.safetensors" for name in ("checkpoint", "checkpoint-previous"))
    whole = bytearray(newest.read_bytes())
    whole[-100] ^= 1  # one bit of one weight
    newest.write_bytes(whole)
    with_newest_damaged = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert_same(run(training), run(training, with_newest_damaged))
    previous.write_bytes(previous.read_bytes()[:1000])
    with pytest.raises(
        RunFolderError, match=r"checkpoint.safetensors and .*checkpoint-previous.safetensors are damaged"
    ):
        run(training, tmp_path)


@pytest.mark.parametrize("name", ["identity.json", "ledger.jsonl"])
def test_fit__a_lost_file_is_named(name: str, tmp_path: Path) -> None:
    training = stage(SoftMatch(mu=2), steps=30)
    crashed(training, tmp_path, 25)
    (tmp_path / name).unlink()
    with pytest.raises(RunFolderError, match=rf"{name} is missing.*delete {tmp_path} and train again"):
        run(training, tmp_path)


def test_fit__a_lost_result_is_named(tmp_path: Path) -> None:
    training = stage(SoftMatch(mu=2))
    run(training, tmp_path)
    (tmp_path / "finished.json").unlink()
    with pytest.raises(RunFolderError, match=rf"finished.json is missing.*delete {tmp_path} and train again"):
        run(training, tmp_path)


@pytest.mark.parametrize("step", [3, 17, 26])
def test_fit__pseudo_label_figures_survive_a_crash(step: int, tmp_path: Path) -> None:
    made = tiny(unlabeled=24)
    training = stage(FixMatch(mu=2, threshold=0.4), steps=30, data=made.data)
    whole, before, after = (PseudoLabelQuality(made.truth) for _ in range(3))
    run(training, observe=[whole])
    with pytest.raises(CrashError):
        run(training, tmp_path, observe=[before, crash_at(step)])
    run(training, tmp_path, observe=[after])
    assert len(whole.rounds) == 4
    assert after.rounds == whole.rounds
    again = PseudoLabelQuality(made.truth)
    run(training, tmp_path, observe=[again])  # finished, so that nothing is trained
    assert again.rounds == whole.rounds


def begin_with(decided: list[LedgerEntry], training: Stage, folder: Path) -> None:
    """Fill a folder as a process does that is killed after the last of these decisions."""
    RunFolder(folder).recognize(training.identity())
    ledger = Ledger(folder / "ledger.jsonl")
    for position, entry in enumerate(decided):
        ledger.append(entry, position=position)


def test_fit__a_timed_run_repeats_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(Cost, "now", classmethod(lambda cls: cls(float(now := next(clock)), float(now))))
    monkeypatch.setattr("understudy.engine.pace.CLOCK_S", 0.0)
    training = stage(FixMatch(mu=2), budget=Budget(wall_s=70))
    whole = run(training, tmp_path / "whole")
    decided = Ledger(tmp_path / "whole" / "ledger.jsonl").entries
    assert {type(entry) for entry in decided} == {ExecutionChosen, PaceSet}
    again = tmp_path / "again"
    begin_with(Ledger(tmp_path / "whole" / "ledger.jsonl").entries, training, again)
    clock = iter(range(0, 10**7, 7))  # another machine, seven times slower
    assert_same(whole, run(training, again))
    assert Ledger(again / "ledger.jsonl").entries == decided


def test_fit__stopped_while_repeating_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(Cost, "now", classmethod(lambda cls: cls(float(now := next(clock)), float(now))))
    monkeypatch.setattr("understudy.engine.pace.CLOCK_S", 0.0)
    training = stage(FixMatch(mu=2), budget=Budget(wall_s=70))
    whole = run(training, tmp_path / "whole")
    again = tmp_path / "again"
    begin_with(Ledger(tmp_path / "whole" / "ledger.jsonl").entries, training, again)
    with pytest.raises(Interrupted):
        run(training, again, observe=[stop_at(11)])
    assert_same(whole, run(training, again))


def test_fit__a_finished_run_is_loaded(tmp_path: Path) -> None:
    training = stage(FixMatch(mu=2), data=tiny(validation=9).data)
    first = run(training, tmp_path).trained
    second = run(training, tmp_path, observe=[crash_at(0)]).trained
    assert not different(first.model.state_dict(), second.model.state_dict())
    assert (first.steps, first.best_step, first.history) == (second.steps, second.best_step, second.history)
    assert not second.model.training
    assert not list(tmp_path.glob("checkpoint*"))


def test_fit__a_finished_run_without_its_weights(tmp_path: Path) -> None:
    training = stage(Supervised())
    run(training, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model.safetensors is missing or damaged; delete .* and train again"):
        run(training, tmp_path)


def test_fit__tied_weights_are_saved(tmp_path: Path) -> None:
    net = network()
    net[4].weight = torch.nn.Parameter(torch.randn(8, 8, 3, 3))
    net.add_module("twin", torch.nn.Identity())
    net.twin.weight = net[4].weight
    trained = run(stage(Supervised(), net=net), tmp_path).trained
    assert not different(
        trained.model.state_dict(), run(stage(Supervised(), net=net), tmp_path).trained.model.state_dict()
    )


def test_claim__two_runs_into_one_folder(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).claim(),
        pytest.raises(RunFolderError, match=r"another run is writing to .*; wait for it, or choose another folder"),
    ):
        run(stage(Supervised()), tmp_path)


def test_recognize__a_folder_of_a_newer_version(tmp_path: Path) -> None:
    training = stage(Supervised())
    run(training, tmp_path)
    write_json(tmp_path / "identity.json", read_json(tmp_path / "identity.json") | {"format": 99})
    with pytest.raises(
        RunFolderError, match=r"newer version \(format 99, this one reads up to 1\); upgrade understudy"
    ):
        run(training, tmp_path)


def test_fit__the_result_of_another_kind_of_run_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fit(stage(Supervised(), steps=2), folder)
    (folder / "checkpoint-previous.safetensors").write_bytes(b"left by a kill")
    fit(stage(Supervised(), steps=2), folder)
    assert not list(folder.glob("checkpoint*"))
    write_json(folder / "finished.json", {"format": 1})
    with pytest.raises(RunFolderError, match=r"finished.json holds something else than it did; delete .* train again"):
        fit(stage(Supervised(), steps=2), folder)


def test_recognize__a_folder_of_other_runs_is_left_alone(tmp_path: Path) -> None:
    RunFolder(tmp_path / "runs" / "first").recognize({"steps": "1"})
    for folder in (tmp_path / "runs", tmp_path):
        with pytest.raises(RunFolderError, match=r"is not a run folder but holds other runs, such as .*first; choose"):
            RunFolder(folder).recognize({"steps": "1"})
        assert not (folder / "identity.json").exists()


def test_recognize__names_what_differs(tmp_path: Path) -> None:
    data = tiny(validation=9).data
    training = stage(Supervised(), data=data)
    run(training, tmp_path)
    others = {
        "settings": stage(Supervised(criterion=CrossEntropy(label_smoothing=0.1)), data=data),
        "budget": replace(training, budget=Budget(steps=17)),
        "data": replace(training, data=replace(data, content="other")),
        "split": replace(training, data=replace(data, validation_targets=data.validation_targets[::-1].copy())),
        "initial weights": replace(training, network=network(seed=1)),
    }
    for name, other in others.items():
        with pytest.raises(RunFolderError, match=f"holds a run that differs in {name}; choose another folder"):
            run(other, tmp_path)
    weighted, fewer = replace(data, weight=torch.arange(1.0, 13.0)), replace(data, unlabeled=np.arange(12, 20))
    for changed in (weighted, fewer):
        with pytest.raises(RunFolderError, match="differs in settings and split;"):
            run(stage(Supervised(), data=changed, seed=1), tmp_path)


def test_identity__near_budgets_differ() -> None:
    one, other = (stage(Supervised(), budget=Budget(wall_s=seconds)).identity() for seconds in (600.0, 610.0))
    assert one["budget"] != other["budget"]


def test_read_json__missing_and_damaged(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"does not exist; .* is no run folder, or its run never began"):
        read_json(tmp_path / "identity.json")
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"is damaged \(.*\); delete the run folder and start again"):
        read_json(tmp_path / "identity.json")


@pytest.mark.parametrize("moment", ["save_finished", "load_finished"])
def test_fit__ctrl_c_while_a_finished_run_is_saved_or_loaded(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left to stop for, but whoever called must know, or the next run would begin."""
    if moment == "load_finished":
        fit(stage(Supervised()), tmp_path)
    usual = getattr(fit_module, moment)

    def with_ctrl_c(*arguments: Any) -> Any:
        found = usual(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(fit_module, moment, with_ctrl_c)
    with pytest.raises(Interrupted, match="stopped after the last step; everything is saved in "):
        fit(stage(Supervised()), tmp_path)
    monkeypatch.undo()
    assert fit(stage(Supervised()), tmp_path).steps > 0


def rigged(monkeypatch: pytest.MonkeyPatch, accuracy: Callable[[int], float]) -> Stage:
    """A run of 40 steps and 20 evaluations with a patience of 2, whose n-th evaluation finds `accuracy(n)`."""
    keep_best = Monitor.keep_best

    def keep(monitor: Monitor, _: float) -> None:
        keep_best(monitor, accuracy(monitor._state.now.evaluations))

    monkeypatch.setattr(Monitor, "keep_best", keep)
    data = tiny(validation=10).data
    net = network(dropout=0.5)
    return stage(FixMatch(mu=2), steps=40, data=data, net=net, warmup=0.5, patience=2, num_evaluations=20)


def stalls(evaluation: int) -> float:
    """Accuracy that rises but at evaluations 4 to 6, of which the first two end the first phase."""
    return 0.0 if evaluation in (4, 5, 6) else evaluation / 20


def entries(folder: Path) -> list[LedgerEntry]:
    return Ledger(folder / "ledger.jsonl").entries


@pytest.mark.parametrize(("step", "checkpoint_s"), [(9, 0.0), (10, 0.0), (25, 0.0), (25, 1e9)])
def test_fit__an_early_end_of_the_first_phase_resumes_to_the_bit(
    step: int, checkpoint_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = rigged(monkeypatch, stalls)
    whole = run(training, tmp_path / "whole")
    assert entries(tmp_path / "whole")[1:] == [FirstPhaseEnded(step=10, evaluations=2, pace=Pace(10, 0.5, 40, 1.0))]
    crashed(training, tmp_path / "again", step, checkpoint_s=checkpoint_s)
    assert len(entries(tmp_path / "again")) == (1 if step < 10 else 2)
    assert_same(whole, run(training, tmp_path / "again"))
    assert entries(tmp_path / "again") == entries(tmp_path / "whole")


def test_fit__an_early_end_of_the_first_phase_is_replayed_not_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[int] = []
    with monkeypatch.context() as patch:
        training = rigged(patch, stalls)
        crashed(training, tmp_path, 15, checkpoint_s=1e9)
    rigged(monkeypatch, lambda evaluation: evaluation / 20)  # another machine, on which validation never stalls
    run(training, tmp_path, observe=[lambda report: phases.append(report.phase)])
    assert phases == [1] * 10 + [2] * 30
    assert len(entries(tmp_path)) == 2


def test_fit__a_roll_back_across_the_early_end_of_the_first_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = rigged(monkeypatch, stalls)
    faults = {12}
    losses_finite = Monitor.losses_finite

    def finite(monitor: Monitor) -> bool:
        now = monitor._state.now
        return losses_finite(monitor) and not (now.attempt == 0 and now.next_step in faults)

    monkeypatch.setattr(Monitor, "losses_finite", finite)
    whole = run(training, tmp_path / "whole")
    early = [FirstPhaseEnded(step=10, evaluations=2, pace=whole_pace) for whole_pace in (Pace(10, 0.5, 40, 1.0),)]
    assert entries(tmp_path / "whole")[1:3] == [*early, Diverged(step=12)]
    faults.clear()
    for step in (11, 15, 30):
        folder = tmp_path / str(step)
        faults.add(12)
        crashed(training, folder, step, checkpoint_s=1e9)
        if step > 12:
            faults.clear()
        assert_same(whole, run(training, folder))
        assert entries(folder) == entries(tmp_path / "whole")

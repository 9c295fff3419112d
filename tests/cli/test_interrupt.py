"""Ctrl-C and SIGTERM in the middle of training: one sentence, exit code 130, and the same result after `--resume`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import FIXED_LAYOUT, Run, start
from understudy.cli.main import app

STEPS = ("--network", "cnn", "--size", "16", "--budget", "60steps", "--set", "batch_size=8", "--set", "method.mu=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path, unlabeled: Path) -> Path:
    """The folder of the same run without an interruption."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*FIXED_LAYOUT)
        arguments = ("train", photos, "--unlabeled", unlabeled, *STEPS, "--out", folder)
        assert CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code == 0
    return folder


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["metrics"]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt__resumes_to_the_same_result(
    understudy: Run, photos: Path, unlabeled: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(*FIXED_LAYOUT)
    process = start("train", photos, "--unlabeled", unlabeled, *STEPS, "--out", "stopped")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("softmatch  "):  # of its training, not of the plan
            break
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert err == "interrupted; everything is saved, resume with: understudy train --resume stopped\n"
    assert "VERDICT" not in out
    resumed = understudy("train", "--resume", "stopped")
    assert resumed.code == 0
    assert "VERDICT" in resumed.out
    assert not any(line.startswith("supervised  ") for line in resumed.out.splitlines()[:-20]), "trained again"
    assert metrics(Path("stopped")) == metrics(whole)
    for name in ("predictions.csv", "model.safetensors", "supervised/model.safetensors", "softmatch/model.safetensors"):
        assert (Path("stopped") / name).read_bytes() == (whole / name).read_bytes()


def test_interrupt__before_training(
    understudy: Run, photos: Path, unlabeled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("understudy.api.train.load", stop)
        output = understudy("train", photos, "--unlabeled", unlabeled, *STEPS, "--budget", "10steps", "--out", "r")
    assert output.code == 130
    assert output.err.count("\n") == 1
    assert understudy("train", "--resume", "r").code == 0


def test_interrupt__of_another_command(understudy: Run, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.api.evaluate.load", stop)
    output = understudy("evaluate", finished, "digits")
    assert (output.code, output.err) == (130, "interrupted\n")

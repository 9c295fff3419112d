"""A small seeded sample of every attack; `make faults` runs them by the thousand."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.contract.tiny import unchecked_shapes
from tests.faults import hostile_arguments, hostile_files, runs
from tests.faults.attacks import ATTACKS, Scene
from tests.faults.isolated import isolated

_QUICK = ("load", "compare", "ablate", "budget", "job", "settings", "plan load")  # these hardly ever train


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Runs of one kind, which take a second each."""
    with unchecked_shapes():
        yield Scene(tmp_path_factory.mktemp("scene"), ("plain",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images and odd files that generated manifests name."""
    found = tmp_path_factory.mktemp("generated")
    hostile_files.prepare(found)
    return found


@pytest.mark.parametrize(("kind", "count"), [("kill", 1), ("damage", 1), ("command", 6), ("toml", 12)])
def test_attack__is_withstood(scene: Scene, kind: str, count: int) -> None:
    for seed in range(1, count + 1):  # kill 1 is of three signals at moments that the seed repeats
        assert ATTACKS[kind](scene, seed) == ""


def test_public_function__hostile_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    quick = [call for call in hostile_arguments.calls() if call[0] in _QUICK]
    for function, argument, number in random.Random(0).sample(quick, 80):
        assert hostile_arguments.carry_out(function, {argument: number}) == ""


def test_carry_out__tells_of_an_error_that_is_no_users(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setitem(hostile_arguments.FUNCTIONS, "load", (fail, {}, ("source",)))
    assert "ZeroDivisionError: of ours" in hostile_arguments.carry_out("load", {"source": 0})


@settings(max_examples=15)
@given(hostile_files.tables())
def test_config_and_plan__generated(folder: Path, table: dict[str, Any]) -> None:
    hostile_files.check_table(folder, table)


@settings(max_examples=20)
@given(hostile_files.manifests())
def test_load__generated_manifest(folder: Path, content: bytes) -> None:
    hostile_files.check_manifest(folder, content)


def test_kill__an_outcome_that_differs_is_seen(scene: Scene) -> None:
    wanted = scene.finished("plain")[2]
    other = json.loads(json.dumps(wanted))
    other["result.json"]["pseudo_labels"].pop()
    assert wanted["result.json"]["pseudo_labels"]
    assert "pseudo_labels" in runs.difference(wanted, other)


def test_isolated__tells_how_a_child_ended() -> None:
    assert isolated(lambda: {"a": 1}).value == {"a": 1}
    assert "ZeroDivisionError" in isolated(lambda: 1 / 0).error
    assert isolated(lambda: os.kill(os.getpid(), 9)).killed
    assert "did not end within" in isolated(lambda: time.sleep(9), 0.1).error


def test_main__an_unexpected_error_is_one_sentence_and_a_file() -> None:
    code = (
        "from understudy.cli import main as program\n"
        "def fail(**options): raise ZeroDivisionError('of ours')\n"
        "program.app = fail\n"
        "program.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert line.startswith("error: unexpected error, a bug in understudy (ZeroDivisionError: of ours); ")
    report = Path(line.rsplit(" ", 1)[1])
    assert "ZeroDivisionError: of ours" in report.read_text()
    report.unlink()

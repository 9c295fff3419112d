"""A small seeded sample of every attack; `make faults` runs them by the thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.tiny import unchecked_shapes
from tests.faults import runs
from tests.faults.attacks import ATTACKS, Scene
from tests.faults.isolated import isolated


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Runs of one kind, which take a second each."""
    with unchecked_shapes():
        yield Scene(tmp_path_factory.mktemp("scene"), ("plain",))


@pytest.mark.parametrize(("kind", "count"), [("kill", 2), ("damage", 3), ("command", 6), ("toml", 12)])
def test_attack__is_withstood(scene: Scene, kind: str, count: int) -> None:
    for seed in range(count):
        assert ATTACKS[kind](scene, seed) == ""


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
    assert line.startswith("error: an unexpected error, a fault of understudy (ZeroDivisionError: of ours); ")
    report = Path(line.rsplit(" ", 1)[1])
    assert "ZeroDivisionError: of ours" in report.read_text()
    report.unlink()

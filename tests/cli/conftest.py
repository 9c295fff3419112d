"""Tiny folders of images in two classes, a working directory of their own, and one finished run to use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from understudy.cli.main import app

QUICK = ("--network", "cnn", "--size", "16", "--budget", "20steps", "--set", "batch_size=8", "--set", "method.mu=2")


def _given_layout(state: object, base: object, **options: object) -> object:
    return base


FIXED_LAYOUT = ("understudy.engine.execution._fastest_on_processor", _given_layout)
"""What to patch so that two runs compute alike: a layout picked by timing could make them round differently."""

_FIXED_LAYOUT_MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background has it ignored
from understudy.cli.main import main
from understudy.engine import execution
execution._fastest_on_processor = lambda state, base, **options: base
main()
"""


@dataclass(frozen=True)
class Output:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    def error(self) -> str:
        """The one line of standard error of a command that refused what the user gave."""
        assert self.code == 2, (self.code, self.err)
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line


Run = Callable[..., Output]


def draw(path: Path, kind: str, seed: int) -> None:
    """A bright square or a bright ring on noise, 16x16 px."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 100, (16, 16, 3), dtype=np.uint8)
    top, left = random.integers(1, 6, 2)
    pixels[top : top + 9, left : left + 9] = random.integers(180, 256, 3)
    if kind == "ring":
        pixels[top + 2 : top + 7, left + 2 : left + 7] = 30
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw_folder(root: Path, per_class: int, first: int = 0, kinds: Sequence[str] = ("ring", "square")) -> Path:
    """A folder per class with so many images."""
    for kind in kinds:
        for number in range(first, first + per_class):
            draw(root / kind / f"{number}.png", kind, number)
    return root


def environment() -> dict[str, str]:
    """For a subprocess: one thread, and no word of the terminal the tests run in."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "100"}


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _FIXED_LAYOUT_MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def understudy() -> Run:
    """A function that runs the command in this process: understudy("train", "photos")."""

    def run(*arguments: object) -> Output:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Output(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labeled images of each of two classes."""
    return draw_folder(tmp_path_factory.mktemp("data") / "photos", 12)


@pytest.fixture(scope="session")
def test_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten other labeled images of each class."""
    return draw_folder(tmp_path_factory.mktemp("data") / "test", 10, first=100)


@pytest.fixture(scope="session")
def unlabeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty unlabeled images."""
    folder = tmp_path_factory.mktemp("data") / "unlabeled"
    for number in range(60):
        draw(folder / f"{number}.png", ("ring", "square")[number % 2], 200 + number)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, photos: Path, test_photos: Path, unlabeled: Path) -> Path:
    """A finished run folder; not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = CliRunner().invoke(
        app,
        ["train", str(photos), "--unlabeled", str(unlabeled), "--test", str(test_photos), "--out", str(folder), *QUICK],
    )
    assert result.exit_code == 0, result.stderr
    return folder

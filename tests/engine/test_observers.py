"""What observers leave behind: pictures that open, lines of history, and a log that TensorBoard reads."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from understudy.core.budget import Budget, Cost
from understudy.core.errors import UserError
from understudy.core.files import JsonLines
from understudy.core.types import Step
from understudy.engine.observers import HistoryLines, PictureGrids, StepReport, TensorBoard, picture_grid


def report(index: int = 11, **pictures: Tensor) -> StepReport:
    return StepReport("sgan", Step(index, 0.5), (), 0.5, 2, Cost(), Budget(steps=20), None, pictures)


def test_picture_grids__saves_each_under_its_step(tmp_path: Path) -> None:
    observe = PictureGrids(tmp_path / "pictures")
    observe(report())
    assert not (tmp_path / "pictures").exists()
    observe(report(11, generated=torch.rand(5, 3, 40, 40)))
    observe(report(19, generated=torch.rand(5, 1, 40, 40), points=torch.rand(5, 2)))
    found = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert found == ["sgan-generated-000012.png", "sgan-generated-000020.png"]
    with Image.open(tmp_path / "pictures" / found[0]) as image:
        assert (image.size, image.mode) == ((3 * 42 - 2, 2 * 42 - 2), "RGB")


def test_picture_grids__says_why_it_cannot_save(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("in the way")
    with pytest.raises(UserError, match="pictures"):
        PictureGrids(tmp_path / "pictures")(report(generated=torch.rand(1, 1, 8, 8)))


def test_picture_grid__places_and_scales() -> None:
    images = torch.stack([torch.full((1, 32, 32), value) for value in (0.0, 0.2, 2.0)])
    grid = picture_grid(images)
    assert grid.shape == (66, 66, 3)
    assert [int(grid[10, 10, 0]), int(grid[10, 50, 1]), int(grid[50, 10, 2])] == [0, 51, 255]
    assert np.all(grid[32:34] == 255)
    assert np.all(grid[34:, 34:] == 255)


def test_picture_grid__enlarges_small_images() -> None:
    images = torch.rand(4, 3, 8, 8)
    grid = picture_grid(images)
    assert grid.shape == (66, 66, 3)
    np.testing.assert_array_equal(grid[:32:4, :32:4], (images[0] * 255).round().byte().permute(1, 2, 0))


def evaluated(step: int, **figures: float) -> StepReport:
    return replace(report(), evaluation={"step": step, **figures})


def test_history_lines__one_for_each_evaluation(tmp_path: Path) -> None:
    observe = HistoryLines(tmp_path / "history.jsonl")
    for one in (evaluated(5, supervised=2.0), report(), evaluated(10, supervised=1.5)):
        observe(one)
    lines = JsonLines(tmp_path / "history.jsonl").entries
    assert lines == [{"run": "sgan", "step": step, "supervised": loss} for step, loss in ((5, 2.0), (10, 1.5))]


def test_tensor_board__reads_what_was_logged_and_a_resumed_run_replaces_its_steps(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = TensorBoard(tmp_path / "log")
    for one in (evaluated(5, loss=2.0), report(), evaluated(10, loss=1.0)):
        first(one)
    TensorBoard(tmp_path / "log")(evaluated(10, loss=1.5))
    found = accumulator.EventAccumulator(str(tmp_path / "log" / "sgan"))
    found.Reload()
    assert [(one.step, one.value) for one in found.Scalars("loss")] == [(5, 2.0), (10, 1.5)]


def test_tensor_board__that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'understudy\[tensorboard\]', or leave the log out"):
        TensorBoard(tmp_path)

"""The grids of generated images in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from understudy.reports.generated_figures import generated
from understudy.reports.record import generated_grids


def run(*spreads: float, adversarial: float = 1.0) -> dict[str, Any]:
    """The result of a GAN's run with these spreads at its evaluations."""
    history = [{"step": at, "generated_spread": value, "adversarial": adversarial} for at, value in enumerate(spreads)]
    return {"runs": {"supervised": {"history": []}, "sgan": {"history": history}}}


def grid(level: int = 0) -> np.ndarray[Any, Any]:
    return np.full((12, 12, 3), level, np.uint8)


def test_generated__six_grids_from_the_first_to_the_last() -> None:
    picture = generated(run(0.9, 0.42), {step: grid(step) for step in range(10, 111, 10)})
    assert picture is not None
    panels = [axes for axes in picture.figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in panels] == [f"step {step}" for step in (10, 30, 50, 70, 90, 110)]
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in panels] == [10, 30, 50, 70, 90, 110]
    assert "after steps 10, 30, 50, 70, 90 and 110" in picture.caption
    assert picture.caption.endswith("At the end its images differ from one another 42 % as much as real ones.")


def test_generated__says_that_the_generator_collapsed() -> None:
    picture = generated(run(0.9, 0.05, adversarial=0.5), {1: grid(), 2: grid()})
    assert picture is not None
    assert "The generator collapsed: its images differed from one another only 5 % as much" in picture.caption


def test_generated__nothing_without_grids() -> None:
    assert generated(run(), {}) is None


def test_generated_grids__by_step_without_damaged_ones(tmp_path: Path) -> None:
    assert generated_grids(tmp_path / "pictures") == {}
    for step in (3, 120):
        Image.fromarray(grid(step)).save(tmp_path / f"sgan-generated-{step:06d}.png")
    (tmp_path / "sgan-generated-000200.png").write_bytes(b"not a picture")
    (tmp_path / "sgan-other-000300.png").write_bytes(b"")
    found = generated_grids(tmp_path)
    assert list(found) == [3, 120]
    assert (found[120] == grid(120)).all()

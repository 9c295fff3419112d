"""The example of two rings: what it draws, and that the pool does there what the labels cannot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image


def example(name: str) -> ModuleType:
    """The script of that name, imported."""
    path = Path(__file__).resolve().parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


two_rings = example("two_rings")


def test_two_rings__the_pool_does_what_seven_labels_cannot(tmp_path: Path) -> None:
    """In fewer steps than the example's, and the GAN in so few that only its points are looked at."""
    steps = {"supervised": 400, "simmatch": 400, "sgan": 100}
    found = {name: two_rings.train(name, 101, num_steps=count) for name, count in steps.items()}
    assert found["supervised"].accuracy < 0.8
    assert found["simmatch"].accuracy > 0.98
    assert found["sgan"].belt.shape == (64, 2)
    assert found["simmatch"].belt is None
    two_rings.draw(found, 101, tmp_path / "two_rings.png")
    with Image.open(tmp_path / "two_rings.png") as picture:
        assert picture.size == (1320, 990)


def test_rings__are_told_apart_by_their_radius_alone() -> None:
    points, ring = two_rings.rings(3, 2000)
    assert np.array_equal(np.linalg.norm(points, axis=1) > 1.5, ring == 1)
    assert ring.mean() == 0.5
    assert set(ring[: two_rings.NUM_LABELS]) == {0, 1}
    assert np.abs(points.mean(0)).max() < 0.15
